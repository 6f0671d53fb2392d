/* Boxes within boxes: each open box is laid out by itself, innermost first, and is then one item among others. A wire that goes
   in or out passes a port in the frame, which has its place in the order like any other item.

   A box is {parent, children, open, w, h, slots, inset, pad}; w is across and h along. For an open box, `pad` is the frame's width
   {before, after, start, end} (before and after: across) and w, h its least size. A wire is {source, target, key, pin, loop}:
   boxes without children, the value it carries, and the number of the input.

   Afterwards each box has across, along, w, h, each wire `last`, its last piece; the pieces before it are found by `parent`. */

function layoutBoxes(root, wires, space) {
  joinLevels(wires);
  const pieces = [];
  layoutInside(root, space);
  root.across = root.along = 0;
  placeInside(root, pieces);
  for (const wire of wires) wire.last = wire.chain[wire.chain.length - 1].last;
  return pieces;
}

/* Cut each wire into its way within every box that it passes through. Wires of one value share what is common. */
function joinLevels(wires) {
  const depth = (box) => {
    let d = 0;
    for (let one = box; one.parent; one = one.parent) d++;
    return d;
  };
  const depths = new Map(), deep = (box) => {
    if (!depths.has(box)) depths.set(box, depth(box));
    return depths.get(box);
  };
  for (const wire of wires) {
    const outwards = [], inwards = [];
    let s = wire.source, t = wire.target, ds = deep(s), dt = deep(t);
    while (ds > dt) outwards.push(s), (s = s.parent), ds--;
    while (dt > ds) inwards.push(t), (t = t.parent), dt--;
    while (s.parent !== t.parent) outwards.push(s), (s = s.parent), inwards.push(t), (t = t.parent);
    const key = wire.key + (wire.loop ? "~" : "");
    wire.chain = [];
    let previous = null;
    for (const box of outwards) {
      const port = portOf(box.parent, key, "last");
      previous = shared(box.parent, box, port, key, previous, port.edges);
      wire.chain.push(previous);
    }
    const target = inwards.length ? portOf(t, key, "first") : null;
    previous = target
      ? shared(s.parent, s, t, key, previous, target.outer, wire.loop, target)
      : edgeTo(s.parent, { source: s, target: t, key, previous, loop: wire.loop, pin: wire.pin, main: wire.main });
    wire.chain.push(previous);
    for (let i = inwards.length - 1; i >= 0; i--) {
      const box = inwards[i], port = portOf(box.parent, key, "first");
      const inner = i ? portOf(box, key, "first") : null;
      previous = inner
        ? shared(box.parent, port, box, key, previous, inner.outer, false, inner)
        : edgeTo(box.parent, { source: port, target: box, key, previous, pin: wire.pin, main: wire.main });
      wire.chain.push(previous);
    }
  }
}

function portOf(box, key, fixed) {
  box.ports = box.ports || { first: new Map(), last: new Map() };
  const ports = box.ports[fixed];
  if (!ports.has(key)) ports.set(key, { parent: box, w: 10, h: 0, fixed, outer: new Map(), edges: new Map() });
  return ports.get(key);
}

function edgeTo(box, edge) {
  box.edges = box.edges || [];
  box.edges.push(edge);
  return edge;
}

/* One edge from `source` to a port, made once. `into`: the port of `target` through which it goes on. */
function shared(box, source, target, key, previous, known, loop, into) {
  if (!known.has(source)) known.set(source, edgeTo(box, { source, target, key, previous, loop, into }));
  return known.get(source);
}

function layoutInside(box, space) {
  const inner = box.children.filter((one) => one.open);
  for (const one of inner) layoutInside(one, space);
  const ports = box.ports ? [...box.ports.first.values(), ...box.ports.last.values()] : [];
  const items = [...box.children, ...ports], number = new Map(items.map((one, i) => [one, i]));
  for (const edge of box.edges || []) {
    edge.s = number.get(edge.source);
    edge.t = number.get(edge.target);
    edge.from = offset(edge.source, edge.source.open ? edge.source.ports.last.get(edge.key) : null);
    edge.to = offset(edge.target, edge.into);
  }
  const level = (box.level = layoutLevel(items, box.edges || [], space)), pad = box.pad;
  const breadth = Math.max(level.breadth + pad.before + pad.after, box.w), length = Math.max(level.length + pad.start + pad.end, box.h);
  // What is narrower than its title stands in the middle.
  box.shift = { across: pad.before + (breadth - pad.before - pad.after - level.breadth) / 2, along: pad.start };
  box.w = breadth;
  box.h = length;
}

/* Where a wire meets an item, measured across; an item with slots finds that out itself, from the order. */
function offset(item, port) {
  if (port) return item.shift.across + port.across + port.w / 2;
  return item.slots === undefined ? item.w / 2 : undefined;
}

/* From places within a box to places in the drawing, and from edges to pieces that know what comes before. */
function placeInside(box, pieces) {
  const across = box.across + box.shift.across, along = box.along + box.shift.along;
  const first = box.ports ? new Set(box.ports.first.values()) : new Set(), last = box.ports ? new Set(box.ports.last.values()) : new Set();
  for (const one of [...box.children, ...first, ...last]) {
    one.across += across;
    one.along += along;
  }
  for (const piece of box.level.pieces) {
    for (const name of ["x0", "x1"]) piece[name] += across;
    for (const name of ["y0", "y1", "y2", "y3"]) if (name in piece) piece[name] += along;
    if (piece.path) piece.path = piece.path.map(([x, y]) => [x + across, y + along]);
    // At a port the wire goes on to the frame.
    const { starts } = piece;
    if (starts) {
      if (first.has(starts.source)) piece.y0 = box.along;
      piece.previous = starts.previous;
    }
    pieces.push(piece);
  }
  for (const edge of box.edges || []) {
    if (last.has(edge.target)) edge.last.y3 = box.along + box.h;
  }
  for (const one of box.children) if (one.open) placeInside(one, pieces);
  if (!box.parent) for (const piece of pieces) if (!piece.parent && piece.previous) piece.parent = piece.previous.last;
}
