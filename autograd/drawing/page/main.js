/* The page: what the reader does, and what follows from it. */

const TURN_BOXES = 40; // up to this size a drawing may run to the right, as one writes a formula
const find = (id) => document.getElementById(id);

class App {
  constructor(data) {
    this.graphs = data;
    this.panel = new Panel(this);
    this.drawing = new Drawing(find("canvas"), this);
    this.view = { mode: "both", sideways: false };
    this.colour = data.color || "none";
    find("colour").value = this.colour;
    this.theme = window.matchMedia && matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    this.found = new Set();
    this.hovered = this.selected = null;
    this.timer = null;
    this.open(data.folded ? "folded" : "whole");
    new Controls(this);
    this.drawing.resize();
    this.drawing.fit(true);
    this.setTheme(this.theme);
    this.readHash();
  }

  /* Show the whole graph, or the one with repetitions folded. */
  open(which) {
    this.which = which;
    this.model = new Model(this.graphs[which]);
    this.found.clear();
    this.matches = [];
    this.hovered = this.selected = null;
    this.view.sideways = false;
    this.drawing.resize();
    this.arrange();
    this.chooseDirection();
    const other = this.graphs[which === "whole" ? "folded" : "whole"];
    find("graphs").hidden = !other;
    if (other) find("graphs").textContent = which === "whole" ? "fold repetitions" : `unfold all ${other.nodes.length.toLocaleString("en")} nodes`;
    find("folding").hidden = !this.model.deepest;
  }

  /* To the right, where the window then holds the drawing as large as if it ran down. */
  chooseDirection() {
    if (this.drawing.cards.length > TURN_BOXES) return;
    const down = this.drawing.fitting();
    this.view.sideways = true;
    this.arrange();
    const right = this.drawing.fitting();
    if (right >= 0.95 || right >= Math.max(0.6, 0.8 * down)) return;
    this.view.sideways = false;
    this.arrange();
  }

  /* Lay out again. The box `around`, or the middle of the window, stays where it is. */
  arrange(visible = this.model.visible(), around = null) {
    const before = this.steps ? { done: this.steps.done, running: this.steps.running } : null;
    const same = this.steps && this.steps.model === this.model;
    const anchor = around && around.rect ? { x: around.rect.x, y: around.rect.y } : null;
    this.cards = new Cards(this.model, this.view);
    this.cards.size(visible);
    this.steps = new Steps(this.model, visible.boxOf);
    if (same && before.running) {
      this.steps.running = true;
      this.steps.done = before.done;
    }
    this.drawing.layout(visible, this.view);
    this.colouring = new Colouring(this.colour, visible.boxes, this.model.graph);
    if (anchor) {
      const now = visible.boxes.find((box) => (box.node || box.cluster) === (around.node || around.cluster));
      if (now) {
        this.drawing.x += (anchor.x - now.rect.x) * this.drawing.scale;
        this.drawing.y += (anchor.y - now.rect.y) * this.drawing.scale;
      }
    }
    this.hovered = null;
    this.markFound();
    this.tell();
  }

  boxOf(node) {
    return this.drawing.visible.boxOf[node.id];
  }

  /* Everything beside the drawing. */
  tell() {
    const { steps } = this, on = steps.count > 0;
    find("step").replaceChildren(...this.panel.step());
    find("leaves").replaceChildren(...this.panel.leaves());
    find("leaves-section").hidden = !steps.leaves().length;
    find("scrubber").max = steps.count;
    find("scrubber").value = steps.position;
    find("position").textContent = `${steps.position} / ${steps.count}`;
    for (const id of ["first", "back", "play", "forward", "last", "scrubber"]) find(id).disabled = !on;
    find("play").querySelector("path").setAttribute("d", this.timer ? "M3.5 3h3v10h-3zM9.5 3h3v10h-3z" : "M4 2.5v11l9-5.5z");
    find("play").setAttribute("aria-label", this.timer ? "Pause" : "Play");
    find("details-section").hidden = !this.selected;
    find("details").replaceChildren(...(this.selected ? this.panel.details(this.selected) : []));
    const { graph } = this.model, kept = graph.saved_bytes ? `, ${byteCount(graph.saved_bytes)} kept for the backward pass` : "";
    find("notes").replaceChildren(...[`${plural(graph.operations, "operation")}, ${plural(graph.nodes.length, "node")}${kept}`, ...graph.notes].map((note) => element("p", {}, note)));
    for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", button.dataset.mode === this.view.mode);
    this.legend();
    this.redraw();
  }

  legend() {
    const palette = PALETTES[this.theme], out = [], { colouring } = this;
    const swatch = (fill, line) => {
      const made = element("i", { class: "swatch" });
      made.style.background = fill;
      made.style.borderColor = line;
      return made;
    };
    if (colouring.scale && !colouring.empty) {
      const bar = element("i", { class: "bar" });
      bar.style.background = `linear-gradient(90deg, ${RAMP.map((one) => `rgb(${one})`).join(", ")})`;
      out.push(element("span", {}, `${colouring.scale.label}${colouring.scale.log ? " (log)" : ""}: ${colouring.scale.show(colouring.least)}`, bar, colouring.scale.show(colouring.most)));
      if (colouring.scale.log && [...colouring.of.values()].includes(0)) out.push(element("span", {}, swatch("#000", "#000"), "0"));
      out.push(element("span", {}, swatch(palette.none, palette.frame), "not known"));
    } else if (colouring.scale) out.push(element("span", {}, `${colouring.scale.label}: not known for any node`));
    else if (colouring.name === "nan") {
      for (const [fill, what] of [["#e03131", "where the first was born"], ["#f59f00", "NaN or infinity in the value"], ["#fcc47a", "in the gradient"], [palette.none, "finite"]]) out.push(element("span", {}, swatch(fill, fill), what));
    } else {
      const kinds = new Set(this.drawing.cards.map((box) => (box.cluster ? "module" : box.node.kind)));
      for (const kind of Object.keys(KINDS)) if (kinds.has(kind)) out.push(element("span", { class: "kind" }, swatch(...palette[kind]), KINDS[kind]));
      if (this.view.mode !== "forward") out.push(element("span", { class: "kind" }, swatch(...palette.back), "its backward operation"));
    }
    const wire = (colour, what, dashed) => {
      const line = element("i", { class: dashed ? "wire dashed" : "wire" });
      line.style.borderColor = colour;
      out.push(element("span", {}, line, what));
    };
    if (this.view.mode !== "backward") wire(palette.forward, "value");
    if (this.view.mode !== "forward") wire(palette.backward, `gradient of ${this.model.graph.subject}`, true);
    if (this.model.graph.edges.some((edge) => edge.recurrent)) wire(palette.recurrent, "to the next step", true);
    find("legend").replaceChildren(...out);
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.timer) {
        this.drawing.dash += 0.6; // against the flow of the values
        this.redraw();
      }
      this.drawing.draw();
    });
  }

  /* Stepping. */

  go(position, follow = true) {
    const { steps } = this;
    steps.running = true;
    steps.position = Math.max(0, Math.min(steps.count, position));
    if (follow && steps.current) this.drawing.show(steps.current.box);
    this.tell();
  }

  play() {
    if (this.timer) return this.pause();
    if (!this.steps.count) return null;
    if (!this.steps.running || this.steps.position === this.steps.count) this.go(0);
    const next = () => {
      if (this.steps.position >= this.steps.count) return this.pause();
      this.timer = setTimeout(next, 1100 / Number(find("speed").value));
      this.go(this.steps.position + 1);
      return null;
    };
    this.timer = setTimeout(next, 250);
    this.tell();
    return null;
  }

  pause() {
    clearTimeout(this.timer);
    this.timer = null;
    this.tell();
  }

  step(by) {
    if (this.timer) this.pause();
    const { steps } = this;
    this.go(!steps.running ? (by > 0 ? 1 : steps.count - 1) : steps.position + by);
  }

  /* Folding, searching, choosing. */

  toggle(box) {
    const { folded } = this.model, { id } = box.cluster;
    if (folded.has(id)) folded.delete(id);
    else folded.add(id);
    this.arrange(undefined, box);
  }

  foldBy(levels) {
    const { model } = this, open = model.clusters.filter((one) => !model.folded.has(one.id)).map((one) => model.depth[one.id]);
    model.foldTo(Math.max(0, Math.min(model.deepest, open.reduce((most, d) => Math.max(most, d), 0) + levels)));
    this.arrange();
    this.drawing.fit(true);
    this.redraw();
  }

  search(text) {
    this.matches = this.model.search(text);
    this.match = -1;
    this.markFound();
    find("matches").textContent = text.trim() ? (this.matches.length ? `${this.matches.length}` : "none") : "";
    this.redraw();
  }

  nextMatch(by) {
    const { matches } = this;
    if (!matches.length) return;
    this.match = (this.match + by + matches.length) % matches.length;
    find("matches").textContent = `${this.match + 1}/${matches.length}`;
    this.jump(matches[this.match]);
  }

  markFound() {
    this.found = new Set((this.matches || []).map((node) => this.boxOf(node)));
  }

  jump(node) {
    if (this.model.reveal(node)) this.arrange();
    this.selected = node;
    this.drawing.show(this.boxOf(node), true);
    this.tell();
  }

  setTheme(theme) {
    this.theme = theme;
    document.documentElement.dataset.theme = theme;
    find("theme").textContent = theme === "dark" ? "light" : "dark";
    this.tell();
  }

  setColour(colour) {
    this.colour = colour;
    this.colouring = new Colouring(colour, this.drawing.visible.boxes, this.model.graph);
    this.tell();
  }

  setMode(mode) {
    this.view.mode = mode;
    this.arrange();
    this.drawing.fit(true);
    this.redraw();
  }

  /* page.html#step=3, #step=end, #colour=gradient, #mode=backward, #theme=dark, joined by &: for links into a talk. */
  readHash() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.has("graph") && this.graphs[asked.get("graph")]) this.open(asked.get("graph")), this.drawing.fit(true);
    if (["light", "dark"].includes(asked.get("theme"))) this.setTheme(asked.get("theme"));
    if (["forward", "backward", "both"].includes(asked.get("mode"))) this.setMode(asked.get("mode"));
    if (asked.has("depth")) this.model.foldTo(Number(asked.get("depth"))), this.arrange(), this.drawing.fit(true);
    if (asked.has("colour")) {
      find("colour").value = asked.get("colour");
      this.setColour(find("colour").value);
    }
    if (asked.has("search")) {
      find("search").value = asked.get("search");
      this.search(find("search").value);
      this.nextMatch(1);
    }
    if (asked.has("step")) this.go(asked.get("step") === "end" ? this.steps.count : Number(asked.get("step")) || 0);
    this.redraw();
  }
}

window.addEventListener("DOMContentLoaded", () => {
  window.page = new App(JSON.parse(find("data").textContent));
});
