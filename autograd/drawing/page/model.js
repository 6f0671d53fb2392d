/* The graph, which of its boxes are folded, and from both what is to be drawn: boxes within boxes, and wires. */

// Boxes that a graph opens with at most, if folding can do it; and more, where it would otherwise be next to none.
const OPEN_LIMIT = 150, FEW = 10, MORE = 600;

class Model {
  constructor(graph) {
    this.graph = graph;
    this.nodes = graph.nodes;
    this.clusters = graph.clusters;
    this.ins = graph.nodes.map(() => []);
    this.outs = graph.nodes.map(() => []);
    for (const edge of graph.edges) {
      this.ins[edge.target].push(edge);
      this.outs[edge.source].push(edge);
    }
    // The backward passes, one after the other: what the first one made is differentiated by the second.
    this.order = graph.nodes.filter((node) => node.step !== null).sort((a, b) => a.layer - b.layer || a.step - b.step);
    this.turn = new Array(graph.nodes.length).fill(null); // of each node: its place in this order
    this.order.forEach((node, i) => { this.turn[node.id] = i; });
    this.inside = graph.clusters.map(() => []); // nodes anywhere within a cluster
    this.depth = graph.clusters.map(() => 0);
    graph.clusters.forEach((one, i) => { this.depth[i] = one.parent === null ? 1 : this.depth[one.parent] + 1; });
    for (const node of graph.nodes) for (let c = node.cluster; c !== null; c = graph.clusters[c].parent) this.inside[c].push(node);
    this.deepest = this.depth.reduce((most, d) => Math.max(most, d), 0);
    this.folded = new Set();
    this.foldTo(this.defaultDepth());
  }

  /* Fold what lies deeper than so many levels of boxes. */
  foldTo(depth) {
    this.folded = new Set(this.clusters.filter((_, i) => this.depth[i] > depth).map((one) => one.id));
  }

  defaultDepth() {
    for (let depth = this.deepest; depth >= 0; depth--) {
      const deeper = depth < this.deepest ? this.visibleCount() : Infinity;
      this.foldTo(depth);
      const count = this.visibleCount();
      if (count <= OPEN_LIMIT) return count < FEW && deeper <= MORE ? depth + 1 : depth;
    }
    return 0;
  }

  visibleCount() {
    const seen = new Set();
    for (const node of this.nodes) {
      const c = this.foldedAround(node);
      seen.add(c === null ? "n" + node.id : "c" + c);
    }
    return seen.size;
  }

  /* The outermost folded cluster around a node, or null. */
  foldedAround(node) {
    let found = null;
    for (let c = node.cluster; c !== null; c = this.clusters[c].parent) if (this.folded.has(c)) found = c;
    return found;
  }

  /* Unfold whatever hides the node. */
  reveal(node) {
    const before = this.folded.size;
    for (let c = node.cluster; c !== null; c = this.clusters[c].parent) this.folded.delete(c);
    return this.folded.size !== before;
  }

  name(node) {
    return node.name || node.operation || node.kind;
  }

  clusterName(cluster) {
    if (cluster.kind === "repeat") return cluster.what;
    const around = cluster.parent === null ? null : this.clusters[cluster.parent].path;
    const inner = around && cluster.path.startsWith(around + ".") ? cluster.path.slice(around.length + 1) : cluster.path;
    return (inner || cluster.what.split("(")[0] || "module") + (cluster.call ? `, call ${cluster.call + 1}` : "");
  }

  /* {root, boxes, wires} for layoutBoxes; `boxOf` maps the id of a node to the box in which it is seen. */
  visible() {
    const root = { parent: null, children: [], open: true }, inner = new Map(), boxes = [], boxOf = new Array(this.nodes.length);
    const around = (c) => {
      if (c === null) return root;
      if (!inner.has(c)) {
        const cluster = this.clusters[c], parent = around(cluster.parent);
        const box = { parent, children: [], open: !this.folded.has(c), cluster, nodes: this.inside[c] };
        inner.set(c, box);
        parent.children.push(box);
        boxes.push(box);
      }
      return inner.get(c);
    };
    for (const node of this.nodes) {
      const c = this.foldedAround(node);
      if (c !== null) boxOf[node.id] = around(c);
      else {
        const parent = around(node.cluster), box = { parent, children: [], open: false, node, nodes: [node] };
        parent.children.push(box);
        boxes.push(box);
        boxOf[node.id] = box;
      }
    }
    return { root, boxes, boxOf, wires: this.wires(boxOf) };
  }

  /* What goes into a node has a wire for each input; into a folded box, one for each value. */
  wires(boxOf) {
    const wires = [], merged = new Map();
    for (const edge of this.graph.edges) {
      const source = boxOf[edge.source], target = boxOf[edge.target];
      if (source === target && source.cluster) continue;
      const key = `${edge.source}.${edge.output}`;
      const name = target.cluster ? `${key}>${target.cluster.id}${edge.recurrent ? "~" : ""}` : null;
      if (name && merged.has(name)) {
        merged.get(name).edges.push(edge);
        continue;
      }
      const wire = { source, target, key, loop: edge.recurrent, edges: [edge] };
      if (name) merged.set(name, wire);
      wires.push(wire);
    }
    const led = new Map();
    for (const wire of wires) {
      const list = led.get(wire.target) || [];
      wire.pin = list.push(wire);
      led.set(wire.target, list);
    }
    for (const [box, list] of led) {
      box.pins = list;
      const main = list.find((wire) => wire.source.cluster || wire.source.node.operation) || list[0];
      main.main = true;
    }
    return wires;
  }

  /* The uses of a value through which its gradient comes, in the pass that computes it. */
  uses(node, output = null) {
    const fits = (edge) => edge.backward && !edge.recurrent && (output === null || edge.output === output);
    return this.outs[node.id].filter((edge) => fits(edge) && this.nodes[edge.target].layer <= node.layer);
  }

  /* The gradient that goes back along a wire. */
  wireGradient(wire) {
    const edge = wire.edges[0], backs = wire.edges.filter((one) => one.backward);
    if (!backs.length) return null;
    if (wire.edges.length === 1 && edge.gradient !== null) return { value: edge.gradient };
    const node = this.nodes[edge.source], uses = this.uses(node, edge.output);
    // What all uses give together is the node's gradient.
    return uses.length === backs.length && uses.every((one) => backs.includes(one)) ? this.gradient(node, edge.output) : null;
  }

  gradient(node, output = 0) {
    const value = node.gradients[output], stats = node.gradient_stats[output];
    if ((value === null || value === undefined) && !stats) return null;
    return { value, stats };
  }

  /* Nodes whose name, operation, module or source line has all the words in it. */
  search(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    return this.nodes.filter((node) => {
      const all = [node.name, node.operation, node.backward, node.module, node.source, node.code, node.kind].filter(Boolean).join(" ").toLowerCase();
      return words.every((word) => all.includes(word));
    });
  }
}
