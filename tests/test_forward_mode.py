"""Forward mode: every row of the table against reverse mode, nesting in every order against PyTorch, in-place writes, Functions."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import func
from chainrule.autograd import Function, forward_ad, functional
from chainrule.autograd.op import op
from tests.test_ops import ROWS, SMOOTH, floats, host, leaves, replaced, seeded, tensors

SECOND = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.grad and row.second], ids=lambda row: row.id
)


def drawn(rng, x):
    return x.detach().new_tensor(rng.standard_normal(tuple(x.shape)))


def pieces(row, seed):
    """The row as a function of its differentiable inputs, those inputs, and a direction for each."""
    inputs = tensors(row, requires_grad=True)
    flat = leaves(inputs)
    rng = np.random.default_rng(seed)
    xs = tuple(x.detach() for x in flat)
    function = lambda *new: tuple(floats(seeded(row, replaced(inputs, new))))
    return function, xs, tuple(drawn(rng, x) for x in xs), rng


def inner(pairs):
    return sum(float((host(a) * host(b)).sum()) for a, b in pairs)


def scale(*tensors):
    return max(1.0, *(np.abs(host(x)).sum() for group in tensors for x in group))


@SMOOTH
def test_jvp_is_the_transpose_of_vjp(row):
    """<u, J v> computed forward is <J^T u, v> computed in reverse."""
    function, xs, vs, rng = pieces(row, 3)
    outputs, products = func.jvp(function, xs, vs)
    assert not any(one.requires_grad for one in (*outputs, *products))
    us = tuple(drawn(rng, out) for out in outputs)
    expected, pull = func.vjp(function, *xs)
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_array_equal(host(one), host(other))
    for one, product in zip(outputs, products, strict=True):
        assert product.shape == one.shape and product.dtype is one.dtype
    grads = pull(us)
    forward, backward = inner(zip(us, products, strict=True)), inner(zip(grads, vs, strict=True))
    assert abs(forward - backward) <= 1e-9 * scale(products, grads)


@SECOND
def test_jvp_of_jvp_is_symmetric_and_agrees_with_reverse_mode(row):
    """The second derivative in the directions v and w, against <d/dx <J^T u, v>, w>."""
    function, xs, vs, rng = pieces(row, 4)
    ws = tuple(drawn(rng, x) for x in xs)

    def along(vs):
        return lambda *xs: func.jvp(function, xs, vs)[1]

    found = func.jvp(along(vs), xs, ws)[1]
    turned = func.jvp(along(ws), xs, vs)[1]
    us = tuple(drawn(rng, one) for one in found)
    over = func.jvp(lambda *xs: func.vjp(function, *xs)[1](us), xs, ws)[1]
    first, second, third = (
        inner(zip(us, found, strict=True)), inner(zip(us, turned, strict=True)), inner(zip(over, vs, strict=True))
    )  # fmt: skip
    assert abs(first - second) <= 1e-9 * scale(found, over)
    assert abs(first - third) <= 1e-9 * scale(found, over)


COMPLEX = {
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (b + 3),
    "mixed": lambda a, b: a.real * b + 1j * a.imag,
    "abs": lambda a, b: a.abs() * b,
    "conj": lambda a, b: a.conj() * b,
    "matmul": lambda a, b: a @ b,
    "exp": lambda a, b: (a * b).exp().sum(0),
    "fft": lambda a, b: cr.fft.fftn(a) + cr.fft.ifft(b),
    "irfft": lambda a, b: cr.fft.irfft(a) * b.real.sum(),
    "solve": lambda a, b: cr.linalg.solve(a + 3 * cr.eye(3), b),
    "eigvalsh": lambda a, b: cr.linalg.eigvalsh(a + a.mH) + b.real.sum(),
    "svdvals": lambda a, b: cr.linalg.svdvals(a) + b.imag,
    "index": lambda a, b: cr.cat([a[1:], b[cr.tensor([2, 0])]]),
    "var": lambda a, b: a.var(0) + b.abs().sum(),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_products_agree_with_reverse_mode_and_differences(name):
    rng = np.random.default_rng(6)
    draw = lambda *shape: cr.tensor(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    xs, vs, function = (draw(3, 3), draw(3, 3)), (draw(3, 3), draw(3, 3)), COMPLEX[name]
    output, product = func.jvp(function, xs, vs)
    assert product.dtype is output.dtype and product.shape == output.shape
    ends = [
        function(*(cr.tensor(host(x) + step * host(v)) for x, v in zip(xs, vs, strict=True)))
        for step in (1e-6, -1e-6)
    ]
    np.testing.assert_allclose(host(product), (host(ends[0]) - host(ends[1])) / 2e-6, rtol=1e-6, atol=1e-7)
    u = draw(*output.shape) if output.is_complex() else draw(*output.shape).real
    grads = func.vjp(function, *xs)[1](u)
    dot = lambda a, b: float((host(a).conj() * host(b)).real.sum())
    backward = sum(dot(g, v) for g, v in zip(grads, vs, strict=True))
    np.testing.assert_allclose(dot(u, product), backward, rtol=1e-9)


def test_a_dual_level_by_hand():
    x, v = cr.tensor([1.0, 2.0, 3.0]), cr.tensor([1.0, 0.0, -1.0])
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, v)
        primal, tangent = forward_ad.unpack_dual(dual)
        assert primal.tolist() == x.tolist() and tangent.tolist() == v.tolist()
        found = forward_ad.unpack_dual(dual.square().sum())
        assert found.primal.item() == 14 and found.tangent.item() == -4 and not found.primal.requires_grad
        assert forward_ad.unpack_dual(x * 2).tangent is None
        assert forward_ad.unpack_dual(dual.detach()).tangent is None
        assert forward_ad.unpack_dual((dual > 0).long()).tangent is None
        with cr.no_grad():
            constant = dual * 3
        assert forward_ad.unpack_dual(constant).tangent is None
    assert forward_ad.unpack_dual(dual * 2).tangent is None
    assert cr.is_grad_enabled()


def test_forward_mode_inside_no_grad():
    x = cr.tensor([0.5], requires_grad=True)
    with cr.no_grad():
        output, product = func.jvp(cr.sin, (x,), (cr.ones(1),))
        assert not cr.is_grad_enabled()
    assert not output.requires_grad and not product.requires_grad
    np.testing.assert_allclose(product.numpy(), np.cos([0.5]), rtol=1e-6)


def test_the_record_is_let_go():
    x = cr.ones(4)
    with forward_ad.dual_level():
        y = forward_ad.make_dual(x, x).sin().exp()
        assert y.grad_fn.next_functions == () and y.grad_fn.saved == ()
        w = cr.ones(4, requires_grad=True)
        assert (y * w).grad_fn.next_functions


def test_bad_duals():
    x = cr.ones(3)
    with pytest.raises(RuntimeError, match="no level"):
        forward_ad.make_dual(x, x)
    with pytest.raises(RuntimeError, match="no level to leave"):
        forward_ad.exit_dual_level()
    with forward_ad.dual_level():
        with pytest.raises(RuntimeError, match=r"\(3,\), its tangent \(2,\)"):
            forward_ad.make_dual(x, cr.ones(2))
        with pytest.raises(RuntimeError, match="float64"):
            forward_ad.make_dual(x, x.double())
        with pytest.raises(ValueError, match="int64"):
            forward_ad.make_dual(x.long(), x.long())
        with pytest.raises(TypeError, match="tangent to be a Tensor, got float"):
            forward_ad.make_dual(x, 1.0)
        with pytest.raises(RuntimeError, match="no level 3"):
            forward_ad.unpack_dual(x, level=3)
    with pytest.raises(RuntimeError, match="output 0 depends on none"):
        func.jvp(lambda x: x.detach(), (x,), (x,), strict=True)
    with pytest.raises(TypeError, match="returned float"):
        func.jvp(lambda x: 1.0, (x,), (x,))
    assert not forward_ad._levels.stack


def test_levels_nest_without_confusion():
    """d/dx [x d/dy (x + y)] is 1: the inner derivative does not see the outer direction."""
    one = cr.tensor(1.0)
    inner_derivative = lambda x: func.jvp(lambda y: x + y, (one,), (one,))[1]
    assert func.jvp(lambda x: x * inner_derivative(x), (one,), (one,))[1].item() == 1
    both = lambda x: func.jvp(lambda y: x * x * y * y, (one * 3,), (one,))[1]
    assert func.jvp(both, (one * 2,), (one,))[1].item() == 2 * 2 * 2 * 3
    assert func.jvp(func.grad(lambda x: x**4), (one * 2,), (one,))[1].item() == 48
    third = func.grad(lambda x: func.jvp(func.grad(lambda t: t**4), (x,), (one,))[1])
    assert third(one * 2).item() == 48
    outer = lambda x: func.grad(lambda y: func.jvp(lambda z: x * y * z * z, (y,), (one,))[1])(x)
    assert func.jvp(outer, (one * 2,), (one,))[1].item() == 8 * 2 * 2 - 4 * 2 * 2 + 0


def smooth(library):
    return lambda x, w: library.tanh(x @ w).square().sum(0) * library.exp(-x[:, :1].sum())


def draws(*shapes):
    rng = np.random.default_rng(8)
    return [rng.standard_normal(shape) for shape in shapes]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "order",
    ["forward", "forward over reverse", "reverse over forward", "forward over forward", "jacfwd", "hessian"],
)
def test_nesting_agrees_with_pytorch(order):
    torch = pytest.importorskip("torch")
    x, w, v, u = draws((4, 3), (3, 2), (4, 3), (4, 3))

    def computed(library, f, make):
        x_, w_, v_, u_ = map(make, (x, w, v, u))
        one = lambda x: smooth(library)(x, w_)
        total = lambda x: one(x).sum()
        if order == "forward":
            return f.jvp(one, (x_,), (v_,))
        if order == "forward over reverse":
            return f.jvp(f.grad(total), (x_,), (v_,))
        if order == "reverse over forward":
            return f.grad(lambda x: f.jvp(total, (x,), (v_,))[1])(x_), f.grad(
                lambda v: f.jvp(total, (x_,), (v,))[1]
            )(v_)
        if order == "forward over forward":
            return f.jvp(lambda x: f.jvp(one, (x,), (v_,))[1], (x_,), (u_,))
        return f.jacfwd(one)(x_) if order == "jacfwd" else f.hessian(total)(x_)

    ours = computed(cr, func, cr.tensor)
    theirs = computed(torch, torch.func, torch.tensor)
    for one, other in zip(*((a if isinstance(a, tuple) else (a,)) for a in (ours, theirs)), strict=True):
        np.testing.assert_allclose(host(one), other.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_dual_of_a_leaf_is_differentiated_in_reverse_as_pytorch_does():
    torch = pytest.importorskip("torch")
    import torch.autograd.forward_ad as theirs

    x, v = draws((3,), (3,))
    found = []
    for library, ad in ((cr, forward_ad), (torch, theirs)):
        leaf = library.tensor(x, requires_grad=True)
        direction = library.tensor(v, requires_grad=True)
        with ad.dual_level():
            primal, tangent = ad.unpack_dual((ad.make_dual(leaf, direction).sin() ** 2).sum())
            (primal + tangent).backward()
        found.append((leaf.grad.numpy(), direction.grad.numpy(), primal.item(), tangent.item()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


WRITES = {
    "add": lambda x, w: x.clone().add_(w).mul_(x),
    "slice": lambda x, w: _written(x.clone(), lambda y: y.__setitem__((slice(None), 1), w[:, 0])),
    "into plain": lambda x, w: _written(w * 2, lambda y: y.__setitem__(1, x[0])),
    "over dual": lambda x, w: _written(x * x, lambda y: y.__setitem__(1, w[0])),
    "view first": lambda x, w: _viewed(x * 1, w),
    "rows": lambda x, w: _written(x * x, lambda y: y.__setitem__(([2, 0],), x[:2])),
    "zero": lambda x, w: _written(x * x, lambda y: y[0].zero_()),
    "copy": lambda x, w: (w * 1).copy_(x),
}


def _written(y, write):
    write(y)
    return y * y


def _viewed(y, w):
    """A view that is older than a write to its base, and a write through a view."""
    row, column = y[0], y.T[1]
    column *= w[:, 0]
    row.add_(1)
    return row * y.sum()


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", WRITES)
def test_in_place_writes_carry_tangents_as_pytorch_does(name):
    torch = pytest.importorskip("torch")
    x, w, v = draws((3, 4), (3, 4), (3, 4))
    ours = func.jvp(lambda t: WRITES[name](t, cr.tensor(w)), (cr.tensor(x),), (cr.tensor(v),))
    theirs = torch.func.jvp(
        lambda t: WRITES[name](t, torch.tensor(w) + 0 * t), (torch.tensor(x),), (torch.tensor(v),)
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(host(one), other.numpy(), rtol=1e-12)


def test_batches_of_tangents():
    """`jacfwd` carries all unit vectors at once: one more pass than to see the outputs."""
    calls = []

    def function(x, w):
        calls.append(1)
        return cr.tanh(x @ w), (x[0] * w.sum(1)).softmax(0)

    x, w = cr.randn(2, 3, dtype=cr.float64), cr.randn(3, 4, dtype=cr.float64)
    forward = func.jacfwd(function, argnums=(0, 1))(x, w)
    assert len(calls) == 3
    reverse = func.jacrev(function, argnums=(0, 1))(x, w)
    for one, other in zip(forward, reverse, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(host(a), host(b), rtol=1e-12, atol=1e-14)
    batched = lambda x: func.vmap(lambda row: (row * row).sum() * row[0])(x)
    found = func.jvp(batched, (x,), (cr.ones_like(x),))[1]
    expected = 2 * host(x).sum(1) * host(x)[:, 0] + (host(x) ** 2).sum(1)
    np.testing.assert_allclose(host(found), expected, rtol=1e-12)
    empty = func.jacfwd(lambda x: x.sum())(cr.ones(0))
    assert empty.shape == (0,)


def test_trees_and_aux():
    x, y = cr.tensor(2.0), cr.tensor(3.0)
    output, product, aux = func.jvp(
        lambda a, b: ({"p": a["x"] * b, "q": (b, a["x"].detach())}, (a["x"] * 2, "note")),
        ({"x": x}, y), ({"x": cr.ones(())}, cr.zeros(())), has_aux=True,
    )  # fmt: skip
    assert output["p"].item() == 6 and product["p"].item() == 3
    assert product["q"][0].item() == 0 and product["q"][1].item() == 0
    assert aux[0].item() == 4 and not aux[0].requires_grad and aux[1] == "note"


def test_a_model_with_parameters_stays_differentiable():
    layer = cr.nn.Linear(3, 2)
    x, v = cr.randn(4, 3), cr.randn(4, 3)
    output, product = func.jvp(layer, (x,), (v,))
    np.testing.assert_allclose(host(product), host(v) @ host(layer.weight).T, rtol=1e-5)
    product.sum().backward()
    np.testing.assert_allclose(layer.weight.grad.numpy(), np.tile(host(v).sum(0), (2, 1)), rtol=1e-5)
    assert output.requires_grad and not func.jvp(layer.requires_grad_(False), (x,), (v,))[1].requires_grad


class Cube(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        ctx.scale = scale
        return scale * x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * ctx.scale * 3 * x**2, None

    @staticmethod
    def jvp(ctx, t, _):
        (x,) = ctx.saved_tensors
        return t * ctx.scale * 3 * x**2


class Pair(Function):
    @staticmethod
    def forward(a, b):
        return a * b, a + b

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, g, h):
        a, b = ctx.saved_tensors
        return g * b + h, g * a + h

    @staticmethod
    def jvp(ctx, s, t):
        a, b = ctx.saved_tensors
        return s * b + a * t, s + t


def test_functions_with_a_jvp_of_their_own():
    x, v = cr.tensor([1.0, 2.0], dtype=cr.float64), cr.tensor([1.0, -1.0], dtype=cr.float64)
    f = lambda x: Cube.apply(x, 2.0)
    assert func.jvp(f, (x,), (v,))[1].tolist() == [6, -24]
    assert func.jvp(lambda x: func.jvp(f, (x,), (v,))[1], (x,), (v,))[1].tolist() == [12, 24]
    assert func.jvp(func.grad(lambda x: f(x).sum()), (x,), (v,))[1].tolist() == [12, -24]
    assert func.grad(lambda x: func.jvp(f, (x,), (v,))[1].sum())(x).tolist() == [12, -24]
    pair = func.jvp(lambda x: Pair.apply(x, x.detach() + 1), (x,), (v,))[1]
    assert pair[0].tolist() == [2, -3] and pair[1].tolist() == v.tolist()
    assert func.jvp(lambda x: Pair.apply(x, x)[0], (x,), (v,))[1].tolist() == [2, -4]


def test_functions_without_a_jvp_are_refused_by_name():
    class Plain(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    class Wrong(Plain):
        @staticmethod
        def jvp(ctx, t):
            return t.sum()

    x = cr.ones(3)
    with pytest.raises(NotImplementedError, match=r"Plain: .*jvp\(ctx"):
        func.jvp(Plain.apply, (x,), (x,))
    with pytest.raises(RuntimeError, match=r"Wrong.jvp: expected a Tensor of shape \(3,\), got \(\)"):
        func.jvp(Wrong.apply, (x,), (x,))
    with pytest.raises(NotImplementedError, match="vmap"):
        Plain.vmap(None, None)
    assert Plain.generate_vmap_rule is False and Plain.apply(x).tolist() == [2, 2, 2]


def test_gradcheck_checks_forward_mode():
    x = cr.tensor([0.3, -0.8], dtype=cr.float64, requires_grad=True)

    @op(x=lambda xp, g, x: g * 2 * x, tangent=lambda xp, t, x: t[0] * 3 * x)
    def wrong_forward(xp, x):
        return x * x

    from chainrule.autograd.op import registry

    del registry["wrong_forward"]
    assert cr.autograd.gradcheck(wrong_forward, x)
    with pytest.raises(cr.autograd.GradcheckError, match="forward mode"):
        cr.autograd.gradcheck(wrong_forward, x, check_forward_ad=True)
    assert cr.autograd.gradcheck(lambda t: (t.sin(), (t * (1 + 2j)).exp()), x, check_forward_ad=True)
    z = cr.tensor([0.3 + 1j, -0.8j], dtype=cr.complex128, requires_grad=True)
    assert cr.autograd.gradcheck(lambda t: (t.abs(), t.conj() * t, t.exp()), z, check_forward_ad=True)
    assert cr.autograd.gradgradcheck(lambda t: t.exp() * t, x, check_fwd_over_rev=True)


def test_products_of_autograd_functional():
    x, v = cr.tensor([1.0, 2.0]).requires_grad_(), cr.tensor([1.0, 1.0])
    output, product = functional.jvp(lambda t: t**3, x, v)
    assert product.tolist() == [3, 12] and not product.requires_grad and not output.requires_grad
    output, product = functional.jvp(lambda t: t**3, x, v, create_graph=True)
    product.sum().backward()
    assert x.grad.tolist() == [6, 12]
    with pytest.raises(RuntimeError, match="depends on no input"):
        functional.jvp(lambda t: t.detach(), x, v, strict=True)
    assert functional.jvp(lambda t: (t, t.detach()), x, v)[1][1].tolist() == [0, 0]
