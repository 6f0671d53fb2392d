"""Pictures of what repeats, of what is large, and of modules folded: `draw(fold=, depth=, max_nodes=)`."""

import random

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.autograd.drawing.order import in_turn
from chainrule.autograd.drawing.repeat import spanned, template


def leaf(value):
    return cr.tensor(value, requires_grad=True)


def structure(graph):
    """What stands in a picture, without how often and how large."""
    nodes = [(one.kind, one.operation, one.backward, len(one.calls)) for one in graph.nodes]
    edges = sorted((one.source, one.target, one.input, one.recurrent, one.backward) for one in graph.edges)
    return nodes, edges


class Unrolled:
    """Recurrent computations over a sequence, by name."""

    def __init__(self):
        self.lstm_cell, self.gru_cell, self.lstm = nn.LSTMCell(2, 3), nn.GRUCell(2, 3), nn.LSTM(2, 3)
        self.weight, self.input = cr.randn(3, 3, requires_grad=True), cr.randn(2, 3, requires_grad=True)

    def cell(self, sequence):
        h = c = cr.zeros(1, 3)
        for row in sequence:
            h, c = self.lstm_cell(row, (h, c))
        return h.sum()

    def loop(self, sequence):
        h = cr.zeros(1, 3)
        for row in sequence:
            h = (row @ self.input + h @ self.weight).tanh()
        return (h**2).mean()

    def outputs(self, sequence):
        h, outputs = cr.zeros(1, 3), []
        for row in sequence:
            h = self.gru_cell(row, h)
            outputs.append(h.exp())
        return cr.stack(outputs).sum()

    def running_loss(self, sequence):
        h, loss = cr.zeros(1, 3), leaf(0.0)
        for row in sequence:
            h = (h @ self.weight + row.sum()).sigmoid()
            loss = loss + (h**2).sum()
        return loss

    def module(self, sequence):
        return self.lstm(sequence)[0].sum()


@pytest.mark.parametrize("how", ["cell", "loop", "outputs", "running_loss", "module"])
@pytest.mark.parametrize("recorded", [True, False])
def test_any_number_of_steps_gives_one_small_picture(how, recorded):
    function = getattr(Unrolled(), how)

    def picture(steps):
        sequence = cr.randn(steps, 1, 2)
        return cr.draw(function, sequence) if recorded else cr.draw(function(sequence))

    short, long = picture(100), picture(1000)
    small, large = short.small_graph(), long.small_graph()
    assert structure(small) == structure(large)
    assert len(large.nodes) <= 18
    assert large.operations == long.graph.operations
    assert {one.times for one in large.nodes} >= {1, 1000} and {one.times for one in small.nodes} >= {1, 100}
    assert sum(one.recurrent for one in large.edges) >= 1
    assert large.saved_bytes == long.graph.saved_bytes


def test_the_next_step_is_where_the_value_goes_back_in():
    graph = cr.draw(Unrolled().loop, cr.randn(200, 1, 2)).small_graph()
    (back,) = [one for one in graph.edges if one.recurrent]
    assert graph.nodes[back.source].operation == "tanh"
    assert (graph.nodes[back.target].operation, back.input) == ("matmul", "a")
    assert back.times == 199 and back.backward
    loop = (("×0", 200),)
    assert {one.operation for one in graph.nodes if one.calls == loop and one.operation} == {
        "matmul",
        "add",
        "tanh",
    }
    # What the first step alone was given, and what is used in all of them, lies outside.
    assert {one.name: one.calls for one in graph.nodes if one.name in ("weight", "input", "h") and not one.operation} == {
        "weight": (), "input": (), "h": (),
    }  # fmt: skip
    weight = next(one for one in graph.nodes if one.name == "weight")
    assert weight.times == 1 and weight.gradients[0] is not None


def test_a_cell_of_several_outputs_has_several_ways_back():
    graph = cr.draw(Unrolled().cell, cr.randn(150, 1, 2)).small_graph()
    back = [
        (graph.nodes[one.source].operation, graph.nodes[one.target].operation, one.input)
        for one in graph.edges
        if one.recurrent
    ]
    assert sorted(back) == [("getitem", "lstm", "c0"), ("getitem", "lstm", "h0")]
    assert "next step" in cr.draw(Unrolled().cell, cr.randn(150, 1, 2), fold=True).render("svg").decode()


def test_two_loops_one_after_the_other_are_two():
    encoder, decoder = nn.GRUCell(2, 3), nn.GRUCell(2, 3)

    def translate(sequence):
        h = cr.zeros(1, 3)
        for row in sequence:
            h = encoder(row, h)
        for _ in range(60):
            h = decoder(cr.ones(1, 2), h)
        return h.sum()

    graph = cr.draw(translate, cr.randn(50, 1, 2)).small_graph()
    loops = {one.calls[0] for one in graph.nodes if one.operation == "gru"}
    assert {times for _, times in loops} == {50, 60} and len(loops) == 2
    between = [
        one
        for one in graph.edges
        if {graph.nodes[one.source].times, graph.nodes[one.target].times} == {50, 60}
    ]
    assert len(between) == 1 and not between[0].recurrent


def test_equal_layers_are_drawn_once():
    model = nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(40)])
    graph = cr.draw(model, cr.ones(2, 4)).small_graph()
    assert [one.name for one in graph.nodes if one.kind == "parameter"] == ["0…39.0.weight", "0…39.0.bias"]
    assert [(one.operation, one.times) for one in graph.nodes if one.operation] == [
        ("linear", 40),
        ("tanh", 40),
    ]
    assert "40" in graph.notes[-1] and "fold=False" in graph.notes[-1]
    assert next(one.calls for one in graph.nodes if one.operation == "tanh") == (
        ("×0", 40),
        ("0…39", 0),
        ("0…39.1", 0),
    )


def test_layers_of_different_widths_are_not_equal():
    model = nn.Sequential(*[nn.Linear(n, n + 1) for n in range(2, 60)])
    graph = cr.draw(model, cr.ones(1, 2), fold=True).small_graph()
    assert not any(one.times > 1 for one in graph.nodes)


def test_small_graphs_are_left_alone_and_fold_asks_for_more_or_less():
    function, sequence = Unrolled().loop, cr.randn(5, 1, 2)
    picture = cr.draw(function, sequence)
    assert picture.small_graph() is picture.graph
    assert len(cr.draw(function, sequence, fold=True).small_graph().nodes) == 10
    sequence = cr.randn(60, 1, 2)
    assert len(cr.draw(function, sequence, fold=False).small_graph().nodes) > 300
    assert len(cr.draw(function, sequence).graph.nodes) > 300  # the data is whole in any case


def test_statistics_of_a_step_are_of_all_steps():
    x = leaf([1.0, 1.0, 1.0, 1.0])
    y = x
    for _ in range(120):
        y = y * 2.0
    (box,) = [one for one in cr.draw(y).small_graph().nodes if one.operation]
    assert box.count == 120 and box.gradient_stats[0]["size"] == 480
    assert box.gradient_stats[0]["max"] == 2.0**119 and box.gradient_stats[0]["min"] == 1.0


def test_depth_closes_modules():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
            self.head = nn.Linear(2, 1)

        def forward(self, x):
            return self.head(self.inner(self.inner(x)) * 2).sum()

    def names(depth):
        graph = cr.draw(Net(), cr.ones(1, 2), depth=depth).small_graph()
        assert [one.id for one in graph.nodes] == list(range(len(graph.nodes)))
        return [one.name if one.kind == "module" else one.operation for one in graph.nodes if one.operation]

    assert names(1) == ["inner", "inner, call 2", "multiply", "head", "sum"]
    assert names(2) == ["inner.0", "inner.1", "inner.0, call 2", "inner.1, call 2", "multiply", "head", "sum"]
    assert names(5) == names(2)
    assert names(None) == ["linear", "tanh", "linear", "tanh", "multiply", "linear", "sum"]


def test_all_calls_of_a_module_are_one_box_where_room_is_short():
    layer = nn.Linear(2, 2)

    def f(x):
        for i in range(30):
            x = layer(x) if i % 2 else layer(x).exp().log().sin() * (i + 1.5)
        return x.sum()

    graph = cr.draw(f, cr.ones(1, 2), max_nodes=70, fold=False).small_graph()
    (box,) = [one for one in graph.nodes if one.kind == "module"]
    assert box.count == 30 and any(
        one.recurrent and one.source == one.target == box.id for one in graph.edges
    )
    order = [(one.source, one.target) for one in graph.edges if not one.recurrent]
    assert all(source < target for source, target in order)


def wild(count):
    """A graph without any pattern."""
    generator = random.Random(0)
    values = [leaf(0.5), leaf(0.25)]
    operations = [cr.mul, cr.add, cr.sub, lambda a, b: a.sin(), lambda a, b: a.tanh()]
    for _ in range(count):
        values.append(generator.choice(operations)(values[-1], generator.choice(values[-30:])))
    return values[-1]


def test_what_has_neither_modules_nor_a_pattern_is_drawn_by_kind(tmp_path):
    picture = cr.draw(wild(3000))
    graph = picture.small_graph()
    assert {one.operation for one in graph.nodes if one.kind == "summary"} == {
        "multiply",
        "add",
        "sin",
        "tanh",
        "subtract",
    }
    assert graph.operations == 3000 and "by kind" in graph.notes[-1]
    assert picture.dot.count("SinBackward0") == sum(one.operation == "sin" for one in picture.graph.nodes)
    picture.save(tmp_path / "graph.svg")


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_any_number_of_operations_is_summarised(count):
    graph = cr.draw(wild(count)).small_graph()
    assert len(graph.nodes) < 20 and graph.operations == count


def test_twenty_thousand_operations_in_a_row():
    y = leaf(1.0)
    for _ in range(10_000):
        y = (y + 1.0).sin()
    picture = cr.draw(y)
    assert picture.graph.operations == 20_000
    graph = picture.small_graph()
    assert len(graph.nodes) == 3 and [one.times for one in graph.nodes if one.operation] == [10_000, 10_000]


def test_order_of_what_has_circles():
    links = [(0, 1, "a"), (1, 2, "b"), (2, 0, "c"), (2, 3, "d")]
    cut = set()
    assert in_turn([0, 1, 2, 3], links, cut) == [0, 1, 2, 3] and cut == {"c"}
    assert in_turn([3, 2, 1, 0], [(0, 1, "a")], set()) == [3, 2, 0, 1]
    assert in_turn([0, 1], [(0, 1, "a"), (1, 0, "b")], {"a"}) == [1, 0]


def test_names_of_several():
    assert template("layers.12.weight") == "layers.*.weight"
    assert spanned("layers.0.weight", "layers.11.weight") == "layers.0…11.weight"
    assert (
        spanned("w", "w") == "w"
        and spanned("w", "v") is None
        and spanned(None, "w") is None
        and spanned(None, None) is None
    )
