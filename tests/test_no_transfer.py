"""`no_transfer` refuses what is implicit or waits, and says where and what to do; `cuda.count` counts it; nvtx names it."""

import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends import transfers
from chainrule.cuda import nvtx


@pytest.fixture
def x():
    return cr.arange(12.0, device="fake").reshape(3, 4)


WAITS = {
    "item": lambda x: x.sum().item(),
    "bool()": lambda x: bool(x.sum()),
    "float()": lambda x: float(x.sum()),
    "int()": lambda x: int(x.sum()),
    "tolist": lambda x: x.tolist(),
    "printing": lambda x: str(x),
    "in": lambda x: 5 in x,
    "equal": lambda x: cr.equal(x, x + 0),
}
SHAPES = {
    "indexing": lambda x: x[x > 3],
    "masked_select": lambda x: cr.masked_select(x, x > 3),
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: cr.unique(x),
}
COPIES = {
    "indexing": lambda x: x[[0, 2]],
    "indexing ": lambda x: x[:, np.array([0, 2])],
    "multiply": lambda x: x * cr.tensor(2.0, device="cpu"),
    "writing by index": lambda x: x.__setitem__(0, [1.0, 2.0, 3.0, 4.0]),
}
ASKED = [
    lambda x: x.cpu(),
    lambda x: x.to("cpu").to("fake"),
    lambda x: x.numpy(force=True),
    lambda x: x.copy_(cr.ones(3, 4)),
    lambda x: cr.tensor([1.0], device="fake"),
    lambda x: cr.nn.Linear(2, 2).to("fake"),
    lambda x: cr.nn.Linear(2, 2).to("fake").load_state_dict(cr.nn.Linear(2, 2).state_dict()),
]
HARMLESS = [
    lambda x: x * 2.0 + np.float32(1),
    lambda x: x[1:, None, ::2],
    lambda x: cr.where(x > 3, x, 0),
    lambda x: x.masked_fill(x > 3, 0.0),
    lambda x: x.__setitem__((x > 3,), 0.0),
    lambda x: x.quantile(0.5),
    lambda x: x.gather(1, cr.zeros(3, 1, dtype="int64", device="fake")),
    lambda x: x.clone().index_fill_(0, cr.arange(2, device="fake"), 1.0),
    lambda x: cr.func.hessian(lambda v: (v**3).sum())(x[0]),
]


@pytest.mark.parametrize(
    ("name", "does", "remedy", "use"),
    [
        *((name, "waits for a value of the device", "read it once after the loop", use) for name, use in WAITS.items()),
        *((name, "waits for the device, which alone knows the shape", "cr.where", use) for name, use in SHAPES.items()),
        *((name.strip(), "copies host data to the device", "before the block", use) for name, use in COPIES.items()),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_with_its_line_and_the_remedy(x, name, does, remedy, use):
    before = use(x.clone())
    with cr.no_transfer(), pytest.raises(cr.TransferError) as caught:
        use(x)
    said = str(caught.value)
    assert said.startswith(f"no_transfer: {name} {does}") and remedy in said
    assert "shape (" in said and "test_no_transfer.py:" in said and "lambda x: " in said
    assert caught.value.crossing.line in said
    assert x.tolist() == cr.arange(12.0).reshape(3, 4).tolist()  # nothing was done
    assert type(use(x)) is type(before)  # and outside it is


@pytest.mark.parametrize("use", ASKED)
def test_copies_that_are_asked_for_by_name(x, use):
    with cr.no_transfer():
        use(x)
    with cr.no_transfer(explicit=True), pytest.raises(cr.TransferError):
        use(x)


@pytest.mark.parametrize("use", HARMLESS)
def test_what_neither_copies_nor_waits(x, use):
    with cr.no_transfer(explicit=True):
        use(x)


def test_a_value_is_never_read_however_it_is_asked_for(x):
    with cr.no_transfer(), pytest.raises(cr.TransferError, match="item waits for a value"):
        x.array[0, 0].item()  # CuPy's own method


def test_the_cpu_has_nothing_to_refuse():
    x = cr.ones(3, requires_grad=True)
    with cr.no_transfer(explicit=True):
        x.sum().backward()
        assert x[x > 0].tolist() == [1, 1, 1] and x.grad.sum().item() == 3 and x.to("cpu") is x


def test_blocks_nest_and_the_innermost_decides(x):
    total = x.sum()
    with cr.no_transfer():
        with cr.no_transfer(False):
            assert total.item() == 66
            with cr.no_transfer(explicit=True), pytest.raises(cr.TransferError):
                x.cpu()
        x.cpu()
        with pytest.raises(cr.TransferError):
            total.item()
    assert total.item() == 66 and not transfers.watchers()


def test_it_decorates_functions_and_generators_and_may_be_entered_again(x):
    @cr.no_transfer()
    def read(again):
        if again:
            read(False)
        return x.sum().item()

    @cr.no_transfer
    def reads():
        yield "outside the caller's block"
        yield x.sum().item()

    for use in (lambda: read(False), lambda: read(True), lambda: list(reads())):
        with pytest.raises(cr.TransferError):
            use()
    produced = reads()
    next(produced)
    assert x.sum().item() == 66 and not transfers.watchers()
    guard = cr.no_transfer()
    with guard, guard:
        pass
    assert not transfers.watchers()


def test_it_holds_for_one_thread(x):
    found = []
    with cr.no_transfer():
        thread = threading.Thread(target=lambda: found.append(x.sum().item()))
        thread.start()
        thread.join()
    assert found == [66]


def test_threads_may_be_in_the_same_block(x):
    guard, entered, left, found = cr.no_transfer(), threading.Event(), threading.Event(), []

    def other():
        with guard:
            entered.set()
            left.wait(10)
        found.append(x.sum().item())

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(10)
    with guard:
        left.set()
        thread.join()
        with pytest.raises(cr.TransferError):
            x.sum().item()
    assert found == [66] and x.sum().item() == 66 and not transfers.watchers()


def test_it_lasts_through_a_backward_pass_and_hooks(x):
    leaf = x.clone().requires_grad_()
    leaf.register_hook(lambda g: g * (2 if g.sum() > 0 else 1))
    with cr.no_transfer(), pytest.raises(cr.TransferError, match=r"leaf\.register_hook|g\.sum"):
        leaf.sum().backward()
    assert leaf.grad is None
    leaf.sum().backward()
    assert leaf.grad.sum().item() == 24


# --- counting ---


def test_counts(x):
    mask = x > 3
    with cr.cuda.count() as work:
        y = (x * 2).sum()  # two
        values = [y.item() for _ in range(3)]
        cr.tensor(np.ones(5), device="fake")
        y[None]  # a view
        x[mask]  # one, and a wait for its shape
        x.cpu()
    x.sum().item()
    assert values == [132] * 3
    assert (work.launches, work.host_reads) == (3, 3 + 1 + 1)
    assert work.launched_names == {"multiply": 1, "sum": 1, "indexing": 1}
    assert (work.copies_to_device, work.bytes_to_device) == (1, 40)
    assert (work.copies_to_host, work.bytes_to_host) == (4, 3 * 4 + 48)
    assert (work.allocations, work.bytes_allocated) == (4, 48 + 4 + 40 + 8 * 4)
    assert work.peak_bytes >= work.bytes_allocated - 40
    table = str(work).splitlines()
    assert table[0].split()[:2] == ["launches", "3"] and "multiply 1" in table[0]
    assert [line.split()[:3] for line in table[5:6]] == [["3", "x", "item"]]
    assert "test_no_transfer.py:" in table[5] and "y.item()" in table[5]
    assert any("getitem waits for a shape" in line and "x[mask]" in line for line in table)
    assert repr(work) == str(work) and "3 launches, 5 host reads" in work.summary()


def test_counts_agree_with_the_books_of_the_device(x):
    counters = cr.backends.fake.counters
    model = cr.nn.Sequential(cr.nn.Linear(4, 8), cr.nn.GELU(), cr.nn.LayerNorm(8)).to("fake")
    optimizer = cr.optim.AdamW(model.parameters())
    counters.reset()
    with cr.cuda.count() as outer, cr.cuda.count() as work:
        model(x).sum().backward()
        optimizer.step()
        x.sum().item()
    assert work.launches == outer.launches == counters.launches
    assert work.allocations == counters.allocations and work.peak_bytes == counters.peak
    assert work.host_reads == counters.host_reads + counters.copies_to_host == 1


def test_what_other_threads_do_is_not_counted(x):
    with cr.cuda.count() as work:
        thread = threading.Thread(target=lambda: x.sum().item())
        thread.start()
        thread.join()
    assert work.launches == work.host_reads == work.allocations == 0


def test_a_refused_read_is_not_made(x):
    before = cr.backends.fake.counters.copies_to_host
    with cr.cuda.count() as work, cr.no_transfer(), pytest.raises(cr.TransferError):
        x.cpu().tolist() if False else x.tolist()
    assert cr.backends.fake.counters.copies_to_host == before and len(work.crossings) == 1


def test_the_profiler_shows_what_was_asked_of_the_device(x):
    with cr.profiler.profile() as prof:
        (x @ x.T).sum().item()
    assert prof.device.launches == 2 and prof.device.host_reads == 1
    assert "Device: 2 launches, 1 host reads" in prof.key_averages().table()
    with cr.profiler.profile() as prof:
        cr.ones(3).sum()
    assert "Device" not in prof.key_averages().table()


# --- nvtx ---


@pytest.mark.skipif(cr.cuda.is_available(), reason="there is a card")
def test_ranges_do_nothing_without_a_card():
    assert (nvtx.range_push("a"), nvtx.range_push("b"), nvtx.range_pop(), nvtx.range_pop()) == (0, 1, 1, 0)
    with nvtx.range("step {} of {n}", 1, n=2):
        nvtx.mark("here")
    nvtx.range_end(nvtx.range_start("c"))
    with pytest.raises(RuntimeError, match="no range of this thread is open; call range_push first"):
        nvtx.range_pop()
