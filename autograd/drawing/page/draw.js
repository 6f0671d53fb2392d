/* The drawing on a canvas: only what lies in the window, and text only where it can be read. */

const READABLE = 0.32; // smallest scale at which text is written
const APART = 2.5; // half the distance between a wire forward and the same wire backward

class Drawing {
  constructor(canvas, app) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.app = app;
    this.scale = 1;
    this.x = this.y = 0; // where the drawing's origin is, in pixels of the window
    this.dash = 0;
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas, ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.ratio = ratio;
  }

  /* Lay the visible boxes out, and note for every piece of wire what it needs to know to be drawn. */
  layout(visible, view) {
    this.visible = visible;
    this.sideways = view.sideways;
    this.pieces = layoutBoxes(visible.root, visible.wires, view.sideways ? { rank: 30, across: 16 } : { rank: 26, across: 18 });
    for (const piece of this.pieces) Object.assign(piece, { at: Infinity, fore: false, back: false, loop: false });
    for (const wire of visible.wires) {
      const back = wire.edges.some((edge) => edge.backward);
      const at = Math.min(...wire.edges.map((edge) => (edge.backward ? this.app.model.turn[edge.target] ?? Infinity : Infinity)));
      for (let p = wire.last; p && (p.at > at || (back && !p.back) || !p.fore || wire.loop); p = p.parent) {
        p.at = Math.min(p.at, at);
        p.back = p.back || back;
        p.fore = true;
        p.loop = p.loop || wire.loop;
      }
      wire.last.end = wire;
    }
    const { root } = visible, w = this.sideways ? root.h : root.w, h = this.sideways ? root.w : root.h;
    this.size = { w, h };
    for (const box of [root, ...visible.boxes]) {
      const [x, y] = this.point(box.across, box.along);
      box.rect = this.sideways ? { x, y, w: box.h, h: box.w } : { x, y, w: box.w, h: box.h };
      if (box.open) continue;
      const [across, inset] = this.sideways ? [(box.w - box.cardH) / 2, box.inset] : [(box.w - box.cardW) / 2, box.inset];
      const [cx, cy] = this.point(box.across + across, box.along + inset);
      box.card = { x: cx, y: cy, w: box.cardW, h: box.cardH };
    }
    this.frames = visible.boxes.filter((box) => box.open);
    this.cards = visible.boxes.filter((box) => !box.open);
  }

  point(across, along) {
    return this.sideways ? [along, across] : [across, along];
  }

  /* The scale at which the window holds the whole drawing. */
  fitting() {
    return Math.min(this.canvas.clientWidth / this.size.w, this.canvas.clientHeight / this.size.h);
  }

  /* The whole drawing in the window; `readable`: no smaller than one can read, then with its beginning in view. */
  fit(readable = false) {
    const { clientWidth, clientHeight } = this.canvas, { w, h } = this.size;
    const whole = this.fitting();
    this.scale = Math.min(1.6, readable ? Math.max(whole, Math.min(0.62, Math.max(clientWidth / w, clientHeight / h))) : whole);
    this.x = w * this.scale > clientWidth && readable ? 0 : (clientWidth - w * this.scale) / 2;
    this.y = h * this.scale > clientHeight && readable ? 0 : (clientHeight - h * this.scale) / 2;
    if (readable && w * this.scale > clientWidth && !this.sideways) this.x = (clientWidth - w * this.scale) / 2;
    if (readable && h * this.scale > clientHeight && this.sideways) this.y = (clientHeight - h * this.scale) / 2;
  }

  zoom(factor, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2) {
    const scale = Math.max(0.002, Math.min(4, this.scale * factor)), by = scale / this.scale;
    this.x = px - (px - this.x) * by;
    this.y = py - (py - this.y) * by;
    this.scale = scale;
  }

  /* Bring a box into view if it is not, in the middle of what is free. */
  show(box, always = false) {
    const r = box.card || box.rect, { clientWidth, clientHeight } = this.canvas, s = this.scale;
    const [left, top] = [r.x * s + this.x, r.y * s + this.y], margin = 4;
    const inside = left > margin && top > margin && left + r.w * s < clientWidth - margin && top + r.h * s < clientHeight - margin;
    if (inside && !always) return;
    if (always && s < 0.6) this.scale = 0.9;
    this.x = clientWidth / 2 - (r.x + r.w / 2) * this.scale;
    this.y = clientHeight / 2 - (r.y + r.h / 2) * this.scale;
  }

  /* The box under a place in the window: a card, or the title of a frame. */
  at(px, py) {
    const x = (px - this.x) / this.scale, y = (py - this.y) / this.scale;
    const within = (r) => x >= r.x && x <= r.x + r.w && y >= r.y && y <= r.y + r.h;
    const card = this.cards.find((box) => within(box.card));
    if (card) return card;
    return this.frames.filter((box) => within({ ...box.rect, h: 26 })).pop() || null;
  }

  draw() {
    const { context: c, app } = this, palette = (this.palette = PALETTES[app.theme]);
    const { clientWidth, clientHeight } = this.canvas;
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.fillStyle = palette.paper;
    c.fillRect(0, 0, clientWidth, clientHeight);
    c.setTransform(this.ratio * this.scale, 0, 0, this.ratio * this.scale, this.ratio * this.x, this.ratio * this.y);
    const left = -this.x / this.scale, top = -this.y / this.scale;
    this.window = { x: left, y: top, right: left + clientWidth / this.scale, bottom: top + clientHeight / this.scale };
    this.text = this.scale >= READABLE;
    c.lineJoin = "round";
    for (const box of this.frames) if (this.seen(box.rect)) this.frame(box);
    this.wires();
    if (this.text) for (const box of this.frames) if (this.seen(box.rect)) this.title(box);
    for (const box of this.cards) if (this.seen(box.rect)) this.card(box);
    if (this.text) for (const wire of this.visible.wires) if (this.seen(wire.target.rect)) this.wireLabel(wire);
  }

  seen(r) {
    const w = this.window;
    return r.x <= w.right && r.y <= w.bottom && r.x + r.w >= w.x && r.y + r.h >= w.y;
  }

  frame(box) {
    const { context: c, palette } = this, r = box.rect, hot = this.app.hovered === box;
    c.beginPath();
    c.roundRect(r.x, r.y, r.w, r.h, 10);
    c.fillStyle = palette.frameFill;
    c.fill();
    c.lineWidth = (hot ? 1.8 : 1) / Math.min(1, Math.max(this.scale, 0.2));
    c.strokeStyle = hot ? palette.forward : palette.frame;
    if (box.cluster.kind === "repeat") c.setLineDash([6, 4]);
    c.stroke();
    c.setLineDash([]);
  }

  title(box) {
    const { context: c, palette } = this, r = box.rect, colour = this.app.hovered === box ? palette.forward : palette.text;
    c.textAlign = "left";
    c.textBaseline = "middle";
    this.outlined("▾ " + box.title, r.x + 9, r.y + 14, FONTS.title, colour);
    if (box.sub) this.outlined(box.sub, r.x + 17 + textWidth("▾ " + box.title, FONTS.title), r.y + 14.5, FONTS.small, palette.muted);
  }

  /* Text that stays readable on a wire. */
  outlined(text, x, y, font, colour) {
    const { context: c } = this;
    c.font = font;
    c.lineWidth = 5;
    c.strokeStyle = this.palette.paper;
    c.strokeText(text, x, y);
    this.write(text, x, y, font, colour);
  }

  write(text, x, y, font, colour) {
    this.context.font = font;
    this.context.fillStyle = colour;
    this.context.fillText(text, x, y);
  }

  /* All wires of one look in one stroke each. */
  wires() {
    const { context: c, palette, app } = this, { mode } = app.view, done = app.steps.done;
    const looks = { fore: new Path2D(), plain: new Path2D(), back: new Path2D(), waiting: new Path2D(), loop: new Path2D() };
    const both = mode === "both", w = this.window;
    for (const piece of this.pieces) {
      const [xa, ya] = this.point(Math.min(piece.x0, piece.x1) - 5, Math.min(piece.y0, piece.y3));
      const [xb, yb] = this.point(Math.max(piece.x0, piece.x1) + 5, Math.max(piece.y0, piece.y3));
      if (xa > w.right || ya > w.bottom || xb < w.x || yb < w.y) continue;
      if (piece.loop) {
        this.trace(looks.loop, piece, 0);
        if (piece.end) this.arrow(looks.loop, piece.x1, piece.y3, 1, 0, piece);
        continue;
      }
      if (mode !== "backward") {
        const look = piece.back ? looks.fore : looks.plain;
        this.trace(look, piece, both && piece.back ? -APART : 0);
        if (piece.end) this.arrow(look, piece.x1 + (both && piece.back ? -APART : 0), piece.y3, 1);
      }
      if (mode !== "forward" && piece.back) {
        const look = piece.at < done ? looks.back : looks.waiting;
        this.trace(look, piece, both ? APART : 0);
        if (!piece.parent) this.arrow(look, piece.x0 + (both ? APART : 0), piece.y0, -1);
      }
    }
    const width = 1.3 / Math.min(1, Math.max(this.scale * 1.6, 0.05));
    const stroke = (path, colour, dash, alpha = 1) => {
      c.globalAlpha = alpha;
      c.setLineDash(this.scale < 0.15 ? [] : dash);
      c.lineWidth = width;
      c.strokeStyle = colour;
      c.stroke(path);
    };
    stroke(looks.plain, palette.plain, []);
    stroke(looks.fore, palette.forward, []);
    stroke(looks.loop, palette.recurrent, [7, 4]);
    stroke(looks.waiting, palette.backward, [5, 4], 0.22);
    stroke(looks.back, palette.backward, [5, 4]);
    c.globalAlpha = 1;
    this.flow(both ? APART : 0, width);
    c.setLineDash([]);
  }

  /* What the current step sends back. */
  flow(offset, width) {
    const { context: c, palette, app } = this, group = app.steps.current;
    if (!group || app.view.mode === "forward") return;
    const path = new Path2D();
    for (const wire of group.box.pins || []) {
      if (!wire.edges.some((edge) => edge.backward && group.nodes.includes(app.model.nodes[edge.target]))) continue;
      for (let p = wire.last; p; p = p.parent) {
        this.trace(path, p, p.loop ? 0 : offset);
        if (!p.parent && !p.loop) this.arrow(path, p.x0 + offset, p.y0, -1, 7);
      }
    }
    c.setLineDash([9, 5]);
    c.lineDashOffset = this.dash;
    c.lineWidth = width * 2.4;
    c.strokeStyle = palette.glow;
    c.stroke(path);
    c.lineDashOffset = 0;
  }

  trace(path, p, offset) {
    const move = (x, y) => path.moveTo(...this.point(x + offset, y)), line = (x, y) => path.lineTo(...this.point(x + offset, y));
    if (p.path) {
      const points = p.path.map(([x, y]) => this.point(x, y));
      path.moveTo(...points[0]);
      for (let i = 1; i < points.length - 1; i++) path.arcTo(...points[i], ...points[i + 1], 7);
      path.lineTo(...points[points.length - 1]);
      return;
    }
    move(p.x0, p.y0);
    line(p.x0, p.y1);
    if (Math.abs(p.x1 - p.x0) < 0.5) line(p.x1, p.y2);
    else {
      const bend = (p.y2 - p.y1) * 0.55;
      path.bezierCurveTo(...this.point(p.x0 + offset, p.y1 + bend), ...this.point(p.x1 + offset, p.y2 - bend), ...this.point(p.x1 + offset, p.y2));
    }
    line(p.x1, p.y3);
  }

  /* A head at a place, forward (1) or backward (-1). */
  arrow(path, x, y, way, size = 5, piece = null) {
    if (this.scale < 0.2) return;
    if (piece && piece.path) [x, y] = piece.path[piece.path.length - 1];
    size = size || 5;
    path.moveTo(...this.point(x - size * 0.7, y - way * size * 1.3));
    path.lineTo(...this.point(x, y));
    path.lineTo(...this.point(x + size * 0.7, y - way * size * 1.3));
  }

  wireLabel(wire) {
    const p = wire.last, box = wire.target;
    const loops = box.pins.filter((one) => one.loop), first = loops.find((one) => one.source === wire.source);
    if (wire === first && p.path && wire.edges[0].times > 1) {
      const [x, y] = this.point(p.x1, (p.y0 + p.y3) / 2 + loops.indexOf(wire) * (this.sideways ? 40 : 18));
      this.halo(`× ${Math.max(...wire.edges.map((edge) => edge.times))}`, x, y, this.palette.recurrent, box);
    }
    if (box.open || box.pins.length > MOST_LABELLED || p.path) return;
    const { steps, view } = this.app;
    const value = view.mode === "backward" ? [] : wire.value;
    const gradient = view.mode === "forward" || !wire.edges.some((edge) => steps.passed(edge)) ? [] : wire.gradient;
    this.labels(box, p.x1, box.along, box.inset, value, gradient, view.mode === "both" ? wire.value.length : 0);
  }

  /* Values and gradients beside a wire: above and below one that runs to the right, one under the other on one that runs down. */
  labels(box, across, along, length, value, gradient, reserved) {
    const { context: c, palette } = this;
    c.textAlign = "center";
    c.textBaseline = "middle";
    if (this.sideways) {
      const x = along + (length - 6) / 2;
      value.forEach((line, i) => this.write(line, x, across - 10 - (value.length - 1 - i) * WIRE_LINE, FONTS.wire, palette.forward));
      gradient.forEach((line, i) => this.write(line, x, across + 11 + i * WIRE_LINE, FONTS.wire, palette.backward));
      return;
    }
    value.forEach((line, i) => this.halo(line, across, along + 4 + i * WIRE_LINE, palette.forward, box));
    gradient.forEach((line, i) => this.halo(line, across, along + 4 + (reserved + i) * WIRE_LINE, palette.backward, box));
  }

  /* Text on a wire, which it interrupts; `box` tells which frames lie behind it. */
  halo(text, x, y, colour, box) {
    const { context: c, palette } = this, w = textWidth(text, FONTS.wire) + 4;
    c.fillStyle = palette.paper;
    c.fillRect(x - w / 2, y - 7, w, 14);
    c.fillStyle = palette.frameFill;
    for (let one = box.parent; one && one.cluster; one = one.parent) c.fillRect(x - w / 2, y - 7, w, 14);
    c.textAlign = "center";
    c.textBaseline = "middle";
    this.write(text, x, y + 0.5, FONTS.wire, colour);
  }

  card(box) {
    const { context: c, palette, app } = this, { steps } = app, r = box.card;
    const kind = box.cluster ? "module" : box.node.kind, [fill, line] = palette[kind];
    const lit = steps.current && steps.current.box === box;
    const colour = app.colouring.colour(box, palette), { fore, back } = box.lines;
    const foreHeight = back.length ? (box.foreHeight * r.h) / box.tall : r.h;
    const failed = !box.cluster && box.node.error;
    const shape = (x, y, w, h, corners, inside) => {
      c.beginPath();
      if (this.text) c.roundRect(x, y, w, h, corners);
      else c.rect(x, y, w, h);
      c.fillStyle = inside;
      c.fill();
    };
    shape(r.x, r.y, r.w, foreHeight, back.length ? [7, 7, 0, 0] : 7, colour ? colour.fill : fill);
    if (back.length) {
      const [backFill] = failed ? palette.error : palette.back;
      const ready = box.nodes.some((node) => steps.reached(node)) || !steps.running;
      shape(r.x, r.y + foreHeight, r.w, r.h - foreHeight, [0, 0, 7, 7], lit ? palette.lit : ready || failed ? backFill : palette.paper);
      c.fillStyle = palette.back[1];
      c.globalAlpha = 0.6;
      c.fillRect(r.x, r.y + foreHeight - 0.5, r.w, 1);
      c.globalAlpha = 1;
    }
    this.outline(box, r, line, lit);
    if (box.cluster && this.text) { // a second line: there is more inside
      c.beginPath();
      c.roundRect(r.x + 3, r.y + 3, r.w - 6, r.h - 6, 5);
      c.lineWidth = 1;
      c.strokeStyle = line;
      c.stroke();
    }
    if (this.text) {
      this.lines(fore, r, r.y, foreHeight, colour ? colour.text : null, null);
      this.lines(back, r, r.y + foreHeight, r.h - foreHeight, null, box);
    } else if (this.scale > 0.1) {
      c.textAlign = "center";
      c.textBaseline = "middle";
      this.write(crop(fore[0].text, Math.max(2, Math.floor(r.w / 14))), r.x + r.w / 2, r.y + foreHeight / 2, `600 22px ${FONT}`, colour ? colour.text : palette.text);
    }
    if (box.stub) this.stub(box);
  }

  outline(box, r, line, lit) {
    const { context: c, palette, app } = this;
    const ring = lit ? palette.glow : app.found.has(box) ? palette.found : app.selected && app.selected === (box.node || box.cluster) ? palette.text : null;
    const thin = Math.min(1, Math.max(this.scale, 0.15));
    c.beginPath();
    c.roundRect(r.x, r.y, r.w, r.h, 7);
    c.lineWidth = (ring ? 3 : app.hovered === box || (box.node && box.node.target) ? 2 : 1) / (ring ? thin : 1);
    c.strokeStyle = ring || (box.node && box.node.error ? palette.error[1] : line);
    c.stroke();
  }

  /* Lines of text in the middle of a cell. */
  lines(lines, r, top, height, colour, backward) {
    const { context: c, palette } = this, kinds = lines.map((one) => LINE[one.kind === "title" ? "title" : "small"]);
    let y = top + (height - kinds.reduce((a, b) => a + b, 0)) / 2;
    c.textBaseline = "middle";
    lines.forEach((one, i) => {
      const middle = y + kinds[i] / 2 + 0.5, font = FONTS[one.kind];
      const text = one.grad && backward ? this.gradText(backward, r) : one.text;
      const own = colour || (one.kind === "title" ? palette.text : backward ? palette.text : palette.muted);
      const width = textWidth(text, font) + (one.name ? textWidth("  " + one.name, FONTS.name) : 0), x = r.x + (r.w - width) / 2;
      c.textAlign = "left";
      this.write(text, x, middle, font, own);
      if (one.name) this.write("  " + one.name, x + textWidth(text, font), middle, FONTS.name, own);
      y += kinds[i];
    });
  }

  /* What is in a leaf's .grad now. */
  gradText(box, r) {
    const found = this.app.steps.arrived(box.node);
    if (!found) return ".grad";
    const lines = this.app.cards.gradientText({ value: found.total, stats: found.stats }), text = `.grad ${lines.length === 1 ? lines[0] : "✓"}`;
    return textWidth(text, FONTS.small) < r.w - 6 ? text : ".grad ✓";
  }

  stub(box) {
    const { context: c, palette, app } = this, { mode } = app.view, both = mode === "both";
    const end = box.along + box.h, start = this.sideways ? box.card.x + box.card.w : box.card.y + box.card.h;
    const across = box.across + box.w / 2, length = end - start;
    const line = (offset, colour, dash, way) => {
      const path = new Path2D();
      path.moveTo(...this.point(across + offset, start));
      path.lineTo(...this.point(across + offset, end));
      this.arrow(path, across + offset, way > 0 ? end : start, way);
      c.setLineDash(dash);
      c.lineWidth = 1.3;
      c.strokeStyle = colour;
      c.stroke(path);
      c.setLineDash([]);
    };
    const back = box.node.backward && mode !== "forward";
    if (mode !== "backward") line(both && back ? -APART : 0, palette.forward, [], 1);
    if (back) line(both ? APART : 0, palette.backward, [5, 4], -1);
    if (!this.text) return;
    const value = mode === "backward" ? [] : box.stub.value, gradient = mode === "forward" ? [] : box.stub.gradient;
    this.labels(box, across, start + 10, length - 8, value, gradient, value.length);
  }
}
