"""What `vmap` needs of the graph: operations, rules and gradients on arrays with hidden batch axes (`backends/batched.py`).

Operations get all their arrays with the same hidden axes: `_Run` takes the place of the thread's `run` while a `vmap` is active. So do
the rules in a backward pass (`gradients`) and in forward mode (`carry`). And a gradient that reaches a value which was the same for
all samples is summed over them (`match`), except over the levels in whose `vmap` the backward pass itself runs: there every sample
has a gradient of its own.

What cannot be followed for all samples at once, a branch on a value within an operation, runs as a loop over them.
"""

import contextlib
import itertools
import threading

from chainrule.backends import namespaces
from chainrule.backends import random as _random
from chainrule.backends.batched import (
    DataDependent,
    computing,
    is_batched,
    levels_of,
    lifted,
    lifted_all,
    mapped,
    merged,
    stored,
    wrap,
)
from chainrule.backends.batching import loop

from . import late
from .modes import local
from .node import Node
from .op import op

_numbers = itertools.count(1)


class _Local(threading.local):
    randomness = ()  # of the active levels: (number, size, mode)


here = _Local()


# --- the operations at the border ---


def _inside(array, number, size, axis):
    """`array` with its visible axis `axis` hidden, under a level above all that it has."""
    levels = levels_of(array)
    k = len(levels)
    raw = stored(array)
    xp = namespaces[raw.__class__]
    return wrap(xp.moveaxis(raw, k + axis, k), (*levels, (number, size)))


def _outside(array, number, size, axis):
    """`array` with the hidden axis of a level visible, at `axis`; repeated if it has no such level."""
    levels = levels_of(array)
    raw, k = stored(array), len(levels)
    xp = namespaces[raw.__class__]
    place = [one for one, _ in levels].index(number) if (number, size) in levels else None
    if place is None:
        raw, place, levels = xp.expand_dims(raw, k), k, (*levels, (number, size))
    if raw.shape[place] != size:
        raw = xp.broadcast_to(raw, (*raw.shape[:place], size, *raw.shape[place + 1 :]))
    rest = tuple(one for one in levels if one[0] != number)
    return wrap(xp.moveaxis(raw, place, len(rest) + axis), rest)


@op(x=lambda xp, g, number, size, axis: leave(g, number, size, axis), view=True, tangent="linear")
def add_batch(xp, x, *, number, size, axis):
    """x with one axis as the hidden axis of a level."""
    return _inside(x, number, size, axis)


@op(x=lambda xp, g, number, size, axis: add_batch(g, number=number, size=size, axis=axis), tangent="linear")
def remove_batch(xp, x, *, number, size, axis):
    """x with the hidden axis of a level as a visible one."""
    found = _outside(x, number, size, axis)
    # What is a view shares its memory with an argument, perhaps; the result is the caller's to write to.
    return found if stored(x).base is None else found.copy()


@op(x=lambda xp, g: g, tangent="linear")
def to_levels(xp, x, *, levels):
    """x with exactly these levels: summed over those it has more, the same for all samples of those it has less."""
    numbers = {number for number, _ in levels}
    raw, have = stored(x), levels_of(x)
    over = tuple(i for i, (number, _) in enumerate(have) if number not in numbers)
    if over:
        times = 1
        for i in over:
            times *= have[i][1] if raw.shape[i] == 1 else 1
        wide = raw.astype("float32") if raw.dtype.itemsize == 2 else raw
        total = namespaces[raw.__class__].sum(wide, axis=over)
        total = total * times if times != 1 else total
        raw = namespaces[raw.__class__].asarray(total).astype(raw.dtype, copy=False)
    rest = tuple(one for one in have if one[0] in numbers)
    return lifted(wrap(raw, rest), levels)


class _Border(Node):
    """The node of an operation whose output has fewer levels than its input: gradients are batched from there on, and the engine has
    to mind."""

    __slots__ = ()

    def gradients(self, g, edges, create_graph, keep):
        walk = local.state.walk
        if walk is not None:
            walk.batched, walk.plain = True, False
        return super().gradients(g, edges, create_graph, keep)


def _border(x):
    """x, whose node, if it has one, is a border."""
    if isinstance(x, late.Tensor) and x._edge.__class__ is Node:
        x._edge.__class__ = _Border
    return x


def leave(x, number, size, axis):
    """`remove_batch`, of a Tensor or an array."""
    return _border(remove_batch(x, number=number, size=size, axis=axis))


# --- while a vmap is active ---


@contextlib.contextmanager
def _mode():
    """Inside, this thread's operations go through `_run`."""
    state = local.state
    before = state.run
    if not isinstance(before, _Run):
        state.run = _Run(before)
    try:
        yield
    finally:
        state.run = before


class _Run:
    """Stands in for `ThreadState.run` and computes an operation's forward with all arrays of the same levels."""

    def __init__(self, plain):
        self.plain = plain

    def __call__(self, forward, xp, *arrays, **static):
        levels = levels_of(arrays)
        if static:
            levels = merged(levels, levels_of(static))
        if not levels:
            return self.plain(forward, xp, *arrays, **static)
        ready = lifted_all(arrays, levels)
        some = next(one for one in _flat(ready) if is_batched(one))
        ns = namespaces[some.__class__]
        try:
            with computing(levels):
                return self.plain(forward, ns, *ready, **static)
        except DataDependent:

            def one(values):
                return self.plain(forward, ns.xp, *values[0], **values[1])

            return loop(f"the operation {forward.__name__}", ns.xp, levels, one, (ready, static))


def _flat(values):
    for one in values:
        if isinstance(one, (tuple, list)):
            yield from _flat(one)
        else:
            yield one


@contextlib.contextmanager
def level(size, randomness):
    """A new level, active inside."""
    state = local.state
    number = next(_numbers)
    before, drawing, modes = state.vmap, _random.local.drawing, here.randomness
    state.vmap = levels = (*before, (number, size))
    here.randomness = (*modes, (number, size, randomness))
    _random.local.drawing = _drawing
    try:
        with _mode(), computing(levels):
            yield number
    finally:
        state.vmap, _random.local.drawing, here.randomness = before, drawing, modes


def _drawing(draw, shape):
    """Random numbers inside vmap: the same for all samples or different ones, as the active calls say."""
    modes = here.randomness
    if any(mode == "error" for _, _, mode in modes):
        raise RuntimeError(
            "vmap: a random operation was called inside; say vmap(..., randomness='different') for numbers of its own for every "
            "sample, or randomness='same' for the same ones"
        )
    levels = tuple((number, size) for number, size, mode in modes if mode == "different")
    return wrap(draw((*(size for _, size in levels), *shape)), levels)


# --- backward ---


def gradients(node, g, edges, create, keep):
    """What `node.gradients` gives, with batched arrays among g and what the node saved."""
    saved, static = node.saved, node.static
    levels = merged(levels_of(_arrays(g)), levels_of(saved))
    if create or node.__class__ not in (Node, _Border):
        with _mode(), computing(levels or None):
            try:
                return node.gradients(g, edges, create, keep)
            except DataDependent:
                if node.__class__ is not Node:
                    raise
                return _one_by_one(node, edges, levels, g, node.op.as_tensors(node, saved), static)
    if not levels or node.__class__ is _Border:
        return node.gradients(g, edges, create, keep)
    g = lifted_all(g, levels)
    node.saved = lifted_all(saved, levels)
    try:
        with computing(levels):
            return node.gradients(g, edges, False, keep)
    except DataDependent:
        some = next(one for one in _arrays(g) if one is not None)
        xp = namespaces[some.__class__].xp

        def one(values):
            return node.op.vjp(xp, values[0], values[1], edges, values[2])

        return loop(f"the derivative of {node.op.name}", xp, levels, one, (g, saved, static))
    finally:
        if node.saved is not None:
            node.saved = saved


def _one_by_one(node, edges, levels, g, saved, static):
    """The rules of a node on Tensors, run for each sample of the innermost level."""
    *rest, (number, size) = levels

    def pick(value, i):
        if isinstance(value, late.Tensor):
            # Also what is the same for all samples: it has a gradient for each of them.
            value = to_levels(value, levels=merged(levels_of(value._array), ((number, size),)))
            return leave(value, number, size, 0)[i]
        if is_batched(value) and (number, size) in value.levels:
            return _outside(value, number, size, 0)[i]
        return mapped(lambda one: pick(one, i), value)

    found = []
    for i in range(size):
        g_i, saved_i, static_i = pick(g, i), pick(saved, i), pick(static, i)
        try:
            with computing(tuple(rest) or None):
                found.append(node.op.vjp(late.tensor_namespace(g_i), g_i, saved_i, edges, static_i))
        except DataDependent:
            found.append(_one_by_one(node, edges, rest, g_i, saved_i, static_i))
    return tuple(
        None if column[0] is None else add_batch(late.ops.stack(column), number=number, size=size, axis=0)
        for column in zip(*found, strict=True)
    )


def carry(node, given, graph):
    """What `tangents.of_operation` gives, with batched arrays among the tangents and what the node saved."""
    from . import tangents

    saved = node.saved
    levels = merged(levels_of(_arrays(given)), levels_of(saved))
    if graph or not levels:
        return tangents.of_operation(node, given, graph)
    node.saved = lifted_all(saved, levels)
    try:
        with computing(levels):
            return tangents.of_operation(node, lifted_all(given, levels), graph)
    finally:
        node.saved = saved


def _arrays(g):
    """The raw arrays of a gradient: of one Tensor or array, or of a list of them."""
    return tuple(
        one._array if isinstance(one, late.Tensor) else one for one in (g if isinstance(g, list) else [g])
    )


def match(grad, shape, active):
    """A gradient, array or Tensor, with the levels of the value it belongs to; those active around the backward pass it may keep."""
    raw = grad._array if isinstance(grad, late.Tensor) else grad
    have = levels_of(raw)
    wanted = merged(getattr(shape, "levels", ()), tuple(one for one in have if one in active))
    return grad if wanted == have else _border(to_levels(grad, levels=wanted))
