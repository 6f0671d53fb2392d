/* What is written beside the drawing: the current step, what has come together in .grad, and everything about one node. */

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else made.setAttribute(name, value);
  }
  for (const child of children) if (child !== null && child !== undefined) made.append(child); // strings become text
  return made;
}

/* A number, or a small table of numbers; without them, what is known. */
function valueElement(value, otherwise = "…", digits = 4) {
  if (value === null || value === undefined) return element("span", { class: "unknown" }, otherwise);
  if (!Array.isArray(value)) return element("span", { class: "number" }, number(value, digits));
  const lines = Array.isArray(value[0]) ? innermost(value) : [value];
  const table = element("table", { class: "matrix" });
  for (const line of lines) table.append(element("tr", {}, ...line.map((one) => element("td", {}, number(one, digits)))));
  return element("span", { class: "wide" }, table);
}

function innermost(value) {
  return Array.isArray(value[0]) && Array.isArray(value[0][0]) ? value.flatMap(innermost) : value;
}

function equation(...parts) {
  return element("div", { class: "equation" }, ...parts.map((part) => (typeof part === "string" ? element("span", { class: "sign" }, part) : part)));
}

const MOST_LEAVES = 60;

class Panel {
  constructor(app) {
    this.app = app;
  }

  get subject() {
    return this.app.model.graph.subject;
  }

  derivative(node) {
    return `∂${this.subject}/∂${node.name || (node.operation ? `(${node.operation})` : node.kind)}`;
  }

  known(value, stats, shape) {
    return valueElement(value, stats ? `${shapeText(shape)}, norm ${number(stats.norm)}` : shapeText(shape));
  }

  /* The current step as equations. */
  step() {
    const { steps, model } = this.app, group = steps.current;
    if (!steps.count) return [element("p", {}, "There is no backward pass to step through: no gradient is known.")];
    if (!group) {
      const start = steps.running ? "Step forward to begin." : "Play it, or step through it with ← and →.";
      return [element("p", {}, `The backward pass takes ${plural(steps.count, "step")}. ${start}`)];
    }
    const out = [element("p", { class: "count" }, `Step ${steps.position} of ${steps.count}`)];
    if (group.box.cluster) {
      out.push(element("h3", {}, model.clusterName(group.box.cluster)), element("p", {}, `${plural(group.nodes.length, "backward operation")} of this box. Unfold it to see each.`));
      const [first] = group.nodes;
      out.push(element("p", { class: "label" }, `arrives: ${this.derivative(first)}`), equation(this.gradientOf(first)));
    } else for (const node of group.nodes) out.push(...this.nodeStep(node));
    return out;
  }

  gradientOf(node) {
    return this.known(node.gradients[0], node.gradient_stats[0], node.shapes[0]);
  }

  nodeStep(node) {
    const { model, steps } = this.app, out = [];
    const leaf = node.operation === null;
    out.push(element("h3", {}, leaf ? `${node.name || node.kind}.grad` : node.backward));
    if (!leaf) out.push(element("p", { class: "code" }, [node.name, node.code || node.operation].filter(Boolean).join(" = ")));
    const uses = model.uses(node);
    const name = this.derivative(node);
    if (leaf) {
      out.push(element("p", { class: "label" }, uses.length > 1 ? `${plural(uses.length, "gradient")} flow in here, and add up in .grad:` : "flows into .grad:"));
      out.push(this.sumOf(uses, node));
      return out;
    }
    if (uses.length > 1) {
      out.push(element("p", { class: "label" }, `arrives: ${name}, the sum over ${uses.length} uses`), this.sumOf(uses, node));
    } else {
      out.push(element("p", { class: "label" }, `arrives: ${name}`), equation(this.gradientOf(node)));
      if (node.target && !uses.length) out.push(element("p", { class: "hint" }, "The backward pass begins here, with 1."));
    }
    if (node.error) out.push(element("p", { class: "error" }, node.error));
    const ins = model.ins[node.id].filter((edge) => edge.backward && !edge.recurrent);
    if (ins.length) out.push(element("p", { class: "label" }, "incoming gradient × local derivative = outgoing gradient"));
    for (const edge of ins) out.push(this.through(node, edge));
    if (steps.position === steps.count) out.push(element("p", { class: "hint" }, "The backward pass is done."));
    return out;
  }

  sumOf(edges, node) {
    const parts = edges.slice(0, 8).flatMap((edge, i) => [...(i ? ["+"] : []), this.known(edge.gradient, null, edge.shape)]);
    if (edges.length > 8) parts.push(`+ ${edges.length - 8} more`);
    return edges.length > 1 ? equation(...parts, "=", this.gradientOf(node)) : equation(this.gradientOf(node));
  }

  through(node, edge) {
    const { model } = this.app, source = model.nodes[edge.source];
    const to = element("p", { class: "to" }, `to ${source.name || source.operation || source.kind}`, element("small", {}, ` (input ${edge.input})`));
    const stats = model.uses(source).length === 1 ? source.gradient_stats[edge.output] : null;
    const result = this.known(edge.gradient, stats, edge.shape);
    const incoming = valueElement(node.gradients[0], "g");
    const row = edge.factor !== null && node.gradients[0] !== null && edge.gradient !== null
      ? equation(incoming, "×", valueElement(edge.factor), "=", result)
      : equation(element("span", { class: "unknown" }, `g → ${node.backward} →`), result);
    return element("div", { class: "through" }, to, row);
  }

  /* One row for each leaf: what has come, and what .grad is. */
  leaves() {
    const { steps } = this.app, leaves = steps.leaves();
    const table = element("div", {});
    for (const node of leaves.slice(0, MOST_LEAVES)) {
      const found = steps.arrived(node), cell = element("div", { class: "grad" });
      if (found) {
        const parts = found.parts;
        if (parts.length > 1 && parts.length < 5 && parts.every((one) => one !== null && !Array.isArray(one))) {
          cell.append(element("span", { class: "sum" }, parts.map((one) => number(one)).join(" + ").replace(/\+ −/g, "− ") + " = "));
        }
        cell.append(this.known(found.total, found.stats, node.shapes[0]));
        if (!found.complete) cell.append(element("span", { class: "unknown" }, parts.length ? " so far" : ""));
      } else cell.append(element("span", { class: "unknown" }, "none yet"));
      const current = steps.current && steps.current.nodes.includes(node);
      const name = element("div", { class: "name" }, node.name || node.kind);
      const row = element("div", { "data-leaf": node.name || node.kind, class: current ? "leaf current" : "leaf" }, name, cell);
      name.addEventListener("click", () => this.app.jump(node));
      table.append(row);
    }
    return leaves.length ? [table, leaves.length > MOST_LEAVES ? element("p", { class: "hint" }, `and ${plural(leaves.length - MOST_LEAVES, "leaf").replace("leafs", "leaves")} more`) : ""] : [];
  }

  /* All attributes of a node or a cluster. */
  details(one) {
    return one.kind === "repeat" || (one.path !== undefined && one.parent !== undefined) ? this.clusterDetails(one) : this.nodeDetails(one);
  }

  rows(entries) {
    const table = element("table", { class: "facts" });
    for (const [name, value] of entries) {
      if (value === null || value === undefined || value === "" || value === false) continue;
      table.append(element("tr", {}, element("th", {}, name), element("td", {}, typeof value === "object" ? value : String(value))));
    }
    return table;
  }

  clusterDetails(cluster) {
    const { model } = this.app, nodes = model.inside[cluster.id], total = (what) => nodes.reduce((all, node) => all + (what(node) || 0), 0);
    const parameters = nodes.filter((node) => node.kind === "parameter");
    const size = parameters.reduce((all, node) => all + node.shapes[0].reduce((a, b) => a * b, 1), 0);
    return [
      element("h3", {}, model.clusterName(cluster)),
      this.rows([
        ["module", cluster.path], ["what", cluster.what], ["call", cluster.call ? cluster.call + 1 : null], ["repeated", cluster.times > 1 ? `× ${cluster.times}` : null],
        ["operations", total((node) => (node.operation ? node.count : 0))], ["parameters", parameters.length ? `${parameters.length}, ${plural(size, "number")}` : null],
        ["saved", byteCount(total((node) => node.saved_bytes))], ["forward", timeText(total((node) => node.time))], ["backward", timeText(total((node) => node.backward_time))],
      ]),
    ];
  }

  nodeDetails(node) {
    const several = node.shapes.length > 1, entries = [];
    const saved = element("table", { class: "facts" });
    for (const one of node.saved.slice(0, 12)) saved.append(element("tr", {}, element("td", {}, one.name), element("td", {}, shapeText(one.shape)), element("td", {}, byteCount(one.bytes))));
    entries.push(
      ["kind", KINDS[node.kind] || node.kind], ["operation", node.operation], ["backward", node.backward], ["module", node.module],
      ["line", node.source], ["code", node.code], ["stands for", node.count > 1 ? plural(node.count, "operation") : null], ["repeated", node.times > 1 ? `× ${node.times}` : null],
      ["memory", node.alias], ["layer", node.layer ? `made by backward pass ${node.layer}` : null], ["gradient of", node.of === null ? null : this.app.model.name(this.app.model.nodes[node.of])],
      ["step", node.step === null ? null : this.app.model.turn[node.id] + 1], ["forward", timeText(node.time)], ["backward time", timeText(node.backward_time)],
      ["not finite", node.bad], ["error", node.error], ["drawn output", node.target ? "yes" : null],
    );
    node.shapes.forEach((shape, i) => {
      const which = several ? ` ${i}` : "";
      entries.push([`shape${which}`, `${shapeText(shape)} ${node.dtypes[i] || ""}`]);
      if (node.values[i] !== null) entries.push([`value${which}`, valueElement(node.values[i], "", 6)]);
      if (node.stats[i] && node.stats[i].size > 1) entries.push([`statistics${which}`, this.statistics(node.stats[i])]);
      if (node.gradients[i] !== null) entries.push([`gradient${which}`, valueElement(node.gradients[i], "", 6)]);
      if (node.gradient_stats[i] && node.gradient_stats[i].size > 1) entries.push([`gradient statistics${which}`, this.statistics(node.gradient_stats[i])]);
      if (node.second[i] !== null && node.second[i] !== undefined) entries.push([`second derivative${which}`, valueElement(node.second[i], "", 6)]);
    });
    if (node.saved.length) entries.push([node.freed ? "kept, freed" : `keeps ${byteCount(node.saved_bytes)}`, saved]);
    else if (node.freed && node.operation) entries.push(["kept", "freed"]);
    return [element("h3", {}, [node.name, node.operation].filter(Boolean).join(" = ") || node.kind), this.rows(entries)];
  }

  statistics(stats) {
    const share = (x) => (x ? `${number(100 * x, 3)} %` : "0");
    return this.rows([
      ["mean", number(stats.mean)], ["std", number(stats.std)], ["min", number(stats.min)], ["max", number(stats.max)], ["norm", number(stats.norm)],
      ["zeros", share(stats.zeros)], ["NaN", stats.nan ? share(stats.nan) : null], ["inf", stats.inf ? share(stats.inf) : null], ["elements", stats.size.toLocaleString("en")],
    ]);
  }
}

function timeText(time) {
  return time ? seconds(time) : null;
}
