/* One level of a layered drawing (Sugiyama, Tagawa and Toda 1981): ranks, an order within each rank with few crossings,
   coordinates. Everything here is in two directions: `along` the flow, from rank to rank, and `across` it. The caller decides
   which of them is x.

   An item is {w, h, fixed, slots, inset}: w across, h along; fixed "first" or "last" for a port in the frame; slots: the width
   that each incoming edge takes, for an item whose inputs are put in order here. An edge is {s, t, key, from, to, loop, main}: items,
   the wire it is part of, where it leaves and arrives (measured across, from the item's start), whether it leads back, and whether
   it is the input that the item's output should stand in line with.

   Edges of one wire share their way as far as they go together, so that a value used in a thousand places is one trunk with a
   thousand branches and not a thousand lines. Wires turn only between ranks, where there are no boxes: none crosses a box. */

const LANE = 12; // what a wire takes across where it passes through a rank
const MOST_DUMMIES = 60000;

function layoutLevel(items, edges, space) {
  const level = new Level(items, edges, space);
  level.findLoops();
  level.rank();
  level.addDummies();
  level.order();
  level.placeSlots();
  const across = new Across(level).place();
  level.assign(across);
  level.route();
  return level;
}

class Level {
  constructor(items, edges, space) {
    this.items = items;
    this.edges = edges;
    this.space = space; // {rank, across}: least distances
    this.pieces = [];
  }

  /* Edges that close a circle lead back, and are drawn around the rest. */
  findLoops() {
    const n = this.items.length, state = new Uint8Array(n), topological = [];
    const out = Array.from({ length: n }, () => []);
    for (const e of this.edges) {
      e.loop = e.loop || e.s === e.t;
      if (!e.loop) out[e.s].push(e);
    }
    for (let root = 0; root < n; root++) {
      if (state[root]) continue;
      const stack = [[root, 0]];
      state[root] = 1;
      while (stack.length) {
        const top = stack[stack.length - 1], v = top[0];
        if (top[1] < out[v].length) {
          const e = out[v][top[1]++];
          if (state[e.t] === 1) e.loop = true;
          else if (!state[e.t]) {
            state[e.t] = 1;
            stack.push([e.t, 0]);
          }
        } else {
          state[v] = 2;
          topological.push(v);
          stack.pop();
        }
      }
    }
    this.topological = topological.reverse();
    this.straight = this.edges.filter((e) => !e.loop);
    this.loops = this.edges.filter((e) => e.loop);
  }

  /* Longest paths; then each item moves towards where more of its wires go, as far as its neighbours let it. */
  rank() {
    const { items, topological } = this, n = items.length;
    const ins = Array.from({ length: n }, () => []), outs = Array.from({ length: n }, () => []);
    for (const e of this.straight) {
      ins[e.t].push(e.s);
      outs[e.s].push(e.t);
    }
    const rank = new Int32Array(n), begin = items.some((one) => one.fixed === "first") ? 1 : 0;
    const low = (v) => ins[v].reduce((most, u) => Math.max(most, rank[u] + 1), begin);
    const high = (v) => outs[v].reduce((least, u) => Math.min(least, rank[u] - 1), Infinity);
    for (const v of topological) rank[v] = items[v].fixed === "first" ? 0 : low(v);
    const last = rank.reduce((most, r, v) => Math.max(most, r + (items[v].fixed === "last" ? 0 : 1)), 0);
    items.forEach((one, v) => { if (one.fixed === "last") rank[v] = last; });
    for (let round = 0; round < 3; round++) {
      for (let i = n - 1; i >= 0; i--) {
        const v = topological[i];
        if (!items[v].fixed && outs[v].length && outs[v].length > ins[v].length) rank[v] = high(v);
      }
      for (const v of topological) {
        if (!items[v].fixed && ins[v].length && ins[v].length > outs[v].length) rank[v] = low(v);
      }
    }
    const used = [...new Set(rank)].sort((a, b) => a - b), place = new Map(used.map((r, i) => [r, i]));
    this.rankOf = Array.from(rank, (r) => place.get(r));
    this.ranks = Math.max(1, used.length);
  }

  /* A place in every rank that a wire passes. Past the limit the longest wires go straight, underneath the boxes. */
  addDummies() {
    const { rankOf } = this;
    let reach = Infinity;
    const spans = new Map();
    for (const e of this.straight) spans.set(e.key + ":" + e.s, Math.max(spans.get(e.key + ":" + e.s) || 0, rankOf[e.t] - rankOf[e.s]));
    const total = (limit) => [...spans.values()].reduce((sum, span) => sum + (span <= limit ? span : 0), 0);
    for (reach = this.ranks; reach > 20 && total(reach) > MOST_DUMMIES; ) reach = Math.floor(reach / 2);
    this.width = this.items.map((one) => one.w);
    this.above = this.items.map(() => []); // of each place: [place in the rank before, where it leaves that, where it arrives]
    this.dummyOf = []; // number of the dummy -> the dummy or item before it
    const trunks = new Map();
    for (const e of this.straight) {
      const name = e.key + ":" + e.s;
      e.direct = rankOf[e.t] - rankOf[e.s] > Math.max(1, reach);
      if (e.direct) continue;
      let trunk = trunks.get(name);
      if (!trunk) trunks.set(name, (trunk = [e.s]));
      while (trunk.length < rankOf[e.t] - rankOf[e.s]) {
        const before = trunk[trunk.length - 1], v = this.width.length;
        this.width.push(LANE);
        this.above.push([{ u: before, from: before === e.s ? e : null, to: null }]);
        rankOf.push(rankOf[before] + 1);
        this.dummyOf[v] = { before, first: e };
        trunk.push(v);
      }
      const before = trunk[rankOf[e.t] - rankOf[e.s] - 1];
      e.before = before;
      this.above[e.t].push({ u: before, from: before === e.s ? e : null, to: e });
    }
    this.count = this.width.length;
    this.below = Array.from({ length: this.count }, () => []);
    for (let v = 0; v < this.count; v++) for (const link of this.above[v]) this.below[link.u].push({ ...link, v });
  }

  isDummy(v) {
    return v >= this.items.length;
  }

  /* Where a link leaves the place before, and where it arrives, measured across from the start of each. */
  leaves(link) {
    return link.from ? link.from.from : LANE / 2;
  }

  arrives(link) {
    return link.to ? link.to.to : LANE / 2;
  }

  /* Barycentres, forth and back; the order with the fewest crossings is kept. A tree comes out right from the first order. */
  order() {
    const layers = Array.from({ length: this.ranks }, () => []);
    const seen = new Uint8Array(this.count), place = (this.pos = new Int32Array(this.count));
    const sinks = [];
    for (let v = 0; v < this.count; v++) if (!this.below[v].length) sinks.push(v);
    sinks.sort((a, b) => (this.rankOf[b] - this.rankOf[a]) || a - b);
    for (const root of sinks.concat([...seen.keys()])) {
      if (seen[root]) continue;
      seen[root] = 1;
      const stack = [root];
      while (stack.length) {
        const v = stack.pop();
        layers[this.rankOf[v]].push(v);
        for (let i = this.above[v].length - 1; i >= 0; i--) {
          const u = this.above[v][i].u;
          if (!seen[u]) {
            seen[u] = 1;
            stack.push(u);
          }
        }
      }
    }
    const number = () => layers.forEach((layer) => layer.forEach((v, i) => { place[v] = i; }));
    number();
    let best = layers.map((layer) => layer.slice()), least = this.crossings(layers);
    const rounds = this.count < 1500 ? 16 : this.count < 8000 ? 6 : 2;
    for (let round = 0, stale = 0; round < rounds && least && stale < 4; round++) {
      const down = round % 2 === 0;
      for (let i = 1; i < layers.length; i++) this.sortLayer(layers[down ? i : layers.length - 1 - i], down);
      const found = this.crossings(layers);
      stale = found < least ? 0 : stale + 1;
      if (found < least) {
        least = found;
        best = layers.map((layer) => layer.slice());
      }
    }
    this.layers = best;
    layers.splice(0, layers.length, ...best);
    number();
  }

  sortLayer(layer, down) {
    const place = this.pos, weight = new Map();
    layer.forEach((v, i) => {
      const links = down ? this.above[v] : this.below[v];
      let sum = 0;
      for (const link of links) {
        const other = down ? link.u : link.v, offset = down ? this.leaves(link) : this.arrives(link);
        sum += place[other] + (this.isDummy(other) || offset === undefined ? 0.5 : offset / (this.width[other] || 1));
      }
      weight.set(v, links.length ? sum / links.length : null);
    });
    // What has no neighbour there keeps its place; the others are sorted into the places left.
    const moving = layer.filter((v) => weight.get(v) !== null).sort((a, b) => weight.get(a) - weight.get(b) || place[a] - place[b]);
    let next = 0;
    for (let i = 0; i < layer.length; i++) if (weight.get(layer[i]) !== null) layer[i] = moving[next++];
    layer.forEach((v, i) => { place[v] = i; });
  }

  /* Pairs of wires that cross, counted as inversions with a tree of partial sums. */
  crossings(layers) {
    let total = 0;
    const place = this.pos;
    for (let i = 1; i < layers.length; i++) {
      const size = layers[i - 1].length, tree = new Int32Array(size + 1);
      let inserted = 0;
      for (const v of layers[i]) {
        const ends = this.above[v].map((link) => place[link.u]);
        for (const end of ends) {
          let before = 0;
          for (let k = end + 1; k > 0; k -= k & -k) before += tree[k];
          total += inserted - before;
        }
        for (const end of ends) {
          inserted++;
          for (let k = end + 1; k <= size; k += k & -k) tree[k]++;
        }
      }
    }
    return total;
  }

  /* The inputs of an item in the order in which their wires arrive, and its outputs in that in which theirs leave. */
  placeSlots() {
    const { items, pos } = this, ins = items.map(() => []), outs = items.map(() => []);
    for (const e of this.edges) {
      if (items[e.t].slots) ins[e.t].push(e);
      if (items[e.s].slots) outs[e.s].push(e);
    }
    const entry = (e) => (e.loop ? Infinity : e.direct ? pos[e.s] : pos[e.before] + (e.before === e.s ? (e.from || 0) / 1e6 : 0));
    items.forEach((item, v) => {
      if (!item.slots) return;
      const wires = [...new Set(outs[v].map((e) => e.key))];
      const first = new Map();
      for (const link of this.below[v]) {
        const key = (link.from || {}).key;
        if (key !== undefined) first.set(key, Math.min(first.get(key) ?? Infinity, pos[link.v]));
      }
      wires.sort((a, b) => (first.get(a) ?? Infinity) - (first.get(b) ?? Infinity));
      for (const e of outs[v]) e.from = (item.w * (wires.indexOf(e.key) + 1)) / (wires.length + 1);
      ins[v].sort((a, b) => entry(a) - entry(b) || (a.pin || 0) - (b.pin || 0));
      let at = (item.w - item.slots * ins[v].length) / 2;
      for (const e of ins[v]) {
        e.to = at + item.slots / 2;
        at += item.slots;
      }
      item.centred = wires.length > 1;
      // One result goes on in line with the main input: then a chain is straight.
      const main = wires.length === 1 && ins[v].find((e) => e.main && !e.loop);
      if (main) for (const e of outs[v]) e.from = main.to;
    });
  }

  /* Where everything is: `across` from Across, along from the ranks. */
  assign(across) {
    const { items, layers, space } = this;
    this.across = across;
    const heights = layers.map((layer) => layer.reduce((most, v) => Math.max(most, this.isDummy(v) ? 0 : items[v].h), 0));
    const begin = new Float64Array(this.ranks), end = new Float64Array(this.ranks);
    const entered = new Uint8Array(items.length);
    for (const e of this.edges) entered[e.t] = 1;
    const loopy = new Uint8Array(this.ranks + 1); // ranks with a wire that leads back in the gap before them
    for (const e of this.loops) loopy[this.rankOf[e.t]] = loopy[this.rankOf[e.s] + 1] = 1;
    let along = loopy[0] ? 22 : 0;
    for (let r = 0; r < this.ranks; r++) {
      if (r) {
        let most = 0;
        for (const v of layers[r]) {
          for (const link of this.above[v]) {
            most = Math.max(most, Math.abs(across[v] + this.arrives(link) - across[link.u] - this.leaves(link)));
          }
        }
        const ports = layers[r].every((v) => !this.isDummy(v) && items[v].fixed) || layers[r - 1].every((v) => !this.isDummy(v) && items[v].fixed);
        along += Math.min(space.rank * 3, (ports ? 6 : space.rank) + most * 0.09) + (loopy[r] ? 22 : 0);
      }
      begin[r] = along;
      along = end[r] = along + heights[r];
    }
    this.begin = begin;
    this.end = end;
    this.length = along + (loopy[this.ranks] ? 22 : 0);
    items.forEach((item, v) => {
      const r = this.rankOf[v];
      item.across = across[v];
      item.along = entered[v] ? begin[r] : end[r] - item.h;
    });
    this.breadth = 0;
    for (let v = 0; v < this.count; v++) this.breadth = Math.max(this.breadth, across[v] + this.width[v]);
  }

  /* A piece of wire: along from y0 to y1 at x0, a turn to x1 at y2, along to y3. `parent` is the piece that comes before it. */
  route() {
    const { items, across, begin, end } = this, pieceTo = new Map();
    const piece = (fields) => {
      this.pieces.push(fields);
      return fields;
    };
    const exit = (e) => ({ x0: across[e.s] + e.from, y0: items[e.s].along + items[e.s].h, y1: end[this.rankOf[e.s]] });
    for (let v = items.length; v < this.count; v++) {
      const { before, first } = this.dummyOf[v], x1 = across[v] + LANE / 2, r = this.rankOf[v];
      const start = this.isDummy(before)
        ? { x0: across[before] + LANE / 2, y0: end[r - 1], y1: end[r - 1], parent: pieceTo.get(before) }
        : { ...exit(first), parent: null };
      pieceTo.set(v, piece({ ...start, x1, y2: begin[r], y3: end[r], starts: this.isDummy(before) ? null : first }));
    }
    for (const e of this.straight) {
      const item = items[e.t], r = this.rankOf[e.t], trunk = e.direct ? null : pieceTo.get(e.before);
      const start = trunk
        ? { x0: trunk.x1, y0: trunk.y3, y1: trunk.y3, parent: trunk }
        : { ...exit(e), parent: null };
      const far = { x1: across[e.t] + e.to, y2: begin[r], y3: item.along + (item.inset || 0) };
      e.last = piece({ ...start, ...far, starts: trunk ? null : e, direct: e.direct });
    }
    this.loops.forEach((e) => {
      const r = this.rankOf[e.s], q = this.rankOf[e.t], item = items[e.t];
      let lane = 0;
      for (let k = Math.min(r, q); k <= Math.max(r, q); k++) for (const v of this.layers[k]) lane = Math.max(lane, across[v] + this.width[v]);
      e.lane = lane;
      const taken = this.loops.filter((other) => other !== e && other.path && Math.abs(other.lane - lane) < 40).length;
      lane += 14 + 9 * taken;
      this.breadth = Math.max(this.breadth, lane + 8);
      const x = across[e.s] + e.from, low = end[r] + 9 + (taken % 2) * 5, high = begin[q] - 9 - (taken % 2) * 5, to = across[e.t] + e.to;
      e.path = [[x, items[e.s].along + items[e.s].h], [x, low], [lane, low], [lane, high], [to, high], [to, item.along + (item.inset || 0)]];
      e.last = piece({ path: e.path, parent: null, starts: e, x0: x, y0: high, x1: lane, y3: low });
    });
  }
}
