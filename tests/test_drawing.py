"""`cr.draw`: what the picture says, what it leaves alone, and how large it may get."""

import functools
import gc
import itertools
import re
import weakref
import xml.etree.ElementTree as ElementTree

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.autograd.drawing import render, text
from chainrule.autograd.modes import local
from chainrule.backends.random import default_generator

needs_renderer = pytest.mark.skipif(render.renderer() is None, reason="no Graphviz: pip install pygraphviz")


def leaf(value, device="cpu"):
    return cr.tensor(value, requires_grad=True, device=device)


def lines(picture):
    """What a reader sees of each box: the lines of its forward cell and of its backward cell, in the order of the nodes."""
    found = []
    for label in re.findall(r"^ *n\d+ \[label=<(.*)>(?: tooltip=.*)?\]$", picture.dot, re.MULTILINE):
        cells = re.split(r'<TABLE PORT="[fb]"', label)[1:]
        parts = [cell.partition("<TD>")[2].partition("</TD>")[0].split("<BR/>") for cell in cells]
        found.append([[re.sub(r"<[^>]*>", "", line).strip() for line in part] for part in parts])
    return found


def node(picture, name):
    """The node called `name`, or of that operation."""
    (found,) = [one for one in picture.graph.nodes if name in (one.name, one.operation)]
    return found


def circuit():
    x, y, z = leaf(-2.0), leaf(5.0), leaf(-4.0)
    q = x + y
    f = q * z
    return x, y, z, q, f


def check_circuit(picture):
    """Everything that one writes into the drawing of f = (x + y) z by hand."""
    boxes = {forward[0].partition(" ")[0]: (forward, backward) for forward, backward in lines(picture)}
    assert boxes["x"][0][0] == "x = -2" and boxes["x"][1][0] == "∂f/∂x = -4"
    assert boxes["y"][0][0] == "y = 5" and boxes["y"][1][0] == "∂f/∂y = -4"
    assert boxes["z"][0][0] == "z = -4" and boxes["z"][1][0] == "∂f/∂z = 3"
    assert boxes["add"][0][1] == "q = 3" and boxes["add"][1][:2] == ["AddBackward0", "∂f/∂q = -4"]
    assert boxes["multiply"][0][1] == "f = -12" and boxes["multiply"][1][:2] == ["MulBackward0", "∂f/∂f = 1"]


def test_circuit_before_backward():
    x, y, z, q, f = circuit()
    check_circuit(cr.draw(f))


def test_circuit_after_backward():
    x, y, z, q, f = circuit()
    f.backward()
    check_circuit(cr.draw(f))


def test_circuit_after_backward_without_variables():
    """What the graph has let go is computed again from the leaves."""
    x, y, z = leaf(-2.0), leaf(5.0), leaf(-4.0)
    f = (x + y) * z
    f.backward()
    graph = cr.draw(f).graph
    assert [one.values for one in graph.nodes if one.operation == "add"] == [[3.0]]
    assert [one.gradients for one in graph.nodes if one.operation == "add"] == [[-4.0]]


def test_circuit_of_a_function():
    def f(x, y, z):
        q = x + y
        return q * z

    picture = cr.draw(f, leaf(-2.0), leaf(5.0), leaf(-4.0))
    check_circuit(picture)
    assert [one.code for one in picture.graph.nodes if one.operation] == ["x + y", "q * z"]
    assert all(one.source.startswith("test_drawing.py:") for one in picture.graph.nodes if one.operation)


def test_inputs_of_a_function_need_not_ask_for_gradients():
    x, y, z = cr.tensor(-2.0), cr.tensor(5.0), cr.tensor(-4.0)

    def f(x, y, z):
        q = x + y
        return q * z

    check_circuit(cr.draw(f, x, y, z))
    assert not any(one.requires_grad for one in (x, y, z))


def test_numbers_stand_on_the_wires():
    x, y, z, q, f = circuit()
    dot = cr.draw(f).dot
    forward = re.findall(r'^  n\d+:f.*label=" (.*) "[ \]]', dot, re.MULTILINE)
    backward = re.findall(r'^  n\d+:b.*label=" (.*) "\]', dot, re.MULTILINE)
    assert forward == ["-2", "5", "3", "-4"]
    assert backward == ["-4", "-4", "-4", "3"]


def test_shapes_stand_on_the_wires():
    x, W = leaf([[1.0] * 4] * 8), leaf([[1.0] * 3] * 4)
    picture = cr.draw((x @ W).tanh())
    forward = re.findall(r'^  n\d+:f.*label=" (.*) "[ \]]', picture.dot, re.MULTILINE)
    backward = re.findall(r'^  n\d+:b.*label=" (.*) "\]', picture.dot, re.MULTILINE)
    assert forward == backward == ["(8, 4)", "(4, 3)", "(8, 3)"]
    assert ["matmul", "(8, 3) float32", "4 ± 0 · norm 19.6"] in [one[0] for one in lines(picture)]


def test_gradients_of_several_uses_add():
    s = leaf(2.0)
    graph = cr.draw(s * s + 3 * s).graph
    (source,) = [one for one in graph.nodes if one.name == "s"]
    along = [edge.gradient for edge in graph.edges if edge.source == source.id]
    assert sorted(along) == [2.0, 2.0, 3.0] and source.gradients == [7.0]


def test_gradients_of_a_target_with_several_elements_are_of_its_sum():
    x = leaf([1.0, 2.0])
    y = x * x
    picture = cr.draw(y)
    assert picture.graph.subject == "Σy"
    assert lines(picture)[0][1][0] == "∂Σy/∂x = [2, 4]"


def test_matrices_are_written_row_by_row():
    W = leaf([[0.1, 0.5], [-0.3, 0.8]])
    assert lines(cr.draw(W.sum()))[0][0][:3] == ["W =", "[0.1, 0.5]", "[-0.3, 0.8]"]


def test_values_above_the_limit_are_left_out():
    x = leaf([0.25] * 10)
    assert cr.draw(x.sum()).graph.nodes[0].values == [None]
    assert cr.draw(x.sum(), values=10).graph.nodes[0].values == [[0.25] * 10]
    assert cr.draw(x.sum(), values=False).graph.nodes[1].values == [None]


def test_kinds_are_told_apart():
    model = nn.Linear(3, 2)
    model.register_buffer("scale", cr.tensor([1.0, 2.0]))
    shift = leaf([0.5, 0.5])

    def f(x):
        h = model(x) * model.scale + shift
        return (2.0 * h).sum()

    graph = cr.draw(f, cr.ones(4, 3)).graph
    kinds = {one.name: one.kind for one in graph.nodes if not one.operation}
    assert kinds == {
        "x": "input",
        "weight": "parameter",
        "bias": "parameter",
        "scale": "buffer",
        "shift": "leaf",
        None: "constant",
    }
    assert [one.values for one in graph.nodes if one.kind == "constant"] == [[2.0]]
    # A gradient goes where one is wanted and nowhere else.
    for edge in graph.edges:
        assert edge.backward == (graph.nodes[edge.source].backward is not None)


def test_constants_that_no_rule_keeps_are_seen_too():
    graph = cr.draw(lambda x: cr.cat([x + 1, cr.zeros(1)]).sum(), leaf([2.0])).graph
    assert [one.values for one in graph.nodes if one.kind == "constant"] == [[1], [[0.0]]]


def test_a_view_of_an_input_is_called_after_it():
    w = leaf([1.0, 1.0])
    graph = cr.draw(lambda x: x[1] * w, cr.tensor([[1.0, 2.0], [3.0, 4.0]])).graph
    assert [(one.name, one.kind, one.values) for one in graph.nodes if not one.backward] == [
        ("x (view)", "input", [[3.0, 4.0]])
    ]


@pytest.mark.parametrize("how", ["dict", "pairs", "module"])
def test_params_name_parameters(how):
    model = nn.Linear(3, 2)
    given = {"dict": dict(model.named_parameters()), "pairs": model.named_parameters(), "module": model}[how]

    def compute(_layer):
        return _layer(cr.ones(1, 3)).sum()

    loss = compute(model)
    names = {one.name for one in cr.draw(loss, params=given).graph.nodes if one.kind == "parameter"}
    assert names == {"weight", "bias"}


def test_params_must_be_tensors():
    with pytest.raises(TypeError, match="params maps names to Tensors"):
        cr.draw(leaf(1.0) * 2, params={"w": 3})


def test_parameters_are_found_in_the_callers_variables():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    loss = net(cr.ones(5, 3)).sum()
    graph = cr.draw(loss).graph
    assert {one.name for one in graph.nodes if one.kind == "parameter"} == {
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    }


def test_two_modules_of_the_caller_are_told_apart():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    loss = two(one(cr.ones(1, 2))).sum()
    names = {node.name for node in cr.draw(loss).graph.nodes if node.kind == "parameter"}
    assert names == {"one.weight", "one.bias", "two.weight", "two.bias"}


class Net(nn.Module):
    """Two layers, one of them used twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.block = nn.Sequential(nn.Linear(3, 2), nn.Tanh())

    def forward(self, x):
        h = self.first(x)
        return self.block(self.first(h))


def test_a_module_is_drawn_with_its_modules():
    picture = cr.draw(Net(), cr.ones(4, 3))
    graph = picture.graph
    assert graph.modules == {
        "first": "Linear(in_features=3, out_features=3, bias=True)",
        "block": "Sequential",
        "block.0": "Linear(in_features=3, out_features=2, bias=True)",
        "block.1": "Tanh",
    }
    assert node(picture, "tanh").module == "block.1"
    weight = node(picture, "first.weight")  # drawn once, used in two calls, so outside of both
    assert weight.module == "" and node(picture, "block.0.weight").module == "block.0"
    assert {one.calls for one in graph.nodes if one.module == "first"} == {(("first", 0),), (("first", 1),)}
    assert node(picture, "x").kind == "input"
    assert (
        'subgraph "cluster_block.1 0"' in picture.dot and "1: Tanh" in picture.dot and "call 2" in picture.dot
    )
    assert picture.dot.count("subgraph") == 5
    assert cr.draw(Net(), cr.ones(4, 3), modules=False).dot.count("subgraph") == 0


def test_a_loss_function_of_the_users_is_a_module_too():
    model, loss_fn = nn.Linear(3, 2), nn.MSELoss()
    graph = cr.draw(lambda x, y: loss_fn(model(x), y), cr.ones(4, 3), cr.zeros(4, 2)).graph
    assert {one.module for one in graph.nodes if one.operation} == {"model", "loss_fn"}


def test_saved_bytes():
    x, y = leaf([1.0, 2.0, 3.0]), leaf([1.0, 2.0, 3.0])
    picture = cr.draw((x * y).exp().sum())
    product, exponential, total = [one for one in picture.graph.nodes if one.operation]
    assert product.saved == [("a", (3,), 12, None), ("b", (3,), 12, None)]  # x and y live anyway
    ((name, shape, size, memory),) = exponential.saved
    assert (name, shape, size) == ("y", (3,), 12) and memory is not None
    assert total.saved == []
    assert (product.saved_bytes, exponential.saved_bytes, picture.graph.saved_bytes) == (24, 12, 12)
    assert "keeps a, b · 24 B" in picture.dot and "12 B kept for the backward pass" in picture.dot
    assert "keeps" not in cr.draw((x * y).exp().sum(), saved=False).dot


def test_list_and_dict_targets():
    x = leaf(2.0)
    total, difference = x + 1, x * x
    by_name = cr.draw({"total": total, "product": difference})
    assert {one.name for one in by_name.graph.nodes if one.target} == {"total", "difference"}
    assert by_name.graph.subject == "Σ"
    assert node(by_name, "x").gradients == [5.0]
    assert len(cr.draw([total, difference]).graph.nodes) == len(by_name.graph.nodes)
    unnamed = cr.draw([x + 1, x * x])
    assert [one.name for one in unnamed.graph.nodes if one.target] == ["0", "1"]
    assert [one.name for one in cr.draw({"a": x + 1}).graph.nodes if one.target] == ["a"]


def test_a_leaf_alone():
    x = leaf(2.0)
    assert lines(cr.draw(x)) == [[["x = 2", "scalar float32"], ["∂x/∂x = 1", "AccumulateGrad"]]]


def test_a_tensor_without_graph_is_refused():
    with pytest.raises(RuntimeError, match=r"draw: the target has no graph.*requires_grad=True"):
        cr.draw(cr.tensor(1.0))
    x = leaf(1.0)
    with cr.no_grad(), pytest.raises(RuntimeError, match="has no graph"):
        cr.draw(x * 2)
    with pytest.raises(RuntimeError, match="what the function returned has no graph"):
        cr.draw(lambda: cr.tensor(1.0) * 2)


def test_a_tensor_without_graph_beside_others_is_a_constant():
    x = leaf(1.0)
    graph = cr.draw([x * 2, cr.tensor(7.0)]).graph
    assert [(one.kind, one.values) for one in graph.nodes if one.target] == [
        ("operation", [2.0]),
        ("constant", [7.0]),
    ]


@pytest.mark.parametrize("target", [3.0, [1, 2], None, {"a": "b"}])
def test_other_targets_are_refused(target):
    with pytest.raises(TypeError, match="expected a Tensor, or a list or dict of Tensors"):
        cr.draw(target)


def test_bad_arguments():
    x = leaf(1.0)
    with pytest.raises(TypeError, match="inputs are for a module or a function"):
        cr.draw(x * 2, x)
    with pytest.raises(ValueError, match='direction is "LR", "TB" or None'):
        cr.draw(x * 2, direction="up")
    with pytest.raises(ValueError, match=r"must end in \.dot, \.svg, \.png, \.pdf"):
        cr.draw(x * 2).save("graph.jpeg")


class HalfAndSquare(cr.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x / 2, x**2

    @staticmethod
    def backward(ctx, g_half, g_square):
        (x,) = ctx.saved_tensors
        return g_half / 2 + 2 * x * g_square


def test_several_outputs():
    def f(x):
        half, square = HalfAndSquare.apply(x)
        return half * 3 + square

    x = leaf(4.0)
    picture = cr.draw(f, x)
    box = node(picture, "HalfAndSquare")
    assert box.shapes == [(), ()] and box.gradients == [3.0, 1.0]
    assert sorted(edge.output for edge in picture.graph.edges if edge.source == box.id) == [0, 1]
    assert node(picture, "x").gradients == [9.5]


def test_views_and_in_place_writes():
    x = leaf([1.0, 2.0, 3.0])
    y = x * 1
    y[0] = 5.0
    y[1:].mul_(2)
    graph = cr.draw(y.sum()).graph
    assert graph.nodes[0].name == "x" and graph.nodes[0].gradients == [[0.0, 2.0, 2.0]]


def test_a_gradient_that_has_a_graph():
    x = leaf(2.0)
    (g,) = cr.autograd.grad(x**3, x, create_graph=True)
    picture = cr.draw(g)
    assert node(picture, "g").values == [12.0] and node(picture, "x").gradients == [12.0]


class Cube(cr.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * g * x**2


def test_a_function_of_the_users_own():
    x = leaf(2.0)
    for picture in (cr.draw(Cube.apply(x)), cr.draw(Cube.apply, x)):
        box = next(one for one in picture.graph.nodes if one.operation)
        assert (box.operation, box.backward, box.saved_bytes) == ("Cube", "CubeBackward", 4)
        assert node(picture, "x").gradients == [12.0]


def test_a_backward_that_raises_is_marked():
    class Broken(Cube):
        @staticmethod
        def backward(ctx, g):
            raise ArithmeticError("no gradient today")

    x = leaf(2.0)
    picture = cr.draw(Broken.apply(x * 3) + 1)
    box = next(one for one in picture.graph.nodes if one.operation == "Broken")
    assert box.error == "ArithmeticError: no gradient today"
    assert picture.graph.notes == [
        "the backward pass stops at BrokenBackward: ArithmeticError: no gradient today"
    ]
    assert "no gradient today" in picture.dot


def test_a_freed_graph_says_what_is_lost():
    x, w = cr.tensor([1.0, 2.0]), leaf([3.0, 4.0])
    loss = (x * w + 1).exp().sum()
    loss.backward()
    picture = cr.draw(loss)
    assert (
        "backward() has freed what was saved" in picture.graph.notes[0]
        and "backward() has freed" in picture.dot
    )
    box = node(picture, "w")
    assert box.gradients[0] == pytest.approx(w.grad.tolist())
    assert [one.freed for one in picture.graph.nodes if one.operation == "exp"] == [True]


def test_leaves_written_since_are_not_taken_for_what_they_were():
    w = leaf(3.0)
    loss = w * w
    loss.backward()
    with cr.no_grad():
        w.sub_(1.0)
    graph = cr.draw(loss).graph
    assert graph.notes and graph.nodes[0].gradients == [6.0]


def test_drawing_before_backward_changes_nothing():
    x, y, z, q, f = circuit()
    versions = [one._version for one in (x, y, z, q, f)]
    cr.draw(f).dot  # noqa: B018
    assert all(one.grad is None for one in (x, y, z))
    assert [one._version for one in (x, y, z, q, f)] == versions
    f.backward()
    assert [one.grad.item() for one in (x, y, z)] == [-4.0, -4.0, 3.0]
    cr.draw(f)
    assert [one.grad.item() for one in (x, y, z)] == [-4.0, -4.0, 3.0]


def test_hooks_are_not_called():
    x = leaf(2.0)
    calls = []
    x.register_hook(calls.append)
    y = x * 3
    y.register_hook(calls.append)
    cr.draw(y)
    assert not calls


class Normalized(nn.Module):
    """A module that changes its buffers, draws random numbers, and may raise."""

    def __init__(self, fails):
        super().__init__()
        self.weight = nn.Parameter(cr.ones(3))
        self.register_buffer("mean", cr.zeros(3))
        self.register_buffer("calls", cr.tensor(0))
        self.fails = fails

    def forward(self, x):
        with cr.no_grad():
            self.mean.mul_(0.9).add_(x.mean(0) * 0.1)
            self.calls = self.calls + 1
        x = x + cr.rand(3)
        if self.fails:
            local.state.grad = False
            raise KeyError("inside forward")
        return (x * self.weight).sum()


@pytest.mark.parametrize("fails", [False, True])
def test_drawing_a_module_changes_nothing(fails):
    model = Normalized(fails)
    mean, calls, version = model.mean, model.calls, model.mean._version
    random = default_generator.get_state()
    if fails:
        with pytest.raises(KeyError, match="inside forward"):
            cr.draw(model, cr.ones(2, 3))
    else:
        cr.draw(model, cr.ones(2, 3))
    assert model.mean is mean and model.calls is calls
    assert mean.tolist() == [0.0] * 3 and mean._version == version and calls.item() == 0
    assert model.weight.grad is None and model.training
    assert (default_generator.get_state() == random).all()
    assert local.state.grad and local.state.on_record is None


def helper(model, x):
    """Reaches the module through another function."""
    return model(x)


class Trainer:
    """Not a module, but holds one."""

    def __init__(self):
        self.net = nn.BatchNorm1d(3)

    def loss(self, x):
        return self.net(x).sum()

    def __call__(self, x):
        return self.loss(x)


@pytest.mark.parametrize("how", ["method", "object", "partial", "nested"])
def test_buffers_are_kept_wherever_the_module_hides(how):
    trainer = Trainer()
    net, mean = trainer.net, trainer.net.running_mean

    def inner(x):
        return helper(net, x)

    targets = {
        "method": trainer.loss,
        "object": trainer,
        "partial": functools.partial(helper, net),
        "nested": lambda x: inner(x),
    }

    def draw(target, x):  # with no module among the variables around the call
        return cr.draw(target, x)

    draw(targets[how], cr.randn(5, 3))
    assert net.running_mean is mean and mean.tolist() == [0.0] * 3 and mean._version == 0
    assert net.num_batches_tracked.item() == 0


def test_nothing_stays_alive():
    """When the user lets go of the loss its memory is free, though the function that drew it goes on."""
    model = nn.Linear(2, 2)
    loss = model(cr.ones(3, 2)).tanh().sum()
    array = weakref.ref(loss.grad_fn)
    gc.disable()
    try:
        picture = cr.draw(loss)
        again = cr.draw(model, cr.ones(3, 2))
        del loss
        assert array() is None
    finally:
        gc.enable()
    assert picture.dot and again.dot


def test_locals_of_the_caller_are_left_alone():
    x = leaf(2.0)
    mine = locals()
    cr.draw(x * x)
    assert mine["x"] is x


def test_pytorch_may_be_in_scope(torch):
    theirs, module = torch.ones(2, requires_grad=True), torch.nn.Linear(2, 2)
    x = leaf(2.0)
    assert len(cr.draw(lambda x: x * x if theirs is not None and module else x, x).graph.nodes) == 2
    assert len(cr.draw(x * x).graph.nodes) == 2


def test_a_function_is_drawn_under_no_grad_too():
    x = leaf(2.0)
    with cr.no_grad():
        assert cr.draw(lambda x: x * x, x).graph.operations == 1
        assert not cr.is_grad_enabled()


def test_drawing_while_something_else_records():
    seen = []
    local.state.on_record = lambda node, out: seen.append(node)
    try:
        cr.draw(lambda x: x * x, leaf(2.0))
    finally:
        local.state.on_record = None
    assert len(seen) == 1


def test_on_the_other_devices(device):
    x = leaf([1.0, 2.0], device)
    for picture in (cr.draw((x * 3).sum()), cr.draw(lambda x: (x * 3).sum(), x)):
        assert node(picture, "x").gradients == [[3.0, 3.0]]
        assert node(picture, "multiply").values == [[3.0, 6.0]]


@pytest.mark.parametrize("dtype", [cr.float16, cr.float32, cr.float64, cr.complex64])
def test_dtypes(dtype):
    x = cr.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
    picture = cr.draw((x * 3).sum())
    assert node(picture, "x").dtypes == [dtype.name] and node(picture, "x").gradients == [[3.0, 3.0]]


def test_doubling_eighteen_times_is_nineteen_nodes():
    y = leaf(1.0)
    for _ in range(18):
        y = y + y
    graph = cr.draw(y).graph
    assert len(graph.nodes) == 19 and len(graph.edges) == 36
    assert graph.nodes[0].gradients == [2.0**18]


def test_a_thousand_time_steps():
    w, x = leaf(0.5), cr.ones(())

    def unrolled(w):
        h = w
        for _ in range(1000):
            h = (w * h + x).tanh()
        return h

    picture = cr.draw(unrolled, w)
    assert picture.graph.operations == 3000
    assert picture.dot.count("TanhBackward0") == 1000
    assert [one.name for one in picture.graph.nodes if one.kind == "leaf"] == ["w"]
    assert [edge.source for edge in picture.graph.edges].count(node(picture, "w").id) == 1001


def test_a_hundred_thousand_operations(tmp_path):
    y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1.0
    picture = cr.draw(y)
    assert picture.graph.operations == 100_000 and picture.graph.nodes[0].gradients == [1.0]
    picture.save(tmp_path / "graph.dot")
    with open(tmp_path / "graph.dot", encoding="utf-8") as file:
        assert sum(line.startswith("  n100000 [label") for line in file) == 1


class Deep(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.Sequential(*[nn.Sequential(nn.Linear(2, 2), nn.Tanh()) for _ in range(layers)])

    def forward(self, x):
        return self.layers(x).sum()


def test_a_large_graph_is_folded_to_its_modules():
    picture = cr.draw(Deep(40), cr.ones(1, 2), max_nodes=60, fold=False)
    whole = len(picture.graph.nodes)
    small = picture.small_graph()
    assert whole > 160 and len(small.nodes) <= 60
    assert small.operations == picture.graph.operations
    assert [one.name for one in small.nodes if one.kind == "module"] == [f"layers.{i}" for i in range(40)]
    assert small.saved_bytes == picture.graph.saved_bytes
    assert f"max_nodes={whole}" in small.notes[-1] and "folded into 40 modules" in small.notes[-1]
    assert [one.id for one in small.nodes] == list(range(len(small.nodes)))
    ids = set(range(len(small.nodes)))
    assert all({edge.source, edge.target} <= ids for edge in small.edges)
    if render.renderer():
        assert b"layers.39" in picture.render("svg")


def test_data_is_plain():
    """The graph as data holds nothing that keeps arrays alive and can be written as JSON."""
    import json

    def f(x):
        return (x * cr.tensor([1.0, 2.0])).sum()

    graph = cr.draw(f, leaf([1.0, 2.0])).graph
    again = json.loads(json.dumps(graph.to_dict()))
    assert [one["operation"] for one in again["nodes"] if one["operation"]] == ["multiply", "sum"]
    assert [one.id for one in graph.nodes] == list(range(len(graph.nodes)))


def test_switches():
    def f(x):
        return (x * x).sum()

    x = leaf([1.0, 2.0])
    assert "x * x" in cr.draw(f, x).dot and "x * x" not in cr.draw(f, x, source=False).dot
    assert (
        'tooltip="test_drawing.py:' in cr.draw(f, x).dot and "tooltip" not in cr.draw(f, x, source=False).dot
    )
    assert "float32" in cr.draw(f, x).dot and "float32" not in cr.draw(f, x, shapes=False).dot
    assert "gradient of f" in cr.draw(f, x).dot and "gradient of f" not in cr.draw(f, x, legend=False).dot
    assert "rankdir=TB" in cr.draw(f, x, direction="TB").dot
    assert cr.draw(f, x, gradients=False).graph.nodes[0].gradients == [None]


def test_deep_graphs_run_downwards():
    y = leaf(1.0)
    for _ in range(3):
        y = y.tanh()
    assert "rankdir=LR" in cr.draw(y).dot
    for _ in range(20):
        y = y.tanh()
    assert "rankdir=TB" in cr.draw(y).dot


def test_legend_names_what_is_there():
    model = nn.Linear(2, 1)
    dot = cr.draw(model, cr.ones(1, 2)).dot
    assert ">parameter<" in dot and ">input<" in dot and ">buffer<" not in dot


def test_names_are_escaped():
    x = leaf(1.0)
    picture = cr.draw({'<&">': x * 2})
    assert "&lt;&amp;&quot;&gt;" in picture.dot
    if render.renderer():
        ElementTree.fromstring(picture.render("svg"))


@needs_renderer
def test_svg():
    x, y, z, q, f = circuit()
    picture = cr.draw(f)
    root = ElementTree.fromstring(picture.render("svg"))
    shown = [one.text.strip() for one in root.iter("{http://www.w3.org/2000/svg}text")]
    joined = " ".join(shown)
    for expected in (
        "q = 3",
        "f = -12",
        "∂f/∂q = -4",
        "AddBackward0",
        "MulBackward0",
        "AccumulateGrad",
        "gradient of f",
    ):
        assert expected in joined
    assert shown.count("-4") == 4  # z; and back to q, x and y
    edges = [one for one in root.iter("{http://www.w3.org/2000/svg}g") if one.get("class") == "edge"]
    dashed = [one for one in edges if any(path.get("stroke-dasharray") for path in one)]
    assert len(edges) == 8 and len(dashed) == 4
    assert "max-width:100%" in root.get("style")


@needs_renderer
def test_nothing_overlaps_in_the_svg():
    """Every box of the drawing has its own place."""
    root = ElementTree.fromstring(cr.draw(Net(), cr.ones(4, 3)).render("svg"))
    spans = []
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        if group.get("class") == "node":
            points = [
                pair
                for one in group.iter()
                for pair in re.findall(r"(-?[\d.]+)[, ](-?[\d.]+)", one.get("d") or one.get("points") or "")
            ]
            xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
            spans.append((min(xs), max(xs), min(ys), max(ys)))
    for (left, right, top, bottom), (left2, right2, top2, bottom2) in itertools.combinations(spans, 2):
        assert right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top


@needs_renderer
@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("dot", b"digraph")]
)
def test_save(tmp_path, ending, start):
    x, y, z, q, f = circuit()
    path = tmp_path / f"graph.{ending}"
    assert cr.draw(f).save(path) == path
    assert path.read_bytes().startswith(start)


@needs_renderer
def test_notebooks_show_svg():
    x, y, z, q, f = circuit()
    picture = cr.draw(f)
    bundle = picture._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<?xml") and bundle["text/plain"] == repr(picture)
    assert repr(picture) == "<Picture of f: 2 operations, 5 nodes, 4 edges>"


def test_without_a_renderer(monkeypatch, tmp_path):
    monkeypatch.setattr(render, "renderer", lambda: None)
    x, y, z, q, f = circuit()
    picture = cr.draw(f)
    with pytest.raises(RuntimeError) as error:
        picture.save(tmp_path / "graph.svg")
    for way in (
        "pip install pygraphviz",
        "apt install graphviz",
        "brew install graphviz",
        "winget install graphviz",
        ".dot",
    ):
        assert way in str(error.value)
    assert not (tmp_path / "graph.svg").exists()
    assert "pip install pygraphviz" in picture._repr_mimebundle_()["text/plain"]
    picture.save(tmp_path / "graph.dot")


def test_which_renderer(monkeypatch):
    monkeypatch.setattr(render.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(render.importlib.util, "find_spec", lambda name: object())
    assert render.renderer() == "dot"
    monkeypatch.setattr(render.shutil, "which", lambda name: None)
    assert render.renderer() == "pygraphviz"
    monkeypatch.setattr(render.importlib.util, "find_spec", lambda name: None)
    assert render.renderer() is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-0.0, "0"), (3.0, "3"), (1 / 3, "0.3333"), (2.0**18, "2.621e+05"), (float("nan"), "nan"), (float("-inf"), "-inf"),
     (7, "7"), (True, "True"), (1 - 2j, "1-2j"), (1 + 0j, "1+0j")],
)  # fmt: skip
def test_numbers_as_text(value, expected):
    assert text.number(value) == expected


def test_bytes_as_text():
    assert [text.byte_count(n) for n in (0, 1023, 1536, 3 << 20, 5 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 kB",
        "3 MB",
        "5.12e+03 GB",
    ]
