"""The files a picture can be saved as, read back by others: JSON, SVG, PNG, PDF, GIF, TensorBoard."""

import io
import json
import math
import re
import struct
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.autograd.drawing import animate, render, tensorboard
from chainrule.backends.random import default_generator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "visualization.md"
SVG = "{http://www.w3.org/2000/svg}"

needs_renderer = pytest.mark.skipif(render.renderer() is None, reason="no Graphviz: pip install pygraphviz")


def leaf(value):
    return cr.tensor(value, requires_grad=True)


def circuit(x, y, z):
    q = x + y
    return q * z


def picture(**how):
    return cr.draw(circuit, leaf(-2.0), leaf(5.0), leaf(-4.0), **how)


def recurrent():
    cell = nn.RNNCell(2, 3)

    def read(sequence):
        h = cr.zeros(1, 3)
        for row in sequence:
            h = cell(row, h)
        return h.sum()

    return cr.draw(read, cr.randn(120, 1, 2))


def documented(heading):
    """The keys in the table of docs/visualization.md that follows `heading`."""
    table = PAGE.read_text(encoding="utf-8").partition(heading)[2].partition("\n\n|")[2].partition("\n\n")[0]
    return {key for row in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])}


# --- JSON ---


@pytest.mark.parametrize(
    "graph", [lambda: picture().graph, lambda: recurrent().small_graph(), lambda: recurrent().graph]
)
def test_json_is_as_documented(graph):
    data = json.loads(graph().to_json())
    assert set(data) == documented("The top level:")
    assert data["schema"] == "chainrule-graph-1"
    for node in data["nodes"]:
        assert set(node) == documented("A **node**")
        several = ["shapes", "dtypes", "values", "gradients", "stats", "gradient_stats"]
        assert {len(node[key]) for key in several} == {len(node["shapes"])}
        for saved in node["saved"]:
            assert set(saved) == {"name", "shape", "bytes", "memory"}
        assert node["cluster"] is None or 0 <= node["cluster"] < len(data["clusters"])
    for edge in data["edges"]:
        assert set(edge) == documented("An **edge**")
        assert {edge["source"], edge["target"]} <= set(range(len(data["nodes"])))
    for number, cluster in enumerate(data["clusters"]):
        assert set(cluster) == {"id", "parent", "kind", "path", "what", "call", "times"}
        assert cluster["id"] == number and (cluster["parent"] is None or cluster["parent"] < number)
    assert [one["id"] for one in data["nodes"]] == list(range(len(data["nodes"])))


def test_clusters_of_a_folded_loop():
    data = recurrent().small_graph().to_dict()
    assert [(one["kind"], one["path"], one["times"], one["parent"]) for one in data["clusters"]] == [
        ("repeat", None, 120, None), ("module", "cell", 1, 0),
    ]  # fmt: skip
    inside = [one["operation"] for one in data["nodes"] if one["cluster"] == 1]
    assert "rnn" in inside and "sum" not in inside


def test_json_is_strict(tmp_path):
    path = tmp_path / "graph.json"
    cr.draw(lambda x: x.log() * (1 + 2j), leaf([0.0, 1.0])).save(path)

    def refuse(constant):
        raise AssertionError(constant)

    data = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    log = next(one for one in data["nodes"] if one["operation"] == "log")
    assert log["values"] == [["-Infinity", 0.0]]
    assert "1+2j" in [one for node in data["nodes"] for one in node["values"]]
    assert cr.draw(lambda x: x * math.nan, leaf(1.0)).graph.to_dict()["nodes"][0]["values"] == [1.0]


def test_numbers_of_the_circuit_are_in_the_json():
    nodes = json.loads(picture().graph.to_json())["nodes"]
    found = {one["name"]: (one["values"][0], one["gradients"][0]) for one in nodes}
    assert found == {"x": (-2, -4), "y": (5, -4), "z": (-4, 3), "q": (3, -4), "circuit": (-12, 1)}


# --- pictures ---


@pytest.mark.parametrize("by", ["dot", "pygraphviz"])
def test_both_renderers_draw_the_same_thing(by, monkeypatch):
    if by == "dot":
        if render.shutil.which("dot") is None:
            pytest.skip("no dot program")
    else:
        pytest.importorskip("pygraphviz")
    monkeypatch.setattr(render, "renderer", lambda: by)
    root = ElementTree.fromstring(picture().render("svg"))
    words = " ".join(one.text.strip() for one in root.iter(f"{SVG}text"))
    for expected in ("q = 3", "circuit = -12", "AddBackward0", "∂circuit/∂x"):
        assert expected in words
    png = picture().render("png")
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG") and 300 < width < 3000 and 200 < height < 2000
    assert picture().render("pdf").startswith(b"%PDF")
    assert len(_animated(picture())) == 5


@needs_renderer
def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.dot, \.svg, \.png, \.pdf, .*\.json"):
        picture().save(tmp_path / "graph.jpeg")
    with pytest.raises(ValueError, match="animate=True makes .svg and .gif move, not .png"):
        picture().save(tmp_path / "graph.png", animate=True)


# --- films ---


def _animated(drawn):
    """{what stands in a backward cell: when it appears}, of an animated SVG."""
    from chainrule.autograd.drawing.animate import animated_svg

    root = ElementTree.fromstring(animated_svg(drawn.small_graph(), drawn.style))
    found = {}
    for group in root.iter(f"{SVG}g"):
        animation = group.find(f"{SVG}animate[@attributeName='opacity']")
        if animation is not None and group.get("id").startswith("a_back"):
            words = [one.text.strip() for one in group.iter(f"{SVG}text")]
            found["".join(words)] = float(animation.get("keyTimes").split(";")[1])
    return found


@needs_renderer
def test_an_animated_svg_lights_node_after_node(tmp_path):
    times = _animated(picture())
    first = next(time for words, time in times.items() if words.startswith("MulBackward0"))
    add = next(time for words, time in times.items() if words.startswith("AddBackward0"))
    leaves = [time for words, time in times.items() if "∂circuit/∂x" in words or "∂circuit/∂y" in words]
    assert len(times) == 5 and first == min(times.values()) and all(first < add < time for time in leaves)
    path = tmp_path / "film.svg"
    picture().save(path, animate=True)
    root = ElementTree.fromstring(path.read_bytes())
    edges = [
        one
        for one in root.iter(f"{SVG}g")
        if one.get("class") == "edge" and one.find(f"{SVG}animate") is not None
    ]
    assert len(edges) == 4
    links = [one.get("{http://www.w3.org/1999/xlink}href") for one in root.iter(f"{SVG}a")]
    assert not any(links) and "max-width:100%" in root.get("style")
    for one in root.iter(f"{SVG}animate"):
        numbers = [float(part) for part in one.get("keyTimes").split(";")]
        assert numbers == sorted(numbers) and numbers[0] == 0 and numbers[-1] == 1
        assert len(numbers) == len(one.get("values").split(";"))


@needs_renderer
def test_a_gif_has_a_frame_for_each_step(tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "film.gif"
    picture().save(path)
    with image.open(path) as film:
        assert film.format == "GIF" and film.n_frames >= 6 and film.info["loop"] == 0
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(film.convert("RGB").tobytes())
    assert len(set(frames)) >= 6  # something new each time


@needs_renderer
def test_long_films_are_short(tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    monkeypatch.setattr(animate, "_MOST_FRAMES", 5)
    y = leaf(1.0)
    for i in range(12):
        y = y * (i + 0.5)
    path = tmp_path / "film.gif"
    cr.draw(y, stats=False, legend=False, direction="LR").save(path)
    with image.open(path) as film:
        assert 5 <= film.n_frames <= 7


def test_without_pillow(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RuntimeError, match="pip install pillow"):
        picture().save(tmp_path / "film.gif")


def test_no_film_without_a_backward_pass(tmp_path):
    with pytest.raises(ValueError, match="no backward pass to show"):
        picture(gradients=False).save(tmp_path / "film.svg", animate=True)


# --- TensorBoard ---


def test_names_are_scopes():
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    graph = cr.draw(model, cr.ones(1, 2)).graph
    names = tensorboard.scoped_names(graph)
    assert len(set(names.values())) == len(graph.nodes)
    tanh = next(one for one in graph.nodes if one.operation == "tanh")
    assert names[tanh.id] == f"1/y_{tanh.id}"
    assert tensorboard.described(tanh)["backward"] == "TanhBackward0"


def test_tensorboard(tmp_path):
    board = pytest.importorskip("tensorboardX")
    assert picture().to_tensorboard(tmp_path) == tmp_path
    from tensorboardX.proto import event_pb2, graph_pb2

    (path,) = tmp_path.iterdir()
    data, events = io.BytesIO(path.read_bytes()), []
    while head := data.read(12):
        events.append(event_pb2.Event.FromString(data.read(struct.unpack("<Q", head[:8])[0])))
        data.read(4)
    graph = graph_pb2.GraphDef.FromString(next(one.graph_def for one in events if one.graph_def))
    assert [one.op for one in graph.node] == ["leaf", "leaf", "add", "leaf", "multiply"] and board
    assert len(graph.node[4].input) == 2


def test_without_tensorboardx(monkeypatch, tmp_path):
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install tensorboardX"):
        picture().to_tensorboard(tmp_path)
    assert not list(tmp_path.iterdir())


# --- nothing is changed ---


@needs_renderer
def test_saving_changes_nothing(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    x = cr.randn(4, 3)
    model(x).sum().backward()
    gradients = [one.grad.tolist() for one in model.parameters()]
    versions = [one._version for one in (*model.parameters(), *model.buffers())]
    hooks, random = len(calls), default_generator.get_state()
    drawn = cr.draw(model, x, create_graph=True, color="gradient", time=True, factors=True)
    for name in ("a.svg", "a.json", "a.dot"):
        drawn.save(tmp_path / name)
    drawn.save(tmp_path / "b.svg", animate=True)
    assert [one.grad.tolist() for one in model.parameters()] == gradients
    assert [one._version for one in (*model.parameters(), *model.buffers())] == versions
    assert (default_generator.get_state() == random).all()
    assert len(calls) == hooks + 1  # of the one call that was drawn
    loss = model(x).sum()
    before = cr.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    cr.draw(loss, create_graph=True)
    after = cr.autograd.grad(loss, list(model.parameters()))
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
