"""The fake device is as strict as CUDA, and what it counts is what was done."""

import copy
import gc
import pickle

import numpy as np
import pytest

from chainrule import backends
from chainrule.backends import FakeArray, OutOfMemoryError, fake

backend = backends.get("fake")


@pytest.fixture
def x():
    return fake.arange(6, dtype="float32").reshape(2, 3)


@pytest.fixture
def counters():
    fake.counters.reset()
    return fake.counters


@pytest.fixture(autouse=True)
def unlimited():
    yield
    fake.set_memory_limit(None)
    fake.fail_allocation(None)


HOST = np.ones(3)


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + HOST,
        lambda x: HOST + x,
        lambda x: HOST @ x.T,
        lambda x: x == HOST,
        lambda x: x.__iadd__(HOST),
        lambda x: fake.add(x, HOST),
        lambda x: fake.add.at(x, fake.array([0]), HOST),
        lambda x: fake.sum(HOST),
        lambda x: fake.concatenate([x[0], HOST]),
        lambda x: fake.add(x, 1, out=np.zeros((2, 3))),
        lambda x: fake.where(x > 0, x, HOST),
        lambda x: x[np.array([0])],
        lambda x: x[0, np.array([True, False, True])],
        lambda x: x.__setitem__(0, HOST),
        lambda x: x.__setitem__(np.array([0]), 1),
        lambda x: x.dot(HOST),
        lambda x: np.sin(x),
        lambda x: np.add(x, x),
        lambda x: np.add.reduce(x),
        lambda x: np.sum(x),
        lambda x: np.concatenate([x, x]),
        lambda x: np.asarray(x),
        lambda x: np.array(x),
        lambda x: np.zeros((2, 3)).__setitem__(..., x),
        lambda x: memoryview(x),
        lambda x: x + "1",
        lambda x: x + [1, 2, 3],
        lambda x: x.__setitem__(0, [1, 2, 3]),
        lambda x: fake.add([1, 2, 3], x),
        lambda x: x["name"],
        lambda x: FakeArray(HOST),
        lambda x: hash(x),
        lambda x: list(range(5))[fake.array(2)],  # CuPy's arrays have no __index__
    ],
)
def test_it_does_not_mix_with_the_host(x, mix):
    with pytest.raises(TypeError):
        mix(x)
    assert x.get().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_refusals_say_what_to_do(x):
    with pytest.raises(TypeError, match=r"add: a host array \(numpy\.ndarray of shape \(3,\)\).*from_host"):
        x + HOST
    with pytest.raises(TypeError, match=r"numpy\.exp was called .* use fake\.exp"):
        np.exp(x)
    with pytest.raises(TypeError, match=r"use array\.get\(\)"):
        np.asarray(x)


def test_other_classes_are_asked_before_it_gives_up(x):
    class Other:
        __array_priority__ = 1

        def __radd__(self, other):
            return "mine"

    assert x + Other() == "mine"
    assert (x == None) is False  # noqa: E711 - not an elementwise comparison


@pytest.mark.parametrize(
    "name",
    [
        "errstate",
        "vecdot",
        "matvec",
        "unstack",
        "block",
        "ndenumerate",
        "nditer",
        "geomspace",
        "insert",
        "einsum_path",
        "random",
        "no_such_function",
        "linalg.multi_dot",
        "linalg.vector_norm",
        "lib.format",
    ],
)
def test_it_lacks_what_cupy_lacks(name):
    found = fake
    with pytest.raises(AttributeError, match="as CuPy has none"):
        for part in name.split("."):
            found = getattr(found, part)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: fake.sum(x, where=x > 0),
        lambda x: fake.max(x, initial=0),
        lambda x: x.sum(initial=0),
        lambda x: fake.add(x, x, where=x > 0),
        lambda x: fake.zeros(3, device="cpu"),
        lambda x: fake.sort(x, kind="quicksort"),
        lambda x: fake.clip(x, min=0, max=1),
        lambda x: fake.take(x, 0, mode="clip"),
        lambda x: fake.var(x, correction=1),
    ],
)
def test_it_refuses_keywords_that_cupy_lacks(x, call):
    with pytest.raises(TypeError, match="CuPy"):
        call(x)


def test_numbers_mix_and_results_stay_on_the_device(x):
    results = [
        x + 1,
        2 * x,
        x / 2.0,
        x + 1j,
        x > 2,
        -x,
        ~(x > 2),
        abs(x),
        x @ x.T,
        x**2,
        divmod(x, 2)[0],
        2 // (x + 1),
    ]
    results += [
        x.sum(),
        x.max(axis=0),
        fake.sum(x),
        x[0, 0],
        x[0][1],
        fake.allclose(x, x),
        fake.count_nonzero(x),
    ]
    results += [
        np.float32(2) * x,
        x * np.float32(2),
        x.argmax(),
        fake.linalg.norm(x),
        *fake.split(x, 3, axis=1),
    ]
    results += [
        fake.einsum("ij,ij->", x, x),
        fake.add.reduce(x, axis=1),
        *fake.linalg.qr(x),
        fake.fft.rfft(x),
    ]
    assert all(type(result) is FakeArray for result in results)
    assert (x.sum().shape, x.sum().ndim, x[0, 0].shape) == ((), 0, ())
    assert (2 * x).dtype == (np.float32(2) * x).dtype == "float32"
    assert fake.linalg.svd(x)._fields == ("U", "S", "Vh")


def test_functions_are_numpys(x):
    host = x.get()
    for name in ("exp", "sum", "cumsum", "argsort", "transpose", "ravel", "sort", "tanh", "isnan", "flip"):
        np.testing.assert_array_equal(getattr(fake, name)(x).get(), getattr(np, name)(host))
    for name in ("sum", "argmax", "cumsum", "mean", "std", "flatten", "conj", "round"):
        np.testing.assert_array_equal(getattr(x, name)().get(), getattr(host, name)())
    assert fake.shape(x) == (2, 3) and fake.ndim(x) == 2 and fake.result_type(x, 2.0) == "float32"
    assert (
        fake.pi is np.pi and fake.float32 is np.float32 and fake.newaxis is None and fake.ndarray is FakeArray
    )
    assert repr(fake.linalg) == "<fake namespace linalg>" and repr(fake.add) == "<fake ufunc 'add'>"
    assert fake.multiply.outer(x[0], x[0]).shape == (3, 3) and fake.add.accumulate(x).shape == (2, 3)
    assert fake.maximum.reduceat(x[0], [0, 2]).shape == (2,)
    y = x.copy()
    y.sort()
    y.fill(3)
    assert y.get().tolist() == [[3] * 3] * 2 and fake.asnumpy(y) is not y.get()


def test_facts_need_no_read(x, counters):
    assert (x.shape, x.ndim, x.size, x.dtype, x.itemsize, x.nbytes, x.strides) == (
        (2, 3),
        2,
        6,
        "float32",
        4,
        24,
        (12, 4),
    )
    assert len(x) == 2 and x.flags.c_contiguous and x.T.flags.f_contiguous
    assert (counters.host_reads, counters.launches, counters.copies_to_host) == (0, 0, 0)


# --- memory ---


def test_views_share_memory_and_know_their_owner(x):
    owner = backend.root(x)
    for view in (
        x[0],
        x[:, 1:],
        x.T,
        x.mT,
        x[None],
        x.reshape(-1),
        x.view("int32"),
        x.real,
        x[0, 0],
        x.ravel(),
    ):
        assert view.base is owner and backend.shares_memory(view, x)
    assert owner.base is None and (x + 1).base is None
    x[0] += 10
    assert x.get()[0].tolist() == [10, 11, 12]
    y = x.T
    del x, owner
    gc.collect()
    y[0, 0] = 7
    assert y.base.get()[0] == 7  # the owner lives as long as its views
    assert fake.asarray(y) is y and y.astype("float32", copy=False) is y


def test_in_place_operators_write_and_give_back_the_array(x):
    for name, expected in (
        ("iadd", 8),
        ("isub", 4),
        ("imul", 12),
        ("itruediv", 3),
        ("ipow", 36),
        ("imod", 0),
    ):
        y = x + 6
        z = y
        getattr(y, f"__{name}__")(2)
        assert z is y and float(y[0, 0]) == expected
    z = x
    z += 1
    assert z is x
    out = fake.zeros((2, 3), dtype="float32")
    assert fake.multiply(x, 2, out=out) is out and float(out[1, 2]) == 12


def test_setting_items(x):
    x[0, 1] = 5
    x[1] = x[0]
    x[x > 4] = -1
    x[fake.array([0]), fake.array([2])] = 9
    x[..., 0] = fake.array(3.0)
    assert x.get().tolist() == [[3, -1, 9], [3, -1, 2]]
    assert x[[0, 0]].shape == (2, 3) and x[fake.array([1, 1, 1])].shape == (3, 3) and x[x > 2].shape == (3,)
    with pytest.raises(IndexError):
        x[2]


def test_memory_is_accounted_for(counters):
    before = counters.allocated
    x = fake.zeros(1000)
    assert counters.allocated == before + 8000 and counters.allocations == 1
    y = x[10:]
    del x
    assert counters.allocated == before + 8000  # the view keeps it
    del y
    assert counters.allocated == before and counters.peak == before + 8000
    backend.reset_peak()
    account = backend.memory()
    assert account["allocated"] == account["peak"] == before and "total" not in account


def test_the_memory_limit_names_the_bytes(counters):
    fake.set_memory_limit(counters.allocated + 100)
    with pytest.raises(
        OutOfMemoryError, match=r"fake out of memory: tried to allocate 8,000 bytes .* limit set to"
    ) as caught:
        fake.zeros(1000)
    assert caught.value.requested == 8000
    assert backend.memory()["free"] == 100
    assert fake.zeros(10).size == 10
    fake.set_memory_limit(None)
    assert fake.zeros(1000).size == 1000
    with pytest.raises(OutOfMemoryError, match="9,007,199,254,740,992 bytes"):
        fake.empty(1 << 50)


def test_the_nth_allocation_fails_once(x):
    fake.fail_allocation(2)
    y = x + 1
    with pytest.raises(OutOfMemoryError, match="as asked by fail_allocation"):
        y + 1
    assert (y + 1).shape == (2, 3)


# --- counters ---


def test_launches(x, counters):
    y = (x + 1) * 2
    y -= 1
    y[0] = 0
    fake.exp(y, out=y)
    fake.add.at(y, fake.array([0]), 1.0)
    assert counters.launches == 6  # neither the copy made by fake.array nor the views below count
    fake.empty(3), fake.empty_like(y), fake.asarray([1, 2]), backend.from_host(HOST)
    y.T.reshape(-1)[0], y[None], y.base
    assert counters.launches == 6 + 1  # the transpose is copied by reshape
    assert counters.host_reads == counters.copies_to_host == 0


@pytest.mark.parametrize(
    "read, count",
    [
        (lambda x: bool(x[0, 0]), 1),
        (lambda x: float(x[0, 0]) + int(x[0, 1]) + complex(x[0, 0]).real, 3),
        (lambda x: x[0, 0].item(), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: [row.shape for row in x], 0),  # rows are views
        (lambda x: x[x > 1], 1),
        (lambda x: fake.nonzero(x), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: fake.where(x > 1), 1),
        (lambda x: fake.where(x > 1, x, 0), 0),
        (lambda x: fake.bincount(x[0].astype("int64")), 1),
        (lambda x: f"{x.sum():.2f}", 1),
        (lambda x: x.sum() + x[0, 1:], 0),
    ],
)
def test_host_reads(x, counters, read, count):
    read(x)
    assert counters.host_reads == count


def test_copies(x, counters):
    there = backend.from_host(np.ones(3))
    fake.array([1, 2, 3])
    fake.asarray(np.ones(3))
    x[[0, 1]]
    assert counters.copies_to_device == 4 and counters.copies_to_host == 0
    there.get()
    backend.to_host(there)
    there.tobytes()
    assert repr(there) == "fake array([1., 1., 1.])"
    assert counters.copies_to_host == 4
    assert "copies_to_host=4" in repr(counters)
    assert (counters.bytes_to_device, counters.bytes_to_host) == (24 + 24 + 24 + 16, 4 * 24)


def test_host_memory_is_never_shared():
    host = np.ones(3)
    for there in (backend.from_host(host), fake.asarray(host), fake.array(host, copy=False)):
        there += 1
    backend.to_host(there)[:] = 0
    assert host.tolist() == [1, 1, 1] and there.get().tolist() == [2, 2, 2]


def test_copying_and_pickling(x):
    for other in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert type(other) is FakeArray and np.array_equal(other.get(), x.get())
        assert not backend.shares_memory(other, x)


def test_the_device_is_there_and_hidden():
    assert backends.device("fake").type == "fake" and backends.backend_of(fake.zeros(1)) is backend
    assert backend.device_of(fake.zeros(1)) == backends.device("fake:0")
    assert backend.available() and backend not in backends.registered()
    with pytest.raises(RuntimeError, match="expected one of cpu, cuda at"):
        backends.device("nonsense")


@pytest.mark.gpu
def test_what_is_missing_here_is_missing_in_cupy():
    cupy = pytest.importorskip("cupy")
    from chainrule.backends import fakedevice

    for path in fakedevice._MISSING:
        found = cupy
        for part in path.split("."):
            found = getattr(found, part, None)
        assert path == "random" or found is None, path


def test_what_cupy_takes_less_of_than_numpy_is_refused(x):
    """Found by asking CuPy: see `kernels/cupy_replay.py`."""
    mask, places = x > 0, fake.zeros(1, dtype="int64")
    for use, kind, words in (
        (lambda: fake.where(True, x, x), TypeError, "where: CuPy takes an array here, got the number True"),
        (lambda: fake.broadcast_to(np.float32(2), (3,)), TypeError, "broadcast_to: CuPy takes an array"),
        (lambda: fake.maximum.accumulate(x), NotImplementedError, "maximum.accumulate: CuPy has none"),
        (lambda: fake.multiply.at(x, places, x), TypeError, "multiply.at: CuPy takes nothing"),
        (lambda: fake.add.at(mask, places, mask), TypeError, "add.at: CuPy takes int32"),
        (lambda: fake.maximum.at(x.astype("float16"), places, x), TypeError, "maximum.at: CuPy takes int32"),
    ):
        with pytest.raises(kind, match=words):
            use()
    pytest.importorskip("ml_dtypes")
    from chainrule.backends import dtypes

    with pytest.raises(NotImplementedError, match="CuPy does not sort bfloat16"):
        fake.argsort(x.astype(dtypes.bfloat16.dtype))
