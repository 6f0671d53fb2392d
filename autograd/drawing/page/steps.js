/* The backward pass, step by step. A step is a box that is seen: a folded box is one step, whatever it holds. */

class Steps {
  constructor(model, boxOf) {
    this.model = model;
    this.boxOf = boxOf;
    this.groups = [];
    for (const node of model.order) {
      const box = boxOf[node.id], last = this.groups[this.groups.length - 1];
      if (last && last.box === box) last.nodes.push(node);
      else this.groups.push({ box, nodes: [node] });
    }
    this.position = this.groups.length; // how many are done
    this.running = false; // whether the reader has begun: before, everything is shown and nothing lit
  }

  get count() {
    return this.groups.length;
  }

  /* How many nodes are done. */
  get done() {
    if (!this.position) return 0;
    const { nodes } = this.groups[this.position - 1];
    return this.model.turn[nodes[nodes.length - 1].id] + 1;
  }

  set done(done) {
    const next = this.groups.findIndex((group) => this.model.turn[group.nodes[0].id] >= done);
    this.position = next < 0 ? this.count : next;
  }

  get current() {
    return this.running && this.position ? this.groups[this.position - 1] : null;
  }

  reached(node) {
    const turn = this.model.turn[node.id];
    return turn !== null && turn < this.done;
  }

  /* A gradient has gone back along the edge once its target was visited. */
  passed(edge) {
    return edge.backward && this.reached(this.model.nodes[edge.target]);
  }

  /* What flows into a node, as far as it has come. */
  contributions(node) {
    return this.model.uses(node).filter((edge) => this.passed(edge));
  }

  /* The sum of what has come so far, if all of it is known; null otherwise. */
  sum(edges) {
    const all = edges.map((edge) => edge.gradient);
    if (!all.length || all.some((one) => one === null)) return null;
    return all.reduce((a, b) => (a === null ? null : combine(a, b, (x, y) => x + y)));
  }

  /* {parts, total, stats, complete} of the gradient at a node now, or null: its parts are what its uses sent. */
  arrived(node) {
    const edges = this.contributions(node), parts = edges.map((edge) => edge.gradient), whole = this.model.gradient(node);
    const complete = this.reached(node) || (edges.length > 0 && edges.length === this.model.uses(node).length);
    if (complete) return { parts, total: whole && whole.value, stats: whole && whole.stats, complete };
    return edges.length ? { parts, total: this.sum(edges), stats: null, complete } : null;
  }

  leaves() {
    return this.model.nodes.filter((node) => node.operation === null && node.backward && node.kind !== "module");
  }
}
