"""The interactive page: one file that asks nothing of any network, holds the graph as it is, and steps through the backward pass.

Where Chromium is, the page is opened in it; where Node is, its layout is tried on graphs of many forms.
"""

import base64
import hashlib
import html.parser
import json
import pathlib
import random
import re
import shutil
import subprocess
import tomllib

import pytest

import chainrule as cr
from chainrule import nn
from chainrule.autograd.drawing.page import page, render

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no Node")

HOSTILE = '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">\'&{{data}}\u2028'
VOID = {"meta", "input", "link", "img", "br"}


class Reader(html.parser.HTMLParser):
    """Every element with its attributes, and the text in it; fails where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def named(self, name):
        (found,) = [one for one in self.elements if one[1].get("id") == name]
        return found

    def all(self, tag):
        return [one for one in self.elements if one[0] == tag]


def circuit():
    x, y, z = (cr.tensor(value, requires_grad=True) for value in (-2.0, 5.0, -4.0))
    q = x + y
    f = q * z
    return cr.draw(f)


def network():
    cr.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return model, cr.draw(model, cr.randn(2, 3), values=12)


def data(text):
    return json.loads(Reader(text).named("data")[2])


def test_page_is_whole_html():
    reader = Reader(circuit().page())
    assert [one[0] for one in reader.elements[:2]] == ["html", "head"]
    assert reader.named("title")[2] == "The graph of f"
    assert len(reader.all("script")) == 2 and len(reader.all("canvas")) == 1


def test_page_refers_to_nothing_outside():
    text = circuit().page()
    for _, attributes, _ in Reader(text).elements:
        assert not {"src", "href", "srcset", "action", "background", "onload", "onclick"} & set(attributes)
    program = re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.DOTALL)
    assert not re.search(
        r"https?:|//[a-z]+\.[a-z]|@import|url\(|fetch\(|XMLHttp|WebSocket|innerHTML|eval\(|import\(", program
    )


def test_policy_admits_this_program_only():
    reader = Reader(circuit().page())
    (policy,) = [one[1]["content"] for one in reader.all("meta") if "http-equiv" in one[1]]
    program = reader.all("script")[1][2]
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and policy.startswith("default-src 'none'")


def test_graph_is_embedded_as_it_is():
    picture = circuit()
    found = data(picture.page())
    assert found["whole"] == json.loads(picture.graph.to_json())
    assert "folded" not in found


def test_folded_graph_goes_with_the_whole():
    def f(x):
        for _ in range(60):
            x = (x * 1.5).tanh()
        return x.sum()

    picture = cr.draw(f, cr.ones(3, requires_grad=True))
    found = data(picture.page())
    assert found["whole"] == json.loads(picture.graph.to_json())
    assert found["folded"] == json.loads(picture.small_graph().to_json())
    assert len(found["folded"]["nodes"]) < len(found["whole"]["nodes"])


def test_very_large_graph_comes_folded_only(monkeypatch):
    picture = circuit()
    whole, small = picture.graph.to_dict(), picture.graph.to_dict()
    small["nodes"] = small["nodes"][:4]
    monkeypatch.setattr(page, "LARGEST", 4)
    assert set(data(render(whole, small))) == {"folded", "color"}
    assert set(data(render(whole))) == {"whole", "color"}


def test_not_finite_numbers():
    graph = circuit().graph.to_dict()
    graph["nodes"][0]["values"] = [float("nan")]
    graph["nodes"][1]["values"] = [[float("-inf"), 1 + 2j]]
    found = data(render(graph))["whole"]["nodes"]
    assert found[0]["values"] == ["NaN"] and found[1]["values"] == [["-Infinity", "1+2j"]]


def hostile():
    graph = circuit().graph.to_dict()
    for node in graph["nodes"]:
        node["name"] = node["source"] = node["code"] = HOSTILE
    graph["notes"] = [HOSTILE]
    graph["subject"] = HOSTILE
    return graph


def test_hostile_names_stay_text():
    text = render(hostile(), title=HOSTILE)
    reader = Reader(text)
    assert len(reader.all("script")) == 2 and not reader.all("img")
    assert reader.named("title")[2] == HOSTILE
    assert data(text)["whole"]["nodes"][0]["name"] == HOSTILE
    assert "<" not in reader.named("data")[2]


def test_save_and_notebook(tmp_path):
    picture = circuit()
    path = tmp_path / "graph.html"
    assert picture.save(path) == path
    assert path.read_text(encoding="utf-8") == picture.page()
    frame = Reader(picture.page()._repr_html_()).all("iframe")[0][1]
    assert frame["srcdoc"] == picture.page() and frame["sandbox"] == "allow-scripts"
    assert "text/html" not in picture._repr_mimebundle_()


def test_color_is_kept():
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    assert data(cr.draw((x * x).sum(), color="saved").page())["color"] == "saved"


def test_files_are_packaged():
    root = pathlib.Path(__file__).parent.parent
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folder = root / "autograd" / "drawing" / "page"
    patterns = settings["package-data"]["chainrule.autograd.drawing.page"]
    packaged = {path.name for pattern in patterns for path in folder.glob(pattern)}
    assert packaged == {*page.SCRIPTS, "page.html", "page.css"}
    assert "chainrule.autograd.drawing.page" in settings["packages"]


def browse(tmp_path, text, place):
    """The page as it is in Chromium after its program has run: a Reader of the DOM."""
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000",
        "--window-size=1200,800", "--dump-dom", f"{path.as_uri()}#{place}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Reader(done.stdout)


def leaf_gradients(reader):
    """{name: numbers shown}: of each leaf in the panel, the numbers after the last equals sign."""
    found, name = {}, None
    for _, attributes, text in reader.elements:
        if "data-leaf" in attributes:
            name = attributes["data-leaf"]
            found[name] = []
        elif attributes.get("id") == "details-section":
            break
        elif name is not None and re.fullmatch(r"[−\d.e]+", text):
            found[name].append(float(text.replace("−", "-")))
    return found


@needs_browser
def test_stepping_to_the_end_shows_the_gradients(tmp_path):
    reader = browse(tmp_path, circuit().page(), "step=end")
    assert leaf_gradients(reader) == {"x": [-4.0], "y": [-4.0], "z": [3.0]}
    assert reader.named("position")[2] == "5 / 5"


@needs_browser
def test_a_step_says_what_is_multiplied(tmp_path):
    reader = browse(tmp_path, circuit().page(), "step=1")
    texts = [text for _, _, text in reader.elements]
    start = texts.index("MulBackward0")
    numbers = [text for text in texts[start:] if re.fullmatch(r"[−\d.×=]+", text)]
    assert numbers[:11] == ["1", "1", "×", "−4", "=", "−4", "1", "×", "3", "=", "3"]
    assert leaf_gradients(reader) == {"x": [], "y": [], "z": [3.0]}


@needs_browser
def test_gradients_of_a_network(tmp_path):
    model, picture = network()
    reader = browse(tmp_path, picture.page(), "step=end")
    shown = leaf_gradients(reader)
    cr.manual_seed(0)
    same = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    same(cr.randn(2, 3)).sum().backward()
    assert len(shown) == 4
    for name, parameter in same.named_parameters():
        (numbers,) = [numbers for key, numbers in shown.items() if key.endswith(name)]
        assert numbers == pytest.approx(parameter.grad.numpy().ravel().tolist(), rel=1e-3)


@needs_browser
def test_fan_in_adds_up(tmp_path):
    a = cr.tensor(3.0, requires_grad=True)
    f = a * a + a
    reader = browse(tmp_path, cr.draw(f).page(), "step=end")
    sums = [text for _, attributes, text in reader.elements if attributes.get("class") == "sum"]
    assert [sorted(re.findall(r"\d+", text)) for text in sums] == [["1", "3", "3"]]
    assert leaf_gradients(reader) == {"a": [7.0]}


@needs_browser
def test_hostile_names_do_nothing_in_a_browser(tmp_path):
    reader = browse(tmp_path, render(hostile(), title=HOSTILE), "step=end")
    assert reader.named("title")[2] == HOSTILE and reader.named("position")[2] == "5 / 5"
    assert len(reader.all("script")) == 2 and not reader.all("img")


CHECK = """
const { boxes, wires } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const all = boxes.map((box) => ({ ...box, children: [], pad: { before: 9, after: 7, start: 20, end: 5 } }));
const top = { children: [], open: true, w: 0, h: 0, pad: { before: 1, after: 2, start: 3, end: 4 }, parent: null };
boxes.forEach((box, i) => { all[i].parent = box.parent === null ? top : all[box.parent]; all[i].parent.children.push(all[i]); });
const lines = wires.map((wire, i) => ({ ...wire, source: all[wire.source], target: all[wire.target], key: wire.source + "", pin: i }));
layoutBoxes(top, lines, { rank: 20, across: 10 });
const problems = [], near = 1e-6;
const inside = (box) => {
  box.children.forEach((a, i) => {
    if (a.across < box.across + box.pad.before - near || a.along < box.along + box.pad.start - near) problems.push("out of its frame");
    if (a.across + a.w > box.across + box.w - box.pad.after + near || a.along + a.h > box.along + box.h - box.pad.end + near) problems.push("out of its frame");
    for (const b of box.children.slice(i + 1)) {
      if (a.across < b.across + b.w - near && b.across < a.across + a.w - near && a.along < b.along + b.h - near && b.along < a.along + a.h - near) problems.push("overlap");
    }
    if (a.open) inside(a);
  });
};
inside(top);
const leaves = all.filter((box) => !box.open), seen = new Set();
for (const wire of lines) {
  if (wire.loop) continue;
  if (wire.source.along + wire.source.h > wire.target.along + near) problems.push("upwards");
  // Each piece once: wires of one value share their trunk.
  for (let p = wire.last; p && !seen.has(p); p = p.parent) {
    seen.add(p);
    if (!p.parent && Math.abs(p.y0 - wire.source.along - wire.source.h) > near) problems.push("does not begin at its source");
    if (p.parent && (Math.abs(p.parent.x1 - p.x0) > near || Math.abs(p.parent.y3 - p.y0) > near)) problems.push("gap in a wire");
    // The straight parts go past every box; turns lie between ranks.
    for (const [x, from, to] of [[p.x0, p.y0, p.y1], [p.x1, p.y2, p.y3]]) {
      for (const box of leaves) {
        if (box === wire.source || box === wire.target) continue;
        if (x > box.across + near && x < box.across + box.w - near && from < box.along + box.h - near && to > box.along + near) problems.push("through a box");
      }
    }
  }
  if (Math.abs(wire.last.y3 - wire.target.along - wire.target.inset) > near) problems.push("does not end at its target");
}
console.log(JSON.stringify([...new Set(problems)]));
"""


def random_boxes(seed, count, near):
    """Boxes of many sizes, wires from earlier to later ones, and two that lead back."""
    rng = random.Random(seed)
    boxes = [
        {
            "parent": None,
            "open": False,
            "slots": 12,
            "inset": 9,
            "w": rng.randint(60, 160),
            "h": rng.randint(20, 80),
        }
        for _ in range(count)
    ]
    wires = []
    for i in range(1, count):
        for _ in range(rng.randint(0, 3)):
            wires.append({"source": rng.randrange(max(0, i - near), i), "target": i, "loop": False})
    if count > 3:
        wires.append({"source": 3, "target": 1, "loop": True})
        wires.append({"source": 2, "target": 2, "loop": True})
    return {"boxes": boxes, "wires": wires}


def graph_boxes(picture):
    """The boxes of a drawn graph, all unfolded."""
    graph = picture.graph.to_dict()
    count = len(graph["clusters"])
    boxes = [{"parent": one["parent"], "open": True, "w": 90, "h": 0} for one in graph["clusters"]]
    boxes += [
        {"parent": node["cluster"], "open": False, "w": 120, "h": 60, "slots": 20, "inset": 12}
        for node in graph["nodes"]
    ]
    wires = [
        {"source": count + edge["source"], "target": count + edge["target"], "loop": edge["recurrent"]}
        for edge in graph["edges"]
    ]
    return {"boxes": boxes, "wires": wires}


def check_layout(graph, tmp_path):
    """What is wrong with the layout of a graph: a list of sentences, empty if nothing is."""
    text = "".join(page._read(name) for name in ("layout.js", "across.js", "compound.js"))
    path = tmp_path / "check.js"
    path.write_text(text + CHECK, encoding="utf-8")
    done = subprocess.run(
        ["node", path], input=json.dumps(graph), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
@pytest.mark.parametrize("seed", range(12))
def test_layout_of_random_graphs(seed, tmp_path):
    assert (
        check_layout(
            random_boxes(seed, count=(1, 5, 30, 120)[seed % 4], near=(4, 12, 60)[seed % 3]), tmp_path
        )
        == []
    )


@needs_node
def test_layout_of_networks(tmp_path):
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.inner = (
                nn.LayerNorm(6),
                nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)),
            )

        def forward(self, x):
            return x + self.inner(self.norm(x))

    assert check_layout(graph_boxes(network()[1]), tmp_path) == []
    assert (
        check_layout(
            graph_boxes(cr.draw(nn.Sequential(*[Residual() for _ in range(5)]), cr.randn(2, 6))), tmp_path
        )
        == []
    )
    assert (
        check_layout(graph_boxes(cr.draw(nn.TransformerEncoderLayer(8, 2, 16), cr.randn(3, 2, 8))), tmp_path)
        == []
    )
    assert check_layout(graph_boxes(cr.draw(nn.LSTM(3, 4), cr.randn(7, 2, 3))), tmp_path) == []


@needs_node
def test_layout_of_a_value_used_many_times(tmp_path):
    """A shared weight is one trunk: the work grows with the length of the drawing, not with its square."""
    boxes = [{"parent": None, "open": False, "w": 100, "h": 40, "slots": 16, "inset": 8} for _ in range(1501)]
    wires = [{"source": 0, "target": i, "loop": False} for i in range(1, 1501)]
    wires += [{"source": i, "target": i + 1, "loop": False} for i in range(1, 1500)]
    assert check_layout({"boxes": boxes, "wires": wires}, tmp_path) == []
