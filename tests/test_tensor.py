"""Making, printing, converting Tensors; type promotion; and what is said when something is wrong."""

import copy
import itertools
import pickle

import numpy as np
import pytest

import chainrule as cr

# Making and reading


def test_tensor_takes_numbers_lists_arrays_and_tensors():
    assert cr.tensor(3.0).dtype is cr.float32 and cr.tensor(3.0).shape == ()
    assert cr.tensor([1, 2]).dtype is cr.int64 and cr.tensor([True]).dtype is cr.bool
    assert cr.tensor([1, 2.5]).dtype is cr.float32 and cr.tensor(1j).dtype is cr.complex64
    assert cr.tensor(np.ones(2)).dtype is cr.float64
    assert cr.tensor([cr.tensor(1.0), cr.tensor(2.0)]).tolist() == [1.0, 2.0]
    x = cr.ones(2)
    y = cr.tensor(x)
    y[0] = 5.0
    assert x.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", ["text", [[1, 2], [3]], [object()], [None], {"a": 1}])
def test_tensor_refuses_what_is_no_number(bad):
    with pytest.raises((TypeError, ValueError), match="tensor"):
        cr.tensor(bad)


def test_from_numpy_shares_memory():
    array = np.zeros(3)
    x = cr.from_numpy(array)
    array[0] = 1.0
    x[1] = 2.0
    assert x.tolist() == array.tolist() == [1.0, 2.0, 0.0]
    with pytest.raises(TypeError, match="from_numpy"):
        cr.from_numpy([1.0])


def test_creation(device):
    made = [
        (cr.zeros(2, 3, device=device), np.zeros((2, 3))),
        (cr.ones((2,), device=device), np.ones(2)),
        (cr.full((2,), 7, device=device), np.full(2, 7)),
        (cr.arange(2, 7, 2, device=device), np.arange(2, 7, 2)),
        (cr.arange(0.5, device=device), np.arange(0.5)),
        (cr.linspace(0, 1, 5, device=device), np.linspace(0, 1, 5)),
        (cr.eye(2, 3, device=device), np.eye(2, 3)),
        (cr.zeros_like(cr.ones(2, device=device)), np.zeros(2)),
    ]
    for tensor, expected in made:
        assert tensor.device.type == cr.device(device).type
        np.testing.assert_allclose(tensor.cpu().numpy(), expected, rtol=1e-7)
    assert (
        cr.full((2,), 7).dtype is cr.int64
        and cr.arange(3).dtype is cr.int64
        and cr.arange(3.0).dtype is cr.float32
    )


def test_random_numbers_are_the_same_on_every_device(device):
    def draw(where):
        cr.manual_seed(3)
        return [
            cr.rand(4, 3, device=where), cr.randn(5, device=where), cr.randint(0, 10, (6,), device=where), cr.randperm(7, device=where),
            cr.zeros(3, device=where).uniform_(-1, 1), cr.bernoulli(cr.full((5,), 0.5, device=where)),
        ]  # fmt: skip

    for one, other in zip(draw("cpu"), draw(device), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.cpu().numpy())


def test_generators_are_independent_of_the_default_one():
    generator = cr.Generator().manual_seed(5)
    first = cr.rand(3, generator=generator)
    state = cr.get_rng_state()
    assert cr.rand(3, generator=cr.Generator().manual_seed(5)).tolist() == first.tolist()
    a = cr.rand(2)
    cr.set_rng_state(state)
    assert cr.rand(2).tolist() == a.tolist()


def test_multinomial_draws_with_the_given_frequencies():
    p = cr.tensor([1.0, 0.0, 3.0])
    drawn = np.bincount(cr.multinomial(p, 4000, replacement=True).numpy(), minlength=3) / 4000
    np.testing.assert_allclose(drawn, [0.25, 0, 0.75], atol=0.03)
    assert sorted(cr.multinomial(p, 2).tolist()) == [0, 2]
    with pytest.raises(RuntimeError, match="multinomial"):
        cr.multinomial(p, 3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (cr.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (cr.tensor([1.5, -2.25]), "tensor([ 1.5000, -2.2500])"),
        (cr.tensor([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
        (cr.tensor(True), "tensor(True)"),
        (cr.tensor([1.0], dtype=cr.float64), "tensor([1.], dtype=chainrule.float64)"),
        (cr.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (cr.tensor([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=<MulBackward0>)"),
        (cr.zeros(0), "tensor([])"),
        (cr.tensor([1.0, float("nan"), float("inf")]), "tensor([1., nan, inf])"),
    ],
)
@pytest.mark.cpu_only
def test_printing(value, text):
    assert repr(value) == text


def test_printing_a_large_tensor_is_short():
    assert "..." in repr(cr.zeros(1000, 1000)) and len(repr(cr.zeros(1000, 1000))) < 1000


@pytest.mark.cpu_only
def test_conversion():
    x = cr.tensor([1.7, -2.0], requires_grad=True)
    assert x.to(cr.float64).dtype is cr.float64 and x.to("cpu") is x and x.float() is x
    assert x.long().tolist() == [1, -2] and not x.long().requires_grad and x.double().requires_grad
    assert (
        x.detach().numpy().dtype == np.float32
        and x.type_as(cr.zeros(1, dtype=cr.float64)).dtype is cr.float64
    )
    x.double().sum().backward()
    assert x.grad.dtype is cr.float32
    assert float(cr.tensor(2.5)) == 2.5 and int(cr.tensor(3)) == 3 and [10, 20, 30][cr.tensor(1)] == 20
    assert f"{cr.tensor(0.12345):.2f}" == "0.12"
    assert np.from_dlpack(cr.ones(2)).tolist() == [1.0, 1.0] and cr.from_dlpack(np.ones(2)).tolist() == [
        1.0,
        1.0,
    ]


def test_copies_and_pickles_keep_the_leaf():
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    (x * 3).sum().backward()
    y = copy.deepcopy(x)
    assert y.requires_grad and y.grad.tolist() == [3.0, 3.0] and y.tolist() == x.tolist()
    z = pickle.loads(pickle.dumps(x))
    assert z.requires_grad and z.tolist() == [1.0, 2.0]
    with cr.no_grad():
        y.add_(1)
    assert x.tolist() == [1.0, 2.0]


def test_devices(device):
    x = cr.ones(2, requires_grad=True)
    y = x.to(device)
    (y * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0] and x.grad.device.type == "cpu"
    cr.set_default_device(device)
    try:
        assert cr.zeros(1).device.type == cr.device(device).type
    finally:
        cr.set_default_device("cpu")


@pytest.mark.cpu_only
def test_mixing_devices_names_both_and_the_fix():
    a, b = cr.ones(2), cr.ones(2, device="fake")
    for operation in (lambda: a + b, lambda: a @ b, lambda: cr.cat([a, b]), lambda: cr.where(b > 0, a, b)):
        with pytest.raises((RuntimeError, TypeError), match="fake"):
            operation()
    with pytest.raises(RuntimeError, match=r"same device, got cpu and fake|same device, got cpu, fake"):
        a + b
    assert (b * cr.tensor(2.0)).tolist() == [2.0, 2.0]  # 0-d values go along
    with pytest.raises(TypeError, match=r"\.cpu\(\)"):
        b.numpy()


def test_cuda_is_asked_for_without_a_card():
    assert cr.cuda.is_available() in (True, False) and cr.cuda.device_count() >= 0
    if not cr.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"cuda|CuPy|cupy"):
            cr.ones(1).cuda()


def test_default_dtype():
    cr.set_default_dtype(cr.float64)
    try:
        assert (
            cr.tensor(1.0).dtype is cr.float64
            and cr.zeros(1).dtype is cr.float64
            and (cr.tensor(1) / 2).dtype is cr.float64
        )
    finally:
        cr.set_default_dtype(cr.float32)


# Type promotion

KINDS = ["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64", "complex64"]


def _make(library, kind, zero_d):
    return library.tensor(1 if zero_d else [1, 2], dtype=getattr(library, kind))


@pytest.mark.torch
def test_promotion_is_pytorchs():
    torch = pytest.importorskip("torch")
    operations = [lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a / b, lambda a, b: a == b]
    for kind_a, kind_b, zero_a, zero_b in itertools.product(KINDS, KINDS, (False, True), (False, True)):
        if {kind_a, kind_b} == {"float16", "complex64"}:
            continue  # PyTorch's complex32 has no counterpart in NumPy
        for operation in operations:
            ours = operation(_make(cr, kind_a, zero_a), _make(cr, kind_b, zero_b)).dtype
            theirs = operation(_make(torch, kind_a, zero_a), _make(torch, kind_b, zero_b)).dtype
            assert str(ours).split(".")[1] == str(theirs).split(".")[1], (kind_a, zero_a, kind_b, zero_b)
    for kind, scalar in itertools.product(KINDS, (True, 2, 2.5, 1j)):
        if kind == "float16" and scalar == 1j:
            continue
        for operation in operations[:2]:
            ours, theirs = (operation(_make(library, kind, False), scalar).dtype for library in (cr, torch))
            assert str(ours).split(".")[1] == str(theirs).split(".")[1], (kind, scalar)
    for name in ("sum", "mean", "prod", "cumsum", "exp", "sqrt", "abs", "neg", "floor", "std"):
        for kind in KINDS[1:8]:
            arguments = (0,) if name == "cumsum" else ()
            try:
                theirs = getattr(_make(torch, kind, False), name)(*arguments).dtype
            except RuntimeError:
                with pytest.raises(RuntimeError):
                    getattr(_make(cr, kind, False), name)(*arguments)
                continue
            assert (
                getattr(_make(cr, kind, False), name)(*arguments).dtype.name == str(theirs).split(".")[1]
            ), (name, kind)


# What is said when something is wrong: the operation, the shapes or values, and the fix

X = cr.ones(2, 3)
BAD = [
    (lambda: X + cr.ones(4), RuntimeError, r"add: .*\(2, 3\).*\(4,\)"),
    (lambda: X @ X, RuntimeError, r"matmul: .*\(2, 3\) and \(2, 3\)"),
    (lambda: cr.mm(X, cr.ones(3)), RuntimeError, "mm: expected 2-d"),
    (lambda: cr.bmm(cr.ones(2, 2, 3), cr.ones(3, 3, 1)), RuntimeError, "bmm: batches differ"),
    (lambda: X @ cr.ones(3, 2, dtype=cr.float64), RuntimeError, r"matmul: expected inputs of one dtype.*\.to"),
    (lambda: X.reshape(4, 2), RuntimeError, r"reshape: shape \(4, 2\) is invalid for an input of 6"),
    (lambda: X.reshape(-1, -1), RuntimeError, "reshape"),
    (lambda: X.t().view(6), RuntimeError, r"view: .*use \.reshape"),
    (lambda: X.sum(2), IndexError, r"sum: dimension out of range.*\[-2, 1\], got 2"),
    (lambda: X.sum((0, 0)), RuntimeError, "sum: a dim appears more than once"),
    (lambda: X.sum("a"), TypeError, "sum: dim must be an int"),
    (lambda: X.permute(0), RuntimeError, "permute: got 1 dims"),
    (lambda: X.expand(4, 3), RuntimeError, r"expand: .*\(2, 3\)"),
    (lambda: X[5], IndexError, r"getitem: index 5 is out of range for dimension 0 of shape \(2, 3\)"),
    (lambda: X[0, 0, 0], IndexError, "too many indices"),
    (lambda: X[::-1], ValueError, r"step must be positive.*flip"),
    (lambda: X[cr.tensor([0.5])], IndexError, "integer or bool"),
    (lambda: X[cr.ones(3, dtype=cr.bool)], IndexError, "mask"),
    (lambda: X["a"], TypeError, "index"),
    (lambda: cr.cat([X, cr.ones(2, 2)]), RuntimeError, r"cat: sizes must match.*\(2, 2\)"),
    (lambda: cr.stack([X, cr.ones(3, 2)]), RuntimeError, "stack: expected tensors of one shape"),
    (lambda: cr.cat([]), RuntimeError, "cat: expected a non-empty"),
    (lambda: X.split([1, 5], 1), RuntimeError, "split: sizes"),
    (lambda: X.gather(0, cr.tensor([[7, 0, 0]])), IndexError, "gather: index 7 is out of range"),
    (lambda: X.gather(0, cr.tensor([0])), RuntimeError, "gather: index has 1 dimensions, input 2"),
    (lambda: X.gather(0, cr.ones(1, 3)), TypeError, "gather: index must be an integer"),
    (lambda: X.max(5), IndexError, "max: dimension out of range"),
    (lambda: cr.zeros(0).max(), IndexError, "max: cannot reduce"),
    (lambda: cr.tensor([1]).mean(), RuntimeError, r"mean: expected a floating.*\.float\(\)"),
    (lambda: X.topk(9), RuntimeError, "topk: k=9"),
    (lambda: cr.einsum("ij,jk", X), RuntimeError, "einsum"),
    (lambda: cr.einsum("ij->z", X), RuntimeError, "einsum"),
    (lambda: X.item(), RuntimeError, r"item: a Tensor of shape \(2, 3\) has 6 elements"),
    (lambda: bool(X), RuntimeError, "ambiguous"),
    (lambda: cr.tensor(1.0)[0], IndexError, "too many indices"),
    (lambda: len(cr.tensor(1.0)), TypeError, "0-d"),
    (lambda: cr.tensor([1]).requires_grad_(), RuntimeError, r"floating point.*int64"),
    (lambda: cr.add(X, "a"), TypeError, "add: expected Tensors"),
    (lambda: cr.add(X, [1]), TypeError, "add: expected Tensors"),
    (lambda: cr.exp("a"), TypeError, "exp: expected"),
    (lambda: cr.zeros(-1), RuntimeError, "zeros: negative"),
    (lambda: cr.zeros(2.5), TypeError, "zeros: sizes must be ints"),
    (lambda: cr.arange(0, 1, -1), RuntimeError, "arange"),
    (lambda: cr.randint(5, 5, (1,)), RuntimeError, "randint: expected low < high"),
    (lambda: cr.where(X, X, X), RuntimeError, "where: expected a condition of dtype bool"),
    (lambda: X.masked_fill(X, 0.0), RuntimeError, "masked_fill: expected a mask"),
    (lambda: X.clamp(), RuntimeError, "clamp: at least one"),
    (lambda: cr.tensor([2]) ** -1, RuntimeError, "pow: integers"),
    (lambda: X.to("nowhere"), RuntimeError, "nowhere"),
    (lambda: X.narrow(0, 1, 5), RuntimeError, "narrow"),
    (lambda: cr.as_tensor([[1], [1, 2]]), ValueError, "equal lengths"),
    (lambda: X.backward(), RuntimeError, "does not require grad"),
    (lambda: X.register_hook(print), RuntimeError, "does not require grad"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), BAD, ids=[message[:25] for _, _, message in BAD])
@pytest.mark.cpu_only
def test_bad_input_is_answered_clearly(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_equality_with_other_things_is_false():
    assert (cr.ones(1) == None) is False and cr.ones(1) != "a"  # noqa: E711
    x = cr.ones(2)
    assert x in [x] and {x: 1}[x] == 1


def test_empty_tensors():
    empty = cr.zeros(0, 3, requires_grad=True)
    assert empty.sum().item() == 0 and empty.prod().item() == 1 and np.isnan(empty.mean().item())
    assert (empty @ cr.ones(3, 2)).shape == (0, 2)
    (empty @ cr.ones(3, 2)).sum().backward()
    assert empty.grad.shape == (0, 3)
    assert cr.logsumexp(cr.zeros(2, 0), 1).tolist() == [-float("inf")] * 2
    assert cr.cat([cr.zeros(0), cr.ones(2)]).tolist() == [1.0, 1.0]


def test_overflow_safe_functions():
    big = cr.tensor([1e4, 0.0, -1e4], dtype=cr.float64, requires_grad=True)
    y = big.logsumexp(0)
    y.backward()
    assert y.item() == 1e4 and big.grad.tolist() == [1.0, 0.0, 0.0]
    infinite = cr.tensor([-float("inf")] * 2, requires_grad=True)
    y = infinite.logsumexp(0)
    assert y.item() == -float("inf")
    x = cr.tensor([3e200, 4e200], dtype=cr.float64, requires_grad=True)
    x.norm().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.6, 0.8], rtol=1e-15)
    zero = cr.zeros(3, requires_grad=True)
    zero.norm().backward()
    assert zero.grad.tolist() == [0.0, 0.0, 0.0]


def test_non_smooth_points_follow_pytorch():
    x = cr.tensor([0.0, 0.0], requires_grad=True)
    x.abs().sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]
    a, b = (cr.tensor([1.0], requires_grad=True) for _ in range(2))
    cr.maximum(a, b).backward()
    assert (a.grad.item(), b.grad.item()) == (0.5, 0.5)
    t = cr.tensor([[2.0, 2.0]], requires_grad=True)
    t.max().backward()
    assert t.grad.tolist() == [[0.5, 0.5]]
    t.grad = None
    t.max(1).values.sum().backward()
    assert t.grad.tolist() == [[1.0, 0.0]]
    c = cr.tensor([-1.0, 1.0], requires_grad=True)
    c.clamp(-1, 1).sum().backward()
    assert c.grad.tolist() == [1.0, 1.0]


def test_blas_threads():
    pytest.importorskip("threadpoolctl")
    before = cr.get_num_threads()
    try:
        cr.set_num_threads(1)
        assert cr.get_num_threads() == 1
    finally:
        cr.set_num_threads(before)
    with pytest.raises(RuntimeError, match="positive int"):
        cr.set_num_threads(0)


@pytest.mark.parametrize("size", [(2**62,), (2**31, 2**31), (2**45,), (2**80,)])
def test_sizes_beyond_memory_are_refused_at_once(size):
    with pytest.raises(RuntimeError, match=r"zeros: size|out of memory"):
        cr.zeros(*size)
    for make in (
        lambda: cr.ones(1).expand(2**62).clone(),
        lambda: cr.arange(2**50),
        lambda: cr.eye(2**40),
        lambda: cr.rand(2**45),
        lambda: cr.ones(3).repeat(2**60),
    ):
        with pytest.raises(RuntimeError):
            make()
