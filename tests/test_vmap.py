"""`vmap`: nesting, derivatives inside and outside, models, errors, random numbers. (`test_vmap_rows.py`: every operation.)"""

import threading
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vjp, vmap
from chainrule.nn import functional as F


def data(*shape, seed=0, dtype="float64", **kwargs):
    return cr.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), **kwargs)


def close(got, want, tol=1e-10):
    got, want = got.detach().cpu().numpy(), want.detach().cpu().numpy()
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=tol, atol=tol)


def looped(func, *batches):
    return cr.stack([func(*one) for one in zip(*batches, strict=True)])


# --- dimensions ---


@pytest.mark.parametrize("in_dim", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("out_dim", [0, 1, 2, -1, -2])
def test_dimensions(in_dim, out_dim, device):
    x = data(3, 4, 5).to(device)
    f = lambda a: a.cumsum(0) * a.T.sum(0).sum()
    got = vmap(f, in_dims=in_dim, out_dims=out_dim)(x)
    assert got.device.type == device
    want = cr.stack([f(one) for one in x.unbind(in_dim)], out_dim % 3)
    close(got, want)


def test_pytrees_of_arguments_results_and_dims():
    x, y, z = data(3, 4), data(4, 3, seed=1), data(4, seed=2)

    def f(pair, extra):
        return {"sum": pair["x"] + pair["y"], "rest": (extra * pair["x"], extra)}

    got = vmap(f, in_dims=({"x": 0, "y": 1}, None), out_dims={"sum": 1, "rest": (0, None)})(
        {"x": x, "y": y}, z
    )
    close(got["sum"], (x + y.T).T)
    close(got["rest"][0], z * x)
    assert got["rest"][1] is z


def test_keyword_arguments_and_other_values_are_shared():
    x, w = data(3, 4), data(4, seed=1)
    close(vmap(lambda a, n, w=None: a * n + w, in_dims=(0, None))(x, 2, w=w), x * 2 + w)


def test_a_result_without_batch_is_repeated():
    x = data(3, 4)
    close(vmap(lambda a: cr.ones(2))(x), cr.ones(3, 2))


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7])
def test_chunks(chunk_size):
    x = data(5, 4)
    got = vmap(
        lambda a, b: (a * b, (a * b).sum()), in_dims=(0, None), out_dims=(1, 0), chunk_size=chunk_size
    )(x, x[0])
    close(got[0], (x * x[0]).T)
    close(got[1], (x * x[0]).sum(1))


def test_an_empty_batch():
    assert vmap(lambda a: a.sin() @ cr.ones(4, 2, dtype=cr.float64))(data(0, 3, 4)).shape == (0, 3, 2)


def test_the_result_is_memory_of_its_own():
    x = data(3, 4)
    before = x.clone()
    for f in (lambda a: a, lambda a: a[1:], lambda a: a.reshape(2, 2)):
        vmap(f)(x).add_(1)
    close(x, before)


# --- nesting ---


def test_nested_vmap_is_an_outer_product_of_loops(device):
    x, y = data(3, 2).to(device), data(4, 2, seed=1).to(device)
    f = lambda a, b: (a * b).sum() + a.max() * b.exp().prod()
    got = vmap(vmap(f, in_dims=(None, 0)), in_dims=(0, None))(x, y)
    close(got, cr.stack([cr.stack([f(a, b) for b in y]) for a in x]))
    got = vmap(vmap(f, in_dims=(0, None), out_dims=0), in_dims=(None, 0), out_dims=1)(x, y)
    close(got, cr.stack([cr.stack([f(a, b) for b in y]) for a in x]))


def test_inner_values_meet_outer_ones():
    x, y = data(3, 4), data(3, 5, 4, seed=1)

    def f(a, rows):
        middle = a.sin()
        return vmap(lambda row: (row * middle).sum() + a[0])(rows) * middle.sum()

    want = cr.stack(
        [
            cr.stack([(r * a.sin()).sum() + a[0] for r in rows]) * a.sin().sum()
            for a, rows in zip(x, y, strict=True)
        ]
    )
    close(vmap(f)(x, y), want)


def test_three_levels():
    x = data(2, 3, 4)
    close(vmap(vmap(vmap(lambda a: a * a + 1)))(x), x * x + 1)


# --- derivatives ---


def loss(w, x):
    return (x @ w).tanh().square().sum()


def test_gradients_from_outside_sum_over_what_is_shared():
    x, w = data(5, 4, requires_grad=True), data(4, 3, seed=1, requires_grad=True)
    vmap(loss, in_dims=(None, 0))(w, x).sum().backward()
    got = x.grad, w.grad
    x.grad = w.grad = None
    sum(loss(w, one) for one in x).backward()
    close(got[0], x.grad)
    close(got[1], w.grad)


def test_a_captured_tensor_that_every_sample_only_adds():
    x, b = data(5, 4), data(4, seed=1, requires_grad=True)
    vmap(lambda a: a + b)(x).sum().backward()
    close(b.grad, cr.full((4,), 5.0, dtype=cr.float64))
    b.grad = None
    vmap(lambda a: b * 2)(x).sum().backward()
    close(b.grad, cr.full((4,), 10.0, dtype=cr.float64))


def test_per_sample_gradients(device):
    x, w = data(5, 4).to(device), data(4, 3, seed=1).to(device)
    close(vmap(grad(loss), in_dims=(None, 0))(w, x), looped(lambda one: grad(loss)(w, one), x))


def test_per_sample_gradients_of_a_captured_tensor():
    x, w = data(5, 4), data(4, 3, seed=1, requires_grad=True)

    def f(a):
        return cr.autograd.grad(loss(w, a), w)[0]

    close(vmap(f)(x), looped(f, x))


def test_gradients_of_per_sample_gradients():
    x, w = data(5, 4, requires_grad=True), data(4, 3, seed=1, requires_grad=True)
    weights = data(5, 4, 3, seed=2)
    (vmap(grad(loss), in_dims=(None, 0))(w, x) * weights).sum().backward()
    got = x.grad, w.grad
    x.grad = w.grad = None
    sum((grad(loss)(w, a) * v).sum() for a, v in zip(x, weights, strict=True)).backward()
    close(got[0], x.grad)
    close(got[1], w.grad)


def test_create_graph_through_vmap():
    x, w = data(5, 4, requires_grad=True), data(4, 3, seed=1, requires_grad=True)

    def second(total):
        found = cr.autograd.grad(total, (x, w), create_graph=True)
        return cr.autograd.grad(sum((g * g).sum() for g in found), (x, w))

    got = second(vmap(loss, in_dims=(None, 0))(w, x).sum())
    want = second(sum(loss(w, one) for one in x))
    for one, other in zip(got, want, strict=True):
        close(one, other)
    vmap(loss, in_dims=(None, 0))(w, x).sum().backward(create_graph=True)
    total = (x.grad * x.grad).sum() + (w.grad * w.grad).sum()
    x.grad = w.grad = None
    total.backward()
    close(x.grad, want[0])
    close(w.grad, want[1])


def test_grad_of_a_vmap_inside_a_vmap():
    w, x = data(2, 4, 3), data(5, 4, seed=1)
    total = lambda w: vmap(loss, in_dims=(None, 0))(w, x).sum()
    close(vmap(grad(total))(w), looped(grad(lambda w: sum(loss(w, one) for one in x)), w))


def test_jacobians_and_hessians_inside():
    x = data(4, 3)
    f = lambda a: cr.stack([a.prod(), (a**3).sum(), a[0].exp() * a[1]])
    for transform in (jacrev, jacfwd):
        close(vmap(transform(f))(x), looped(transform(f), x))
    g = lambda a: (a.exp() * a.sin()).sum() ** 2
    close(vmap(hessian(g))(x), looped(hessian(g), x))
    close(
        vmap(grad(lambda a: grad(g)(a).square().sum()))(x),
        looped(grad(lambda a: grad(g)(a).square().sum()), x),
    )


def test_vectors_times_one_jacobian():
    x, vs = data(3), data(6, 3, seed=1)
    f = lambda a: a.exp() * a.sum() + a[0] ** 2
    _, product = vjp(f, x)
    close(vmap(product)(vs)[0], cr.stack([product(v)[0] for v in vs]))
    push = lambda v: jvp(f, (x,), (v,))[1]
    close(vmap(push)(vs), looped(push, vs))
    both = lambda a, v: jvp(f, (a,), (v,))[1]
    close(vmap(both)(vs, vs.flip(0)), looped(both, vs, vs.flip(0)))


def test_all_rows_of_a_jacobian_at_once():
    x, y = data(3), data(2, seed=1)
    f = lambda a, b: (a.exp().sum() * b, a[:, None] * b.sin(), a.sum())
    whole, chunks, single = (jacrev(f, (0, 1), chunk_size=size)(x, y) for size in (None, 2, 1))
    plain = cr.autograd.functional.jacobian(f, (x, y))
    vectorized = cr.autograd.functional.jacobian(f, (x, y), vectorize=True)
    for many in (whole, chunks, single, vectorized):
        for row, other in zip(many, plain, strict=True):
            for one, want in zip(row, other, strict=True):
                close(one, want)
    g = lambda a: (a.exp().sum() ** 2).sin()
    close(cr.autograd.functional.hessian(g, x, vectorize=True), cr.autograd.functional.hessian(g, x))


def test_a_batch_of_gradients(device):
    x, z = (data(4, seed=s).to(device).requires_grad_() for s in (0, 1))
    y, weights = x.exp() * x.sum(), data(3, 4, seed=2).to(device)
    found, unused = cr.autograd.grad(
        y, (x, z), weights, is_grads_batched=True, allow_unused=True, retain_graph=True
    )
    assert unused is None
    close(found, cr.stack([cr.autograd.grad(y, x, one, retain_graph=True)[0] for one in weights]))


def test_hooks_and_custom_functions():
    class Cube(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * g * x**2 * cr.ones(4, dtype=cr.float64)

    x = data(3, 4, requires_grad=True)
    vmap(lambda a: Cube.apply(a).sum())(x).sum().backward()
    close(x.grad, 3 * x**2)
    close(vmap(grad(lambda a: Cube.apply(a).sum()))(x.detach()), 3 * x**2)


def test_a_function_with_a_rule_of_its_own():
    seen = []

    class Sine(cr.autograd.Function):
        @staticmethod
        def forward(x, scale):
            return x.detach().new_tensor(np.sin(x.detach().numpy()) * scale)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(inputs[0])
            ctx.scale = inputs[1]

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0].cos() * ctx.scale, None

        @staticmethod
        def vmap(info, in_dims, x, scale):
            seen.append((info.batch_size, in_dims, tuple(x.shape)))
            return Sine.apply(x.movedim(in_dims[0], -1), scale), -1

    x = data(3, 4, 2, requires_grad=True)
    got = vmap(lambda a: Sine.apply(a, 3.0) * 2, in_dims=1, out_dims=1)(x)
    assert seen == [(4, (0, None), (4, 3, 2))]
    close(got, 6 * x.sin())
    got.sum().backward()
    close(x.grad, 6 * x.cos())
    x = x.detach()
    close(vmap(vmap(grad(lambda a: Sine.apply(a, 3.0).square().sum())))(x), 18 * x.sin() * x.cos())
    per_sample = vmap(grad(lambda w, a: (Sine.apply(w, 1.0) * a).sum()), in_dims=(None, 0))
    close(per_sample(x[0, 0], x), x.sum(1) * x[0, 0].cos())


# --- models ---


def per_sample(model, x, y, criterion, tol=1e-9):
    """Per-sample gradients of a model against a loop of backward passes."""
    params = {name: one.detach() for name, one in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def sample_loss(params, a, b):
        return criterion(functional_call(model, (params, buffers), (a.unsqueeze(0),)), b.unsqueeze(0))

    got = vmap(grad(sample_loss), in_dims=(None, 0, 0))(params, x, y)
    for k in range(len(x)):
        model.zero_grad()
        criterion(model(x[k : k + 1]), y[k : k + 1]).backward()
        for name, one in model.named_parameters():
            close(got[name][k], one.grad, tol)


def test_per_sample_gradients_of_an_mlp():
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 4)).double()
    per_sample(model, data(5, 6), cr.tensor([0, 3, 1, 2, 2]), F.cross_entropy)


def test_per_sample_gradients_of_a_cnn():
    cr.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3, stride=2), nn.AvgPool2d(1),
        nn.Flatten(), nn.Linear(3, 3),
    ).double().eval()  # fmt: skip
    model[1].running_var.uniform_(0.5, 2)
    per_sample(
        model,
        data(4, 2, 7, 7),
        cr.tensor([0, 2, 1, 1]),
        lambda a, b: F.cross_entropy(a, b, label_smoothing=0.1),
    )


def test_per_sample_gradients_of_an_embedding_and_an_lstm():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.lstm, self.out = (
                nn.Embedding(9, 5, padding_idx=0),
                nn.LSTM(5, 4, batch_first=True),
                nn.Linear(4, 3),
            )

        def forward(self, x):
            return self.out(self.lstm(self.table(x))[0][:, -1])

    cr.manual_seed(0)
    tokens = cr.tensor(np.random.default_rng(0).integers(0, 9, (4, 6)))
    per_sample(Model().double(), tokens, cr.tensor([0, 2, 1, 1]), F.cross_entropy)


def test_an_ensemble_of_models():
    cr.manual_seed(0)
    models = [nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double() for _ in range(4)]
    params, buffers = stack_module_state(models)
    x, each = data(6, 3), data(4, 6, 3, seed=1)
    run = lambda p, b, x: functional_call(models[0], (p, b), (x,))
    close(vmap(run, in_dims=(0, 0, None))(params, buffers, x), cr.stack([m(x) for m in models]))
    got = vmap(run)(params, buffers, each)
    close(got, cr.stack([m(one) for m, one in zip(models, each, strict=True)]))
    got.square().sum().backward()
    for k, (model, one) in enumerate(zip(models, each, strict=True)):
        model(one).square().sum().backward()
        for name, parameter in model.named_parameters():
            close(params[name].grad[k], parameter.grad)


# --- indexing and writing ---


def test_indexing_with_indices_of_each_sample(device):
    rng = np.random.default_rng(0)
    x = data(3, 4, 5, 6).to(device)
    i, j = (cr.tensor(rng.integers(0, 4, (3, 2)), device=device) for _ in range(2))
    k = cr.tensor(rng.integers(0, 4, 3), device=device)
    shared = cr.tensor([2, 0], device=device)
    for f in (
        lambda x, i, j, k: x[i],
        lambda x, i, j, k: x[k],
        lambda x, i, j, k: x[:, i],
        lambda x, i, j, k: x[i, :, j],
        lambda x, i, j, k: x[i, j],
        lambda x, i, j, k: x[:, i, j],
        lambda x, i, j, k: x[None, i, 1],
        lambda x, i, j, k: x[i, ..., shared],
        lambda x, i, j, k: x[shared, :, shared],
        lambda x, i, j, k: x[:, shared, i],
        lambda x, i, j, k: x[1, :, i],
        lambda x, i, j, k: x[i[:, None], j],
        lambda x, i, j, k: x.index_select(1, i),
        lambda x, i, j, k: x.gather(0, i[:, None, None].expand(2, 5, 6)),
        lambda x, i, j, k: x[..., -2:, k],
    ):
        inputs = x.clone().requires_grad_()
        got = vmap(f)(inputs, i, j, k)
        want = cr.stack([f(*one) for one in zip(x, i, j, k, strict=True)])
        close(got, want)
        got.square().sum().backward()
        other = x.clone().requires_grad_()
        cr.stack([f(*one) for one in zip(other, i, j, k, strict=True)]).square().sum().backward()
        close(inputs.grad, other.grad)


def test_writing_in_place():
    x, i = data(3, 4, 5), cr.tensor([[0, 2], [1, 1], [3, 0]])

    def f(x, i):
        y = x.clone()
        y[i] = 1.5
        y[:, 1] *= 2
        y[0].add_(x[1])
        z = x.new_zeros(4, 5)
        z[i[0]] += y.sum(0)
        z[x > 1] = 0
        y.mul_(z + 1)
        return y.tanh_().sum(0) * z.sum()

    inputs, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    got, want = vmap(f)(inputs, i), looped(f, other, i)
    close(got, want)
    got.square().sum().backward()
    want.square().sum().backward()
    close(inputs.grad, other.grad)


def test_writing_to_the_argument_writes_to_the_callers_memory():
    x = data(3, 4)
    want = x * 2
    vmap(lambda a: a.mul_(2))(x)
    close(x, want)


# --- random numbers ---


def test_random_numbers():
    x = cr.ones(4, 100)
    with pytest.raises(RuntimeError, match="vmap: a random operation"):
        vmap(lambda a: F.dropout(a, 0.5))(x)
    same = vmap(lambda a: F.dropout(a, 0.5), randomness="same")(x)
    assert bool((same == same[0]).all()) and 20 < int((same[0] == 0).sum()) < 80
    different = vmap(lambda a: F.dropout(a, 0.5), randomness="different")(x)
    assert not bool((different[0] == different[1]).all())
    numbers = vmap(vmap(lambda a: cr.randn(3) + a, randomness="different"), randomness="same")(cr.zeros(2, 5))
    assert bool((numbers[0] == numbers[1]).all()) and len(set(numbers[0].flatten().tolist())) == 15
    order = vmap(lambda a: cr.randperm(6), randomness="different")(x)
    assert order.shape == (4, 6) and bool((order.sort(1).values == cr.arange(6)).all())
    cr.manual_seed(1)
    ordinary = cr.rand(2, 3)
    cr.manual_seed(1)
    close(vmap(lambda a: cr.rand(3), randomness="different")(cr.zeros(2)), ordinary)


# --- errors ---


def test_python_cannot_branch_on_a_batched_value():
    x = data(3, 4)
    for f in (
        lambda a: a if a.sum() > 0 else -a,
        lambda a: a * a.sum().item(),
        lambda a: cr.tensor(a.tolist()),
        lambda a: cr.tensor(a.numpy()),
        lambda a: a * float(a[0]),
    ):
        with pytest.raises(RuntimeError, match=r"vmap: .* every sample"):
            vmap(f)(x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: vmap(lambda a, b: a, in_dims=(0, 0))(x, x[:2]), "different sizes"),
        (lambda x: vmap(lambda a: a, in_dims=3)(x), "in_dims 3 is out of range"),
        (lambda x: vmap(lambda a: a, in_dims=(0, 0))(x), "structure"),
        (lambda x: vmap(lambda a, b: a)(x, 3), "type int"),
        (lambda x: vmap(lambda a: a, in_dims=(None,))(x), "None for every argument"),
        (lambda x: vmap(lambda a: a, in_dims="0")(x), "in_dims must be"),
        (lambda x: vmap(lambda: x)(), "at least one argument"),
        (lambda x: vmap(lambda a: 3)(x), "must return Tensors"),
        (lambda x: vmap(lambda a: a, out_dims=None)(x), "out_dims is None"),
        (lambda x: vmap(lambda a: (a, a), out_dims=(0, 0, 0))(x), "structure"),
        (lambda x: vmap(lambda a: a, chunk_size=0), "chunk_size"),
    ],
)
def test_bad_calls(call, message):
    with pytest.raises(ValueError, match=message):
        call(data(3, 4))


def test_other_errors():
    x = data(3, 4)
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(lambda a: a, randomness="sometimes")
    with pytest.raises(IndexError, match="out_dims 2 is out of range"):
        vmap(lambda a: a, out_dims=2)(x)
    with pytest.raises(RuntimeError, match="vmap: .*not batched"):
        w = data(4)
        vmap(lambda a: w.add_(a))(x)
    with pytest.raises(RuntimeError, match="backward"):
        w = data(4, requires_grad=True)
        vmap(lambda a: (w * a).sum().backward() or a)(x)
    with pytest.raises(RuntimeError, match="matmul"):
        vmap(lambda a: a @ cr.ones(3, 3, dtype=cr.float64))(x)
    with pytest.raises(RuntimeError, match="depends"):
        vmap(lambda a: a[a > 0])(x)


def test_an_error_leaves_nothing_behind():
    def fail(a):
        raise KeyError("mine")

    with pytest.raises(KeyError):
        vmap(vmap(fail))(data(2, 3))
    x = data(3, requires_grad=True)
    (x * 2).sum().backward()
    close(x.grad, cr.full((3,), 2.0, dtype=cr.float64))
    assert cr.rand(3).shape == (3,)


def test_a_loop_is_announced_once_for_each_function():
    from chainrule.backends import batching

    batching._warned.clear()
    x = data(3, 4, 4)
    with pytest.warns(UserWarning, match="matrix_exp"):
        got = vmap(cr.linalg.matrix_exp)(x * cr.tensor([0.1, 1.0, 20.0], dtype=cr.float64)[:, None, None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vmap(cr.linalg.matrix_exp)(x * cr.tensor([0.1, 1.0, 20.0], dtype=cr.float64)[:, None, None])
    assert got.shape == (3, 4, 4)


@pytest.mark.filterwarnings("ignore:vmap. there is no batching rule:UserWarning")
def test_rules_that_look_at_values_run_sample_by_sample_to_every_order():
    x = data(2, 3, 4, 4)
    x[0, 1] = 0  # the cofactors of singular matrices are found in another way
    x[1, 0, 3] = x[1, 0, 2]
    first = grad(cr.linalg.det)
    second = grad(lambda a: (first(a) ** 2).sum())
    for f in (first, second):
        close(vmap(vmap(f))(x), cr.stack([cr.stack([f(a) for a in row]) for row in x]))


def test_a_singular_matrix_is_named_by_its_sample():
    x = data(3, 4, 4)
    x[1] = 0
    with pytest.raises(RuntimeError, match="singular|pivot|zero"):
        vmap(cr.linalg.inv)(x)


def test_threads_have_levels_of_their_own():
    results = {}

    def work(n):
        x = data(n, 50, seed=n)
        for _ in range(20):
            results[n] = vmap(grad(lambda a: a.sin().sum()))(x) - x.cos()

    threads = [threading.Thread(target=work, args=(n,)) for n in (2, 3, 4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(float(one.abs().max()) < 1e-12 for one in results.values()) and len(results) == 3


# --- PyTorch ---


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_agrees(torch):
    from torch.func import grad as tgrad
    from torch.func import hessian as thessian
    from torch.func import vmap as tvmap

    x, w = data(5, 4), data(4, 3, seed=1)
    tx, tw = torch.tensor(x.numpy()), torch.tensor(w.numpy())
    pairs = [
        (lambda m, v, g, h: v(lambda a: a.softmax(-1).cumsum(0))(x if m is cr else tx)),
        (lambda m, v, g, h: v(g(lambda w, a: (a @ w).relu().sum()), in_dims=(None, 0))(*((w, x) if m is cr else (tw, tx)))),
        (lambda m, v, g, h: v(h(lambda a: (a**3).prod()), out_dims=2)(x if m is cr else tx)),
        (lambda m, v, g, h: v(v(lambda a, b: m.where(a > b, a, b * 2), in_dims=(0, None)), in_dims=(None, 0))(
            *((x[0], x[:, 1]) if m is cr else (tx[0], tx[:, 1])))),
    ]  # fmt: skip
    for f in pairs:
        ours, theirs = f(cr, vmap, grad, hessian), f(torch, tvmap, tgrad, thessian)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-9, atol=1e-12)
