/* Coordinates across the flow: Brandes and Köpf, "Fast and simple horizontal coordinate assignment" (2001), with ports as in
   Rüegg et al. (2015). Four drawings, each pushed as far as it goes into one corner; the middle of the four is taken. Long wires
   come out straight, a node stands at the median of its neighbours, and boxes keep their distance: each of the four keeps it, and
   so does the mean of the middle two. */

class Across {
  constructor(level) {
    this.level = level;
    this.conflicts = this.findConflicts();
    this.led = new Set(level.straight.filter((e) => e.main && !e.direct).map((e) => e.t));
  }

  /* Where a wire that passes crosses one that ends here, the one that passes stays straight. */
  findConflicts() {
    const { level } = this, { layers, pos } = level, found = new Set();
    for (let i = 1; i < layers.length; i++) {
      const upper = layers[i - 1], lower = layers[i];
      let left = 0, scanned = 0;
      for (let j = 0; j < lower.length; j++) {
        const v = lower[j];
        const link = level.isDummy(v) && level.isDummy(level.above[v][0].u) ? level.above[v][0] : null;
        if (!link && j < lower.length - 1) continue;
        const right = link ? pos[link.u] : upper.length - 1;
        for (; scanned <= j; scanned++) {
          for (const other of level.above[lower[scanned]]) {
            const inner = level.isDummy(lower[scanned]) && level.isDummy(other.u);
            if (!inner && (pos[other.u] < left || pos[other.u] > right)) found.add(other.u * level.count + lower[scanned]);
          }
        }
        left = right;
      }
    }
    return found;
  }

  place() {
    const { count, width } = this.level, four = [];
    for (const down of [true, false]) {
      for (const rightwards of [true, false]) four.push(this.corner(down, rightwards));
    }
    const span = (xs) => {
      let least = Infinity, most = -Infinity;
      for (let v = 0; v < count; v++) {
        least = Math.min(least, xs[v]);
        most = Math.max(most, xs[v] + width[v]);
      }
      return [least, most];
    };
    const spans = four.map(span);
    const best = spans.reduce((b, [least, most], i) => (most - least < spans[b][1] - spans[b][0] ? i : b), 0);
    four.forEach((xs, i) => {
      const shift = i % 2 === 0 ? spans[best][0] - spans[i][0] : spans[best][1] - spans[i][1];
      for (let v = 0; v < count; v++) xs[v] += shift;
    });
    const middle = new Float64Array(count);
    let least = Infinity;
    for (let v = 0; v < count; v++) {
      const sorted = four.map((xs) => xs[v]).sort((a, b) => a - b);
      middle[v] = (sorted[1] + sorted[2]) / 2;
      least = Math.min(least, middle[v]);
    }
    for (let v = 0; v < count; v++) middle[v] -= least;
    return middle;
  }

  /* One of the four: nodes joined into blocks that stand in line, and the blocks pushed together. */
  corner(down, rightwards) {
    const { level, conflicts } = this, { count, width } = level;
    let layers = down ? level.layers : level.layers.slice().reverse();
    if (!rightwards) layers = layers.map((layer) => layer.slice().reverse());
    const pos = new Int32Array(count);
    for (const layer of layers) layer.forEach((v, i) => { pos[v] = i; });
    const mirror = (offset, v) => (rightwards ? offset : width[v] - offset);
    const root = Int32Array.from({ length: count }, (_, v) => v), aligned = new Uint8Array(count), taken = new Uint8Array(count);
    const shift = new Float64Array(count);
    for (const layer of layers) {
      let reached = -1;
      for (const v of layer) {
        const links = (down ? level.above[v] : level.below[v]).filter((link) => this.binding(link));
        if (!links.length) continue;
        const near = links
          .map((link) => {
            const u = down ? link.u : link.v, leaves = this.anchor(link.u, level.leaves(link));
            const arrives = this.anchor(down ? v : link.v, level.arrives(link));
            const [there, here] = down ? [leaves, arrives] : [arrives, leaves];
            return { u, there: mirror(there, u), here: mirror(here, v), key: link.u * count + (down ? v : link.v) };
          })
          .sort((a, b) => pos[a.u] - pos[b.u] || a.there - b.there);
        const half = (near.length - 1) / 2;
        for (const m of new Set([Math.floor(half), Math.ceil(half)])) {
          const { u, there, here, key } = near[m];
          if (aligned[v] || taken[u] || conflicts.has(key) || pos[u] <= reached) continue;
          aligned[v] = taken[u] = 1;
          root[v] = root[u];
          shift[v] = shift[u] + there - here;
          reached = pos[u];
        }
      }
    }
    const at = this.compact(layers, root, shift), found = new Float64Array(count);
    for (let v = 0; v < count; v++) {
      const left = at[root[v]] + shift[v];
      found[v] = rightwards ? left : -(left + width[v]);
    }
    return found;
  }

  /* The smallest places that keep blocks apart, by longest paths; then each block moves up to its neighbour. */
  compact(layers, root, shift) {
    const { level } = this, { count, width } = level;
    const after = Array.from({ length: count }, () => []), before = Array.from({ length: count }, () => []);
    const waiting = new Int32Array(count);
    for (const layer of layers) {
      for (let i = 1; i < layer.length; i++) {
        const u = layer[i - 1], v = layer[i], gap = this.gap(u, v);
        const distance = shift[u] + width[u] + gap - shift[v];
        after[root[u]].push([root[v], distance]);
        before[root[v]].push([root[u], distance]);
        waiting[root[v]]++;
      }
    }
    const order = [], at = new Float64Array(count), reach = new Float64Array(count); // how far a block goes before its root
    for (let v = 0; v < count; v++) {
      reach[root[v]] = Math.max(reach[root[v]], -shift[v]);
      if (root[v] === v && !waiting[v]) order.push(v);
    }
    for (let i = 0; i < order.length; i++) {
      const b = order[i];
      at[b] = before[b].reduce((most, [a, distance]) => Math.max(most, at[a] + distance), reach[b]);
      for (const [c] of after[b]) if (!--waiting[c]) order.push(c);
    }
    for (let i = order.length - 1; i >= 0; i--) {
      const b = order[i];
      if (after[b].length) at[b] = Math.max(at[b], after[b].reduce((least, [c, distance]) => Math.min(least, at[c] - distance), Infinity));
    }
    return at;
  }

  /* An item stands in line with its main input and with no other. */
  binding(link) {
    return !link.to || link.to.main || !this.led.has(link.to.t);
  }

  /* A box with things in it, or with several results, is lined up by its middle, whatever the place of its ports: else long rows
     would drift. */
  anchor(v, offset) {
    const item = this.level.items[v];
    return item && (item.open || item.centred) ? item.w / 2 : offset;
  }

  gap(u, v) {
    const { level } = this, { space } = level;
    return level.isDummy(u) || level.isDummy(v) ? Math.min(8, space.across) : space.across;
  }
}
