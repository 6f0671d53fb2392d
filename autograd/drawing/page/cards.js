/* What stands on a box, and how large it is. */

const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
const FONTS = { title: `600 13px ${FONT}`, name: `italic 13px ${FONT}`, small: `11px ${FONT}`, code: `italic 11px ${FONT}`, wire: `500 11.5px ${FONT}` };
const LINE = { title: 18, small: 15 }, WIRE_LINE = 14, PADDING = 9;
const MOST_LABELLED = 6; // inputs with labels on their wires

const measured = new Map();
let measuring = null;
function textWidth(text, font) {
  const key = font + text;
  if (!measured.has(key)) {
    measuring = measuring || document.createElement("canvas").getContext("2d");
    measuring.font = font;
    measured.set(key, measuring.measureText(text).width);
  }
  return measured.get(key);
}

class Cards {
  /* view: {mode: "both" | "forward" | "backward", sideways: whether the flow goes to the right} */
  constructor(model, view) {
    this.model = model;
    this.view = view;
  }

  /* Sets w, h, slots, inset of every box, and the labels of every wire. */
  size(visible) {
    for (const wire of visible.wires) this.label(wire);
    const used = new Set(visible.wires.map((wire) => wire.source));
    for (const box of visible.boxes) {
      if (box.open) this.frame(box);
      else this.card(box, used.has(box));
    }
    Object.assign(visible.root, { w: 0, h: 0, pad: { before: 16, after: 16, start: 16, end: 16 } });
  }

  frame(box) {
    const { sideways } = this.view, { cluster } = box, what = cluster.kind === "module" ? cluster.what : "drawn once";
    const name = this.model.clusterName(cluster);
    const sub = what.split("(")[0] === name ? what.slice(name.length) : what;
    box.title = name;
    box.sub = crop(sub, 40);
    const width = textWidth("▾ " + box.title, FONTS.title) + (sub ? textWidth("  " + box.sub, FONTS.small) : 0) + 24;
    box.pad = sideways ? { before: 30, after: 12, start: 14, end: 14 } : { before: 14, after: 14, start: 28, end: 12 };
    box.w = sideways ? 0 : width;
    box.h = sideways ? width : 0;
  }

  card(box, used) {
    const { sideways, mode } = this.view;
    box.lines = box.cluster ? this.clusterLines(box) : this.nodeLines(box.node);
    if (mode === "forward") box.lines.back = [];
    if (mode === "backward" && box.lines.back.length) box.lines.fore = box.lines.fore.slice(0, 1);
    const all = [...box.lines.fore, ...box.lines.back];
    const width = Math.ceil(all.reduce((most, line) => Math.max(most, this.lineWidth(line)), 40)) + 2 * PADDING;
    const height = (lines) => (lines.length ? lines.reduce((sum, line) => sum + LINE[line.kind === "title" ? "title" : "small"], 0) + 8 : 0);
    box.foreHeight = height(box.lines.fore) + (box.cluster ? 3 : 0);
    const tall = box.foreHeight + height(box.lines.back) + (box.cluster && box.lines.back.length ? 3 : 0);
    const pins = box.pins || [], labelled = pins.length <= MOST_LABELLED;
    const sizes = labelled ? pins.map((wire) => this.labelSize(wire.value, wire.gradient)) : [];
    // The last wire ends in a stub with the result, and the gradient 1 that the backward pass begins with.
    box.stub = used || box.cluster || !box.node.target ? null : this.stub(box.node);
    const stub = box.stub ? this.labelSize(box.stub.value, box.stub.gradient) : { w: 0, h: 0, half: 0 };
    const most = (name) => sizes.reduce((m, one) => Math.max(m, one[name]), 0);
    if (sideways) {
      box.slots = labelled ? Math.max(14, 2 * most("half") + 6) : 11;
      box.inset = labelled && most("w") ? most("w") + 14 : 8;
      box.cardW = width;
      box.cardH = Math.max(tall, box.slots * pins.length);
      box.w = Math.max(box.cardH, 2 * stub.half);
      box.h = box.inset + box.cardW + (box.stub ? stub.w + 20 : 0);
    } else {
      box.slots = labelled ? Math.max(16, most("w") + 14) : 11;
      box.inset = labelled && most("h") ? most("h") + 6 : 8;
      box.cardW = Math.max(width, box.slots * pins.length);
      box.cardH = tall;
      box.w = box.cardW;
      box.h = box.inset + box.cardH + (box.stub ? stub.h + 14 : 0);
    }
    box.tall = tall;
  }

  lineWidth(line) {
    const font = FONTS[line.kind];
    return textWidth(line.text, font) + (line.name ? textWidth("  " + line.name, FONTS.name) : 0);
  }

  labelSize(value, gradient) {
    const { mode } = this.view;
    const lines = [...(mode === "backward" ? [] : value), ...(mode === "forward" ? [] : gradient)];
    return {
      w: lines.reduce((most, line) => Math.max(most, textWidth(line, FONTS.wire)), 0),
      h: lines.length * WIRE_LINE,
      half: Math.max(mode === "backward" ? 0 : value.length, mode === "forward" ? 0 : gradient.length) * WIRE_LINE + 3,
    };
  }

  label(wire) {
    const edge = wire.edges[0], node = this.model.nodes[edge.source], shape = shapeText(edge.shape);
    const value = node.values[edge.output], scalar = edge.shape && !edge.shape.length;
    wire.value = wireText(value, scalar ? null : shape);
    wire.gradient = this.gradientText(this.model.wireGradient(wire));
  }

  gradientText(found) {
    if (!found) return [];
    const norm = found.stats ? found.stats.norm : Array.isArray(found.value) ? Math.hypot(...found.value.flat(Infinity)) : null;
    return wireText(found.value, norm === null ? null : `‖g‖ ${number(norm, 3)}`);
  }

  stub(node) {
    const scalar = node.shapes[0] && !node.shapes[0].length;
    return {
      value: wireText(node.values[0], scalar ? null : shapeText(node.shapes[0])),
      gradient: node.backward ? this.gradientText(this.model.gradient(node)) : [],
    };
  }

  nodeLines(node) {
    const fore = [], back = [], shape = node.shapes.map((one, i) => `${shapeText(one)} ${node.dtypes[i] || ""}`).join(", ");
    const operation = node.operation !== null;
    const name = node.name ? crop(node.name, 30) : "";
    if (node.kind === "module" || node.kind === "summary") {
      fore.push({ kind: "title", text: name || crop(node.operation, 30) });
      if (name) fore.push({ kind: "small", text: crop(node.operation, 36) });
      fore.push({ kind: "small", text: plural(node.count, "operation") });
    } else if (operation) fore.push({ kind: "title", text: crop(node.operation, 30), name });
    else if (name) fore.push({ kind: "title", text: name });
    else if (node.shapes[0] && !node.shapes[0].length) fore.push({ kind: "title", text: wireText(node.values[0], node.kind)[0] });
    else fore.push({ kind: "title", text: node.kind });
    if (node.times > 1) fore[0].text += `  × ${node.times}`;
    if (!(node.kind === "constant" && node.shapes[0] && !node.shapes[0].length)) fore.push({ kind: "small", text: crop(shape, 42) });
    if (node.code) fore.push({ kind: "code", text: crop(node.code, 34) });
    if (node.alias) fore.push({ kind: "small", text: node.alias === "view" ? "view: same memory" : "written in place" });
    if (node.backward) {
      if (operation) {
        back.push({ kind: "small", text: node.backward });
        if (node.error) back.push({ kind: "small", text: crop(node.error, 40) });
        else if (node.saved_bytes) back.push({ kind: "small", text: node.freed ? "freed" : `keeps ${byteCount(node.saved_bytes)}` });
      } else back.push({ kind: "small", text: ".grad", grad: true });
    }
    return { fore, back };
  }

  clusterLines(box) {
    const { cluster, nodes } = box, name = this.model.clusterName(cluster);
    const operations = nodes.reduce((sum, node) => sum + (node.operation ? node.count : 0), 0);
    const sub = cluster.what.split("(")[0] === name ? cluster.what.slice(name.length) : cluster.what;
    const fore = [{ kind: "title", text: "▸ " + crop(name, 30) }];
    if (sub && cluster.kind === "module") fore.push({ kind: "small", text: crop(sub, 38) });
    fore.push({ kind: "small", text: plural(operations, "operation") });
    const back = [];
    if (nodes.some((node) => node.operation && node.backward)) {
      const saved = nodes.reduce((sum, node) => sum + node.saved_bytes, 0);
      back.push({ kind: "small", text: "backward" + (saved ? ` · keeps ${byteCount(saved)}` : "") });
    }
    return { fore, back };
  }
}
