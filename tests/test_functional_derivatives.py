"""Jacobians, Hessians and products; the saddle of (1 - w1 w2)^2; checkpointing, saved-value hooks, anomaly mode."""

import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd import functional
from chainrule.autograd.checkpoint import checkpoint, checkpoint_sequential
from chainrule.autograd.saved import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks


def vector(*values):
    return cr.tensor(list(values), dtype=cr.float64)


def test_the_jacobian_of_relu_is_a_diagonal_of_zeros_and_ones():
    found = functional.jacobian(cr.relu, vector(1.0, -2.0, 3.0))
    assert found.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_jacobians_of_several_inputs_and_outputs():
    x, y = vector(1.0, 2.0), vector(3.0)
    found = functional.jacobian(lambda a, b: (a * b, a.sum()), (x, y))
    assert found[0][0].tolist() == [[3, 0], [0, 3]] and found[0][1].tolist() == [[1], [2]]
    assert found[1][0].tolist() == [1, 1] and found[1][1].tolist() == [0]
    with pytest.raises(RuntimeError, match="does not depend on input 1"):
        functional.jacobian(lambda a, b: a.sum(), (x, y), strict=True)


def test_products_agree_with_the_matrices():
    x, v, u = vector(0.3, -0.8, 1.2), vector(1.0, -2.0, 0.5), vector(2.0, 1.0)

    def f(t):
        return cr.stack([(t * t).sum().sin(), t.prod() + t[0]])

    jacobian = functional.jacobian(f, x).numpy()
    np.testing.assert_allclose(functional.jvp(f, x, v)[1].numpy(), jacobian @ v.numpy(), rtol=1e-12)
    np.testing.assert_allclose(functional.vjp(f, x, u)[1].numpy(), u.numpy() @ jacobian, rtol=1e-12)

    def g(t):
        return f(t)[0] * f(t)[1]

    hessian = functional.hessian(g, x).numpy()
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-10)
    np.testing.assert_allclose(functional.hvp(g, x, v)[1].numpy(), hessian @ v.numpy(), rtol=1e-10)
    np.testing.assert_allclose(functional.vhp(g, x, v)[1].numpy(), v.numpy() @ hessian, rtol=1e-10)


def test_create_graph_differentiates_the_jacobian():
    x = vector(0.5, 2.0).requires_grad_()
    functional.jacobian(lambda t: t**3, x, create_graph=True).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * x.detach().numpy())


def test_bad_calls():
    with pytest.raises(TypeError, match="Tensors"):
        functional.jacobian(lambda t: t, 3.0)
    with pytest.raises(TypeError, match="must return Tensors"):
        functional.vjp(lambda t: 3.0, vector(1.0))
    with pytest.raises(RuntimeError, match="one element"):
        functional.hessian(lambda t: t, vector(1.0, 2.0))
    with pytest.raises(RuntimeError, match="shapes"):
        functional.jvp(lambda t: t, vector(1.0, 2.0), vector(1.0))


def _block(w):
    def block(x):
        h = (x @ w).tanh()
        return (h * (cr.rand(4, 8) < 0.5).double() @ w).exp()

    return block


def test_checkpointing_gives_the_same_bits_and_keeps_nothing():
    w = cr.randn(8, 8, dtype=cr.float64, requires_grad=True)

    def run(call):
        cr.manual_seed(1)
        x = cr.randn(4, 8, dtype=cr.float64, requires_grad=True)
        y = call(_block(w), x)
        after = cr.rand(1).item()
        (y * y).sum().backward()
        grads = (x.grad.numpy().tobytes(), w.grad.numpy().tobytes(), after)
        w.grad = None
        return grads

    assert run(lambda f, x: f(x)) == run(checkpoint)

    calls = []

    def counted(x):
        calls.append(1)
        return (x * x).sin()

    x = vector(1.0, 2.0).requires_grad_()
    y = checkpoint(counted, x)
    assert len(calls) == 1 and all(not isinstance(one, np.ndarray) for one in y.grad_fn.saved)
    y.sum().backward()
    assert len(calls) == 2
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.array([1, 2]) * np.cos([1, 4]))


def test_checkpointing_is_where_pytorch_has_it():
    code = "import chainrule as cr; print(cr.utils.checkpoint.checkpoint(cr.exp, cr.zeros(1)).item())"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "1.0", done.stderr


def test_checkpoint_sequential_and_second_derivatives():
    x = vector(0.4, -0.3).requires_grad_()
    chain = [cr.sin, cr.exp, cr.tanh, cr.square]

    def plain(t):
        for one in chain:
            t = one(t)
        return t

    np.testing.assert_array_equal(
        checkpoint_sequential(chain, 2, x).detach().numpy(), plain(x).detach().numpy()
    )
    assert cr.autograd.gradcheck(lambda t: checkpoint_sequential(chain, 2, t), x)
    assert cr.autograd.gradgradcheck(lambda t: checkpoint_sequential(chain, 2, t), x)


def test_a_function_that_computes_something_else_the_second_time_is_noticed():
    x = vector(1.0).requires_grad_()
    times = []

    def fickle(t):
        times.append(1)
        return (t * t).sin() if len(times) == 1 else t * t

    with pytest.raises(RuntimeError, match="checkpoint"):
        checkpoint(fickle, x).backward()


def test_saved_value_hooks_pack_and_unpack():
    x = vector(1.0, 2.0).requires_grad_()
    packed = []
    with saved_tensors_hooks(lambda t: packed.append(t) or len(packed) - 1, lambda i: packed[i] * 10):
        y = (x * x).sum()
    y.backward()
    assert len(packed) == 2 and x.grad.tolist() == [20.0, 40.0]
    with save_on_cpu():
        z = (x.exp() * x).sum()
    x.grad = None
    z.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1, 2]) * [2, 3])
    with (
        disable_saved_tensors_hooks("not here"),
        pytest.raises(RuntimeError, match="not here"),
        save_on_cpu(),
    ):
        pass


def test_values_saved_on_the_host_come_back_to_their_device(device):
    x = cr.ones(3, device=device, requires_grad=True)
    with save_on_cpu():
        y = (x * x).exp().sum()
    y.backward()
    assert x.grad.device.type == cr.device(device).type
    np.testing.assert_allclose(x.grad.cpu().numpy(), 2 * np.e, rtol=1e-6)


def test_anomaly_mode_names_the_step_and_the_users_line():
    x = cr.tensor([0.0, 1.0], requires_grad=True)
    with (
        pytest.raises(RuntimeError, match=r"(?s)SqrtBackward0.*test_functional_derivatives") as error,
        cr.autograd.detect_anomaly(),
    ):
        y = x.sqrt() * 0  # the culprit
        y.sum().backward()
    assert "the culprit" in str(error.value)
    with cr.autograd.set_detect_anomaly(True), pytest.raises(RuntimeError, match="SqrtBackward0"):
        (x.sqrt() * 0).sum().backward()
    y = (x.sqrt() * 0).sum()
    y.backward()
    assert np.isnan(x.grad.numpy()[0])


def test_transforms_nest_and_agree():
    func = cr.func
    x = vector(0.5, -1.0, 2.0)

    def f(t):
        return (t**3).sum() + t.prod()

    np.testing.assert_allclose(func.grad(f)(x).numpy(), functional.jacobian(f, x).numpy())
    np.testing.assert_allclose(func.hessian(f)(x).numpy(), functional.hessian(f, x).numpy(), atol=1e-12)
    third = func.grad(lambda a: func.grad(lambda b: func.grad(lambda c: (c**4).sum())(b).sum())(a).sum())(x)
    np.testing.assert_allclose(third.numpy(), 24 * x.numpy())
    gradient, (value, aux) = func.grad_and_value(lambda t: (f(t), t * 2), has_aux=True)(x)
    assert value.item() == f(x).item() and not gradient.requires_grad and aux.tolist() == [1.0, -2.0, 4.0]
    rows, columns = func.jacrev(lambda t: t.sin() * t.sum())(x), func.jacfwd(lambda t: t.sin() * t.sum())(x)
    np.testing.assert_allclose(rows.numpy(), columns.numpy(), rtol=1e-12)
    out, product = func.vjp(lambda d: {"y": d["a"] * d["b"]}, {"a": x, "b": x + 1})
    (found,) = product({"y": cr.ones(3, dtype=cr.float64)})
    np.testing.assert_allclose(found["a"].numpy(), (x + 1).numpy())
    out, linear = func.linearize(cr.sin, x)
    np.testing.assert_allclose(linear(x).numpy(), np.cos(x.numpy()) * x.numpy())
    with pytest.raises(RuntimeError, match="scalar"):
        func.grad(lambda t: t)(x)
    with pytest.raises(RuntimeError, match="tangents"):
        func.jvp(cr.sin, (x,), (x[:1],))


def test_a_transform_inside_an_ordinary_graph():
    w = vector(2.0).requires_grad_()
    g = cr.func.grad(lambda t: (t * t * w).sum())(vector(1.0, 2.0))
    g.sum().backward()
    assert g.tolist() == [4.0, 8.0] and w.grad.tolist() == [6.0]


def test_functional_call_swaps_parameters_and_puts_them_back():
    net = cr.nn.Linear(2, 1).double()
    new = {"weight": cr.ones(1, 2, dtype=cr.float64), "bias": cr.zeros(1, dtype=cr.float64)}
    before = net.weight
    assert cr.func.functional_call(net, new, (vector(1.0, 2.0),)).tolist() == [3.0]
    assert net.weight is before
    grads = cr.func.grad(lambda p, x: cr.func.functional_call(net, p, (x,)).sum())(new, vector(1.0, 2.0))
    assert grads["weight"].tolist() == [[1.0, 2.0]]
    with pytest.raises(RuntimeError, match="unknown"):
        cr.func.functional_call(net, {"nothing": before}, (vector(1.0, 2.0),))
    parameters, buffers = cr.func.stack_module_state([cr.nn.Linear(2, 1), cr.nn.Linear(2, 1)])
    assert parameters["weight"].shape == (2, 1, 2) and buffers == {}


def test_multi_grad_hooks_and_edges():
    graph = cr.autograd.graph
    x, y, z = (vector(v).requires_grad_() for v in (1.0, 2.0, 3.0))
    seen, first = [], []
    handle = graph.register_multi_grad_hook(
        [x, y, z], lambda grads: seen.append([None if g is None else g.item() for g in grads])
    )
    graph.register_multi_grad_hook([x, y], lambda g: first.append(g.item()), mode="any")
    (x * y).backward()
    assert seen == [[2.0, 1.0, None]] and len(first) == 1
    handle.remove()
    (x * y).backward()
    assert len(seen) == 1 and len(first) == 2
    assert graph.get_gradient_edge(x).node.variable is x
    h = x * 2
    assert graph.get_gradient_edge(h).node is h.grad_fn
    with graph.allow_mutation_on_saved_tensors():
        p = x * 1
        q = p * p
        p.zero_()
    q.backward()
    version = x._version
    graph.increment_version(x)
    assert x._version == version + 1
