"""What a picture can say: statistics, local derivatives, colours, NaN, views, the graph of the gradient."""

import math
import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.autograd.drawing.color import BAD, GOOD, SCALES, WORST, Colors
from chainrule.autograd.drawing.stats import pooled, statistics


def leaf(value):
    return cr.tensor(value, requires_grad=True)


def named(picture, name):
    (found,) = [one for one in picture.graph.nodes if name in (one.name, one.operation)]
    return found


def circuit(x, y, z):
    q = x + y
    return q * z


# --- statistics ---


@pytest.mark.parametrize(
    "array",
    [np.array([1.0, -2.0, 0.0, 4.0]), np.float32(3.0), np.array([[0.5]]), np.array([np.nan, 1.0, np.inf, 0.0], "float32"),
     np.array([3 + 4j, 0]), np.array(np.nan), np.array([np.inf])],
)  # fmt: skip
def test_statistics(array):
    found = statistics(array)
    values = np.abs(array) if np.iscomplexobj(array) else np.asarray(array, "float64")
    values = values.reshape(-1)
    finite = values[np.isfinite(values)]
    expected = [finite.mean(), finite.std(), finite.min(), finite.max()] if finite.size else [0, 0, 0, 0]
    assert [found[key] for key in ("mean", "std", "min", "max")] == pytest.approx(expected)
    assert found["norm"] == pytest.approx(np.linalg.norm(finite))
    assert found["size"] == values.size
    for key, where in (("zeros", values == 0), ("nan", np.isnan(values)), ("inf", np.isinf(values))):
        assert found[key] == where.mean()


def test_what_has_no_statistics():
    assert (
        statistics(np.zeros(3, int)) is None
        and statistics(np.zeros((0, 2))) is None
        and statistics(None) is None
    )


def test_pooled_statistics_are_of_all_together():
    one, two = np.array([1.0, 2.0, np.nan]), np.array([0.0, 5.0])
    together, several = (
        statistics(np.concatenate([one[:2], two])),
        pooled([statistics(one[:2]), None, statistics(two)]),
    )
    assert several == pytest.approx(together)
    assert pooled([None]) is None
    assert pooled([statistics(one), statistics(two)])["nan"] == pytest.approx(0.2)


def test_statistics_stand_where_values_are_too_many():
    x = cr.arange(100.0).requires_grad_()
    picture = cr.draw((x * 2).sum())
    product = named(picture, "multiply")
    assert product.values == [None] and product.stats[0]["mean"] == 99.0
    assert product.gradient_stats[0]["norm"] == 10.0
    assert "99 ± 58 · norm 1.15e+03" in picture.dot and "± " not in cr.draw((x * 2).sum(), stats=False).dot
    zeros = cr.draw((x * 0).sum())
    assert "100 % zeros" in zeros.dot
    assert cr.draw((x * 2).sum(), stats=False).graph.nodes[0].stats == [None]


# --- local derivatives ---


def test_multipliers():
    picture = cr.draw(circuit, leaf(-2.0), leaf(5.0), leaf(-4.0), factors=True)
    assert [edge.factor for edge in picture.graph.edges] == [1.0, 1.0, -4.0, 3.0]
    labels = re.findall(r'^  n\d+:b.*label=" (.*) "\]', picture.dot, re.MULTILINE)
    assert labels == ["-4 · 1 = -4", "-4 · 1 = -4", "1 · (-4) = -4", "1 · 3 = 3"]
    assert "·" not in "".join(
        re.findall(r"^  n\d+:b.*", cr.draw(circuit, *map(leaf, (1.0, 2.0, 3.0))).dot, re.MULTILINE)
    )


def test_incoming_times_local_is_outgoing():
    def f(x, w):
        return ((x * w).tanh() + x.exp()).mean()

    graph = cr.draw(f, leaf([0.5, -1.0, 2.0]), leaf([1.0, 0.3, 0.2])).graph
    checked = 0
    for edge in graph.edges:
        incoming = np.array(graph.nodes[edge.target].gradients[0])
        np.testing.assert_allclose(incoming * np.array(edge.factor), np.array(edge.gradient), rtol=1e-6)
        checked += 1
    assert checked == 7


def test_where_the_local_derivative_is_no_number_there_is_none():
    x, w = leaf([[1.0, 2.0]]), leaf([[1.0, 0.0], [0.0, 1.0]])
    picture = cr.draw((x @ w).sum(), factors=True)
    assert [edge.factor for edge in picture.graph.edges] == [None, None, [[1.0, 1.0]]]
    assert "· bᵀ" in picture.dot and "aᵀ ·" in picture.dot
    broadcast = cr.draw((leaf([1.0, 2.0]) * leaf(3.0)).sum()).graph
    assert [edge.factor for edge in broadcast.edges][:2] == [[3.0, 3.0], None]


def test_the_users_functions_run_once():
    calls = []

    class Square(cr.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            calls.append(1)
            return 2 * g * ctx.saved_tensors[0]

    assert cr.draw(Square.apply, leaf(3.0), factors=True).graph.nodes[0].gradients == [6.0]
    assert len(calls) == 1


# --- time, order, sums ---


def test_time_of_each_operation():
    picture = cr.draw(circuit, leaf(1.0), leaf(2.0), leaf(3.0), time=True)
    operations = [one for one in picture.graph.nodes if one.operation]
    assert all(one.time > 0 and one.backward_time > 0 for one in operations)
    assert re.search(r"\d (µs|ms)<", picture.dot)
    assert not re.search(r"\d (µs|ms)<", cr.draw(circuit, leaf(1.0), leaf(2.0), leaf(3.0)).dot)


def test_steps_of_the_backward_pass():
    graph = cr.draw(circuit, leaf(1.0), leaf(2.0), leaf(3.0)).graph
    assert sorted(one.step for one in graph.nodes) == [0, 1, 2, 3, 4]
    for edge in graph.edges:
        assert graph.nodes[edge.target].step < graph.nodes[edge.source].step


def test_sums_are_marked():
    x = leaf(2.0)
    y = x.exp()
    dot = cr.draw(y * y + x).dot
    assert "AccumulateGrad: a sum of 2" in dot and dot.count("a sum of 2") == 2


def test_pairs_beside_and_below():
    arguments = [leaf(1.0), leaf(2.0), leaf(3.0)]
    assert cr.draw(circuit, *arguments, pair="beside").dot.count("</TD><TD>") > 0
    below = cr.draw(circuit, *arguments, pair="below", direction="TB", legend=False).dot
    assert "</TABLE></TD></TR><TR><TD><TABLE" in below and "</TABLE></TD><TD><TABLE" not in below


# --- colours ---


@pytest.mark.parametrize("name", list(SCALES))
def test_every_scale_draws(name):
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    picture = cr.draw(model, cr.randn(4, 8), color=name)
    assert picture.render("svg").startswith(b"<?xml")
    scale = SCALES[name]
    assert (scale.meaning or "finite") in picture.dot
    colors = Colors(picture.graph, name)
    found = {colors.forward(one) for one in picture.graph.nodes} | {
        colors.backward(one) for one in picture.graph.nodes
    }
    assert found - {None} <= {color for color, _ in colors.legend()} and found != {None}


def test_gradients_from_vanishing_to_exploding():
    x = leaf(1.0)
    picture = cr.draw(((x * 1e-3) * 1e-3) * 1e-3, color="gradient")
    colors = Colors(picture.graph, "gradient")
    fills = [colors.backward(one) for one in picture.graph.nodes if one.backward]
    scale = SCALES["gradient"].colors
    assert [scale.index(fill) for fill in fills] == [0, 2, 4, 6]
    assert [text for _, text in colors.legend()] == [
        "1e-09", "3.2e-08", "1e-06", "3.2e-05", "0.001", "0.032", "1  norm of the gradient",
    ]  # fmt: skip
    assert all(colors.forward(one) is None for one in picture.graph.nodes)


def test_scales_of_one_number_and_of_none():
    x = leaf(2.0)
    assert Colors(cr.draw(x + 1).graph, "gradient").legend() == [
        (SCALES["gradient"].colors[3], "1 norm of the gradient")
    ]
    assert Colors(cr.draw(x + 1).graph, "saved").legend() == [
        (SCALES["saved"].colors[0], "kept for the backward pass: nothing known")
    ]
    zero = cr.draw(x * 0.0, color="gradient")
    assert Colors(zero.graph, "gradient").backward(named(zero, "x")) == SCALES["gradient"].colors[0]


def test_bad_choices():
    with pytest.raises(ValueError, match='draw: color is "gradient", "activation", .* or None, got \'red\''):
        cr.draw(leaf(1.0) * 2, color="red")
    with pytest.raises(ValueError, match='draw: pair is "below", "beside" or None'):
        cr.draw(leaf(1.0) * 2, pair="above")


# --- NaN and infinity ---


def test_where_a_nan_is_born():
    def loss(x, w):
        p = (x * w).relu()
        return -(p * p.log()).mean()

    picture = cr.draw(loss, leaf([1.0, 2.0]), leaf([-1.0, 0.5]), color="nan")
    graph = picture.graph
    assert graph.nodes[graph.first_bad].operation == "log"
    assert "is the value of log (test_drawing_content.py:" in graph.notes[-1]
    assert [one.operation for one in graph.nodes if one.bad == "value"] == [
        "log",
        "multiply",
        "mean",
        "negative",
    ]
    colors = Colors(graph, "nan")
    assert colors.forward(graph.nodes[graph.first_bad]) == WORST
    assert colors.forward(named(picture, "mean")) == BAD and colors.forward(named(picture, "relu")) == GOOD


def test_where_a_gradient_goes_bad():
    picture = cr.draw(lambda x: (x * 2).sqrt().sum(), leaf([0.0, 1.0]), color="nan")
    graph = picture.graph
    assert graph.nodes[graph.first_bad].operation == "sqrt" and "is made by SqrtBackward0" in graph.notes[-1]
    assert [one.operation or one.name for one in graph.nodes if one.bad == "gradient"] == ["x", "multiply"]
    colors = Colors(graph, "nan")
    assert colors.backward(named(picture, "sqrt")) == WORST and colors.forward(named(picture, "sqrt")) == GOOD


def test_an_input_may_be_at_fault():
    graph = cr.draw(lambda x, w: (x * w).sum(), cr.tensor([1.0, math.nan]), leaf([1.0, 2.0])).graph
    assert graph.nodes[graph.first_bad].name == "x"


def test_an_infinity_that_goes_nowhere_is_no_fault():
    mask = cr.tensor([[0.0, -math.inf]])
    graph = cr.draw(lambda x: (x + mask).softmax(1).sum(), leaf([[1.0, 2.0]])).graph
    assert graph.first_bad is None and not graph.notes
    assert named(cr.draw(lambda x: (x + mask).softmax(1).sum(), leaf([[1.0, 2.0]])), "add").bad == "value"


# --- views and in-place writes ---


def test_views_and_writes_are_shown():
    def write(x):
        y = x * 2
        y.add_(1)
        y[0] = x[1] ** 2
        z = y.reshape(2, 2)
        return z.exp_().sum()

    picture = cr.draw(write, leaf([1.0, 2.0, 3.0, 4.0]))
    shown = [(one.operation, one.alias) for one in picture.graph.nodes if one.operation]
    assert ("add_", "in-place") in shown and ("exp_", "in-place") in shown
    assert (
        ("write_region", "in-place") in shown and ("reshape", "view") in shown and ("multiply", None) in shown
    )
    assert shown.count(("getitem", "view")) == 2
    assert "written in place" in picture.dot and "a view of its input" in picture.dot


def test_a_reshape_that_copies_is_no_view():
    def f(x):
        return (x * 1).t().reshape(6).sum()

    graph = cr.draw(f, leaf([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).graph
    assert [one.alias for one in graph.nodes if one.operation == "reshape"] == [None]


# --- the graph of the gradient ---


def test_the_gradient_of_a_cube_has_a_graph():
    picture = cr.draw(lambda x: x**3, leaf(2.0), create_graph=True)
    graph = picture.graph
    x = named(picture, "x")
    assert x.gradients == [12.0] and x.second == [12.0]
    layers = [(one.layer, one.of) for one in graph.nodes if one.operation]
    power = next(one for one in graph.nodes if one.operation)
    assert layers[0] == (0, None) and set(layers[1:]) == {(1, power.id)}
    (target,) = [one for one in graph.nodes if one.target and one.layer]
    assert target.name == "∂f/∂x" and target.values == [12.0]
    assert "the graph of the gradient" in picture.dot and "in PowBackward0" in picture.dot
    assert "∂(∂f/∂x)/∂x = 12" in picture.dot


def test_second_derivatives_are_the_engines():
    def f(x, y):
        return (x * x * y).sin()

    x, y = leaf(0.5), leaf(1.5)
    graph = cr.draw(f, x, y, create_graph=True).graph
    first = cr.autograd.grad(f(x, y), [x, y], create_graph=True)
    expected = cr.autograd.grad(sum(first), [x, y])
    second = {one.name: one.second[0] for one in graph.nodes if one.name in ("x", "y")}
    assert second == pytest.approx({"x": expected[0].item(), "y": expected[1].item()})
    assert {one.name: one.gradients[0] for one in graph.nodes if one.name in ("x", "y")} == pytest.approx(
        {"x": first[0].item(), "y": first[1].item()}
    )


def test_the_graph_of_the_gradient_of_a_tensor():
    x = leaf([1.0, 2.0])
    y = (x**3).sum()
    calls = []
    x.register_hook(calls.append)
    graph = cr.draw(y, create_graph=True).graph
    assert [one.second for one in graph.nodes if one.name == "x"] == [[[6.0, 12.0]]]
    assert not calls and x.grad is None and y.grad_fn is not None
    y.backward()
    assert x.grad.tolist() == [3.0, 12.0]


def test_a_gradient_taken_by_the_user_is_a_layer_too():
    def penalty(x):
        y = (x**2).sum()
        (g,) = cr.autograd.grad(y, x, create_graph=True)
        return y + (g**2).sum()

    graph = cr.draw(penalty, leaf([1.0, 2.0, 3.0])).graph
    layers = [one.layer for one in graph.nodes if one.operation]
    assert layers.count(1) == 2 and layers[-1] == 0
    owners = {graph.nodes[one.of].operation for one in graph.nodes if one.layer and one.operation}
    assert owners == {"square"}
    assert graph.nodes[0].gradients[0] == [10.0, 20.0, 30.0]


def test_where_there_is_no_graph_of_the_gradient():
    x = leaf(2.0)
    with pytest.raises(RuntimeError, match="the gradients of the target are constants"):
        cr.draw(lambda x: x * 2, x, create_graph=True)
    y = x**2 * 3
    y.backward()
    with pytest.raises(RuntimeError, match=r"needs what \w+ has saved, and backward\(\) has freed it"):
        cr.draw(y, create_graph=True)
