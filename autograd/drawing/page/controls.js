/* Mouse, touch and keys. */

const KEYS = [
  ["space", "play, pause"], ["→ ←", "one step of the backward pass"], ["Home End", "its beginning, its end"], ["+ −", "zoom"], ["0", "fit"], ["↑ ↓", "move; with shift also → ←"],
  ["/", "search; Enter jumps to the next"], ["Esc", "let go of what is selected"], ["click", "a folded box opens, the title of an open one folds it"],
];

class Controls {
  constructor(app) {
    this.app = app;
    this.pointers = new Map();
    this.buttons();
    this.pointer();
    this.keys();
    const { drawing } = app;
    new ResizeObserver(() => {
      drawing.resize();
      app.redraw();
    }).observe(drawing.canvas);
    window.addEventListener("hashchange", () => app.readHash());
  }

  on(id, action, event = "click") {
    find(id).addEventListener(event, action);
  }

  buttons() {
    const { app } = this, { drawing } = app;
    const view = (change) => () => {
      change();
      app.redraw();
    };
    this.on("zoom-in", view(() => drawing.zoom(1.3)));
    this.on("zoom-out", view(() => drawing.zoom(1 / 1.3)));
    this.on("fit", view(() => drawing.fit()));
    this.on("turn", view(() => {
      app.view.sideways = !app.view.sideways;
      app.arrange();
      drawing.fit(true);
    }));
    this.on("theme", () => app.setTheme(app.theme === "dark" ? "light" : "dark"));
    this.on("fold", () => app.foldBy(-1));
    this.on("unfold", () => app.foldBy(1));
    this.on("graphs", view(() => {
      app.open(app.which === "whole" ? "folded" : "whole");
      drawing.fit(true);
    }));
    this.on("colour", () => app.setColour(find("colour").value), "change");
    for (const button of document.querySelectorAll("[data-mode]")) button.addEventListener("click", () => app.setMode(button.dataset.mode));
    this.on("first", () => app.go(0));
    this.on("last", () => app.go(app.steps.count));
    this.on("back", () => app.step(-1));
    this.on("forward", () => app.step(1));
    this.on("play", () => app.play());
    this.on("scrubber", () => app.go(Number(find("scrubber").value)), "input");
    this.on("search", () => app.search(find("search").value), "input");
    this.on("search", (event) => {
      if (event.key === "Enter") app.nextMatch(event.shiftKey ? -1 : 1);
      if (event.key === "Escape") drawing.canvas.focus();
    }, "keydown");
    find("keys").append(...KEYS.map(([key, what]) => element("p", {}, element("b", {}, key), "  " + what)));
    this.on("help", () => { find("keys").hidden = !find("keys").hidden; });
  }

  pointer() {
    const { app, pointers } = this, { drawing } = app, { canvas } = drawing;
    let moved = 0;
    const place = (event) => {
      const r = canvas.getBoundingClientRect();
      return [event.clientX - r.left, event.clientY - r.top];
    };
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
      drawing.zoom(Math.exp(-Math.max(-200, Math.min(200, pixels)) * 0.0022), ...place(event));
      this.hover(null);
      app.redraw();
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, place(event));
      if (pointers.size === 1) moved = 0;
      this.hover(null);
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = place(event), before = pointers.get(event.pointerId);
      if (!before) {
        if (event.pointerType === "mouse") this.hover(now);
        return;
      }
      const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (others.length) { // two fingers
        const [other] = others, distance = (at) => Math.max(10, Math.hypot(at[0] - other[0], at[1] - other[1]));
        drawing.zoom(distance(now) / distance(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      }
      drawing.x += (now[0] - before[0]) / (others.length + 1);
      drawing.y += (now[1] - before[1]) / (others.length + 1);
      pointers.set(event.pointerId, now);
      canvas.classList.toggle("dragging", moved > 4);
      app.redraw();
    });
    const release = (event) => {
      const clicked = pointers.size === 1 && moved <= 4 && event.type === "pointerup";
      pointers.delete(event.pointerId);
      canvas.classList.remove("dragging");
      if (clicked) this.click(drawing.at(...place(event)));
    };
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => this.hover(null));
  }

  click(box) {
    const { app } = this;
    if (box && box.cluster) app.toggle(box);
    else app.selected = box ? box.node : null;
    app.tell();
    if (app.selected && box && box.node) find("details-section").scrollIntoView({ block: "nearest" });
  }

  /* Everything about the box under the mouse, beside it. */
  hover(place) {
    const { app } = this, { drawing } = app, box = place ? drawing.at(...place) : null, tip = find("tip");
    drawing.canvas.classList.toggle("pointing", Boolean(box));
    if (box !== app.hovered) {
      app.hovered = box;
      app.redraw();
      tip.hidden = !box;
      if (box) tip.replaceChildren(...app.panel.details(box.node || box.cluster));
    }
    if (!box) return;
    const { clientWidth, clientHeight } = drawing.canvas, w = tip.offsetWidth, h = tip.offsetHeight;
    const [x, y] = [place[0] + 16 + w > clientWidth ? place[0] - w - 12 : place[0] + 16, Math.min(place[1] + 12, clientHeight - h - 6)];
    tip.style.left = `${Math.max(4, x)}px`;
    tip.style.top = `${Math.max(4, y)}px`;
  }

  keys() {
    const { app } = this, { drawing } = app;
    const move = (x, y) => {
      drawing.x += x;
      drawing.y += y;
      app.redraw();
    };
    window.addEventListener("keydown", (event) => {
      const { target } = event;
      if (target.matches("input[type=search], select") || event.ctrlKey || event.metaKey || event.altKey) return;
      const actions = {
        ArrowRight: () => (event.shiftKey ? move(-60, 0) : app.step(1)), ArrowLeft: () => (event.shiftKey ? move(60, 0) : app.step(-1)),
        ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60), Home: () => app.go(0), End: () => app.go(app.steps.count),
        " ": () => app.play(), "+": () => (drawing.zoom(1.2), app.redraw()), "=": () => (drawing.zoom(1.2), app.redraw()), "-": () => (drawing.zoom(1 / 1.2), app.redraw()),
        0: () => (drawing.fit(), app.redraw()), "/": () => find("search").focus(), "?": () => find("help").click(),
        Escape: () => { app.selected = null; find("keys").hidden = true; app.tell(); },
      };
      if (!actions[event.key] || (event.key === " " && target.matches("button"))) return;
      event.preventDefault();
      actions[event.key]();
    });
  }
}
