/* Colours: of kinds, of light and dark, and of a quantity. */

const PALETTES = {
  light: {
    paper: "#ffffff", text: "#1f2937", muted: "#5b6472", frame: "#cfd6df", frameFill: "rgba(100,116,139,0.055)",
    forward: "#2f6fb0", backward: "#c0661c", plain: "#8b93a0", recurrent: "#7a57b5", glow: "#e8590c", found: "#d6336c",
    operation: ["#eaf2fb", "#3b78b5"], module: ["#dce9f7", "#24588f"], summary: ["#dce9f7", "#24588f"], parameter: ["#e6f5ea", "#2f8f55"],
    leaf: ["#fff8db", "#b08a00"], input: ["#f1ecfa", "#7a57b5"], buffer: ["#e4f4f5", "#2b8c92"], constant: ["#f3f4f6", "#9aa1ac"],
    back: ["#fdf0e6", "#c96f26"], lit: "#ffd8a8", error: ["#fbe3e4", "#c0232c"], none: "#eceff3",
  },
  dark: {
    paper: "#12161c", text: "#e6e9ee", muted: "#a3adba", frame: "#3a4554", frameFill: "rgba(148,163,184,0.06)",
    forward: "#6cb0f0", backward: "#f0a05a", plain: "#78828f", recurrent: "#b79cf0", glow: "#ffa94d", found: "#ff8fb3",
    operation: ["#1b2c40", "#4f8fcb"], module: ["#20384f", "#6ca9e0"], summary: ["#20384f", "#6ca9e0"], parameter: ["#1a3325", "#4fb177"],
    leaf: ["#38310f", "#c9a52a"], input: ["#2c2440", "#9b7fd6"], buffer: ["#173335", "#48adb3"], constant: ["#232932", "#6d7683"],
    back: ["#3a2818", "#d98a45"], lit: "#8a4a12", error: ["#451c1f", "#e0565e"], none: "#232932",
  },
};

const KINDS = {
  operation: "operation", module: "module, folded", summary: "several, folded", parameter: "parameter", leaf: "leaf that wants a gradient",
  input: "input", buffer: "buffer", constant: "constant",
};

/* From little to much; readable with black or white text on it, and by the colour-blind. */
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

function ramp(t) {
  const at = Math.max(0, Math.min(0.9999, t)) * (RAMP.length - 1), i = Math.floor(at), part = at - i;
  const [r, g, b] = RAMP[i].map((one, k) => Math.round(one + (RAMP[i + 1][k] - one) * part));
  return { fill: `rgb(${r},${g},${b})`, text: 0.3 * r + 0.59 * g + 0.11 * b > 128 ? "#111111" : "#ffffff" };
}

const first = (stats) => stats.find((one) => one) || null;
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/* of: a node's number, or null; join: what a folded box shows of its nodes'; log: on a logarithmic scale. */
const SCALES = {
  gradient: { label: "gradient norm", of: (node) => (first(node.gradient_stats) || {}).norm ?? null, join: (all) => Math.max(...all), log: true, show: (x) => number(x, 3) },
  activation: {
    label: "activation, root mean square", log: true, join: (all) => Math.max(...all), show: (x) => number(x, 3),
    of: (node) => {
      const stats = node.operation ? first(node.stats) : null;
      return stats && stats.size ? stats.norm / Math.sqrt(stats.size) : null;
    },
  },
  zeros: { label: "share of zeros", of: (node) => (node.operation ? (first(node.stats) || {}).zeros ?? null : null), join: (all) => Math.max(...all), show: (x) => `${number(100 * x, 3)} %` },
  saved: { label: "bytes kept for backward", of: (node) => node.saved_bytes || null, join: sum, log: true, show: byteCount },
  time: {
    label: "time, forward + backward", join: sum, log: true, show: seconds,
    of: (node) => (node.time === null && node.backward_time === null ? null : (node.time || 0) + (node.backward_time || 0) || null),
  },
};

class Colouring {
  constructor(name, boxes, graph) {
    this.name = name;
    this.scale = SCALES[name];
    this.firstBad = graph.first_bad;
    this.of = new Map();
    if (!this.scale) return;
    for (const box of boxes) {
      const all = box.open ? [] : box.nodes.map(this.scale.of).filter((x) => x !== null && Number.isFinite(x));
      if (all.length) this.of.set(box, this.scale.join(all));
    }
    const shown = [...this.of.values()].filter((x) => !this.scale.log || x > 0);
    this.least = Math.min(...shown);
    this.most = Math.max(...shown);
    if (this.most / this.least < 1.001) this.least = this.most;
  }

  get empty() {
    return this.scale && !(this.most >= this.least);
  }

  /* {fill, text} of a box, or null for the colour of its kind. */
  colour(box, palette) {
    if (this.name === "nan") {
      const first = box.nodes.some((node) => node.id === this.firstBad);
      if (first) return { fill: "#e03131", text: "#ffffff" };
      const bad = box.nodes.find((node) => node.bad);
      return bad ? { fill: bad.bad === "value" ? "#f59f00" : "#fcc47a", text: "#111111" } : { fill: palette.none, text: palette.text };
    }
    if (!this.scale) return null;
    const x = this.of.get(box);
    if (x === undefined) return { fill: palette.none, text: palette.muted };
    if (this.scale.log && x <= 0) return { fill: "#000000", text: "#ffffff" };
    return ramp(this.part(x));
  }

  part(x) {
    if (this.least === this.most) return 1;
    return this.scale.log ? Math.log(x / this.least) / Math.log(this.most / this.least) : (x - this.least) / (this.most - this.least);
  }
}
