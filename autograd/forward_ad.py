"""Forward mode: a tangent beside every value, under the names of `torch.autograd.forward_ad`.

    with forward_ad.dual_level():
        y = f(forward_ad.make_dual(x, v))
        primal, tangent = forward_ad.unpack_dual(y)       # f(x), and the derivative of f at x in the direction v

`make_dual` gives an alias of x that operations record. Each time one is recorded, the level is called back and computes the
tangent of the new value from those of the inputs (`tangents.py`), so the tangents are ready when the function is. What only
forward mode needed of the record is let go at once: memory does not grow with the length of the computation.

Levels nest. The tangent of an inner level is a value like any other to the levels outside it, and to a graph for backward: where
one of them has a part in an operation, the tangent is computed by recorded operations on Tensors instead of array code.
Wengert, "A simple automatic derivative evaluation program" (1964); Pearlmutter, "Fast exact multiplication by the Hessian" (1994).
"""

import threading
import weakref
from collections import namedtuple

import numpy

from . import late, tangents
from .function import FunctionNode
from .modes import local
from .node import Node, Slot
from .op import Op
from .writes import log

UnpackedDualTensor = namedtuple("UnpackedDualTensor", ["primal", "tangent"])


def dual(xp, x):
    """x at a new place in the graph."""
    return x


# Also the operation of a node whose record was let go: it then has no edges, and its rule gives no gradients.
_alias = Op(dual, {}, lambda xp, g, needs: (g,) * len(needs), None, None, False, ("y",), None)


class _Levels(threading.local):
    def __init__(self):
        self.stack = []


_levels = _Levels()


class _Level:
    """One level: the tangents of the nodes recorded inside it, and what held before it was entered."""

    def __init__(self, number, state):
        self.number = number
        self.tangents = weakref.WeakKeyDictionary()  # node -> tangent, or a list of them for several outputs
        self.before = state.on_record, state.grad, state.inference

    def of(self, edge):
        """The tangent of what stands at `edge`: an array, a Tensor if it is part of a graph or of an outer level, or None."""
        if edge.__class__ is Slot:
            found = self.tangents.get(edge.parent)
            return None if found is None else found[edge.index]
        return self.tangents.get(edge) if isinstance(edge, Node) else None

    def recorded(self, node, out):
        """An operation was recorded: give it its tangent."""
        previous = self.before[0]
        if previous is not None:
            previous(node, out)
        edges = node.edges
        given = [self.of(edge) for edge in edges]
        light = all(_is_light(edge) for edge in edges)
        if any(t is not None for t in given):
            outside = _levels.stack[: _levels.stack.index(self)]
            graph = (
                not light
                or any(isinstance(t, late.Tensor) for t in given)
                or any(level.of(edge) is not None for level in outside for edge in edges)
            )
            self.tangents[node] = self.carry(node, given, graph)
        if light and _levels.stack[-1] is self:
            _let_go(node, out)

    def carry(self, node, given, graph):
        """The tangents of a node's outputs. What is computed for it is recorded by the outer levels only."""
        state = local.state
        now = state.on_record, state.grad
        state.on_record, state.grad = self.before[0] if graph else None, True
        try:
            # Infinities and NaNs travel as silently as in the operation itself.
            with numpy.errstate(all="ignore"):
                if isinstance(node, FunctionNode):
                    return tangents.of_function(node, given, graph)
                if state.vmap:
                    from . import batching

                    return batching.carry(node, given, graph)
                return tangents.of_operation(node, given, graph)
        finally:
            state.on_record, state.grad = now


def _is_light(edge):
    """Whether nothing that wants a gradient lies behind an edge: only forward mode had it recorded."""
    if edge is None:
        return True
    if isinstance(edge, late.Tensor):
        return False
    return not (edge.parent if edge.__class__ is Slot else edge).edges


def _let_go(node, out):
    """Drop what a node keeps for a backward pass that no gradient will ever come by."""
    if isinstance(node, FunctionNode):
        node.edges = ()
        for one in out if isinstance(out, tuple) else (out,):
            if isinstance(one._edge, Node):
                one._edge = _node(one._edge, one._array)
        return
    node.op, node.edges, node.saved, node.static = _alias, (), (), None


def keep_graph(tensor):
    """`tensor`, from which on gradients are wanted: what is computed from it keeps its record. For transforms inside forward mode."""
    edge = tensor._current_edge()
    if isinstance(edge, Node) and _is_light(edge):
        (edge.parent if edge.__class__ is Slot else edge).edges = (None,)
    return tensor


def _node(edge, array, but=None):
    """A node that stands for the value at `edge`, with its tangents of every level except `but`."""
    node = Node(_alias, () if _is_light(edge) else (edge,), (), None, log.epoch, array.shape, array.dtype)
    for level in _levels.stack:
        if level is not but and level.of(edge) is not None:
            level.tangents[node] = level.of(edge)
    return node


def has_tangent(tensor):
    """Whether a Tensor has a tangent at a level that is still entered."""
    edge = tensor._current_edge()
    return any(level.of(edge) is not None for level in _levels.stack)


def _plain(tensor):
    """The array of a Tensor that takes part in no graph and no level; else the Tensor."""
    alone = _is_light(tensor._current_edge()) and not has_tangent(tensor)
    return tensor._array if alone else tensor


def enter_dual_level():
    """Enter a level, and give its number. Recording is on inside; a `no_grad()` inside makes constants."""
    state = local.state
    level = _Level(len(_levels.stack), state)
    _levels.stack.append(level)
    state.on_record, state.grad, state.inference = level.recorded, True, False
    return level.number


def exit_dual_level(*, level=None):
    """Leave the innermost level, which forgets its tangents."""
    if not _levels.stack:
        raise RuntimeError("exit_dual_level: there is no level to leave; enter one with dual_level()")
    if level is not None and level != _levels.stack[-1].number:
        raise RuntimeError(
            f"exit_dual_level: level {level} is not the innermost, which is {_levels.stack[-1].number}; leave that first"
        )
    state = local.state
    state.on_record, state.grad, state.inference = _levels.stack.pop().before


class dual_level:
    """`with dual_level():` tangents live inside."""

    def __enter__(self):
        self._number = enter_dual_level()
        return self._number

    def __exit__(self, *_):
        exit_dual_level(level=self._number)


def _level(number, name):
    if not _levels.stack:
        raise RuntimeError(f"{name}: there is no level; call it inside `with forward_ad.dual_level():`")
    if number is None:
        return _levels.stack[-1]
    if not 0 <= number < len(_levels.stack):
        raise RuntimeError(f"{name}: there is no level {number}; the innermost is {len(_levels.stack) - 1}")
    return _levels.stack[number]


def make_dual(tensor, tangent, *, level=None):
    """An alias of `tensor` that carries `tangent`, of its shape and dtype. It counts as requiring a gradient; gradients
    reach `tensor` if that requires them."""
    home = _level(level, "make_dual")
    for one, what in ((tensor, "tensor"), (tangent, "tangent")):
        if not isinstance(one, late.Tensor):
            raise TypeError(f"make_dual: expected {what} to be a Tensor, got {type(one).__name__}")
    if not (tensor.is_floating_point() or tensor.is_complex()):
        raise ValueError(f"make_dual: expected a floating point or complex tensor, got {tensor.dtype}")
    if tensor.shape != tangent.shape:
        raise RuntimeError(
            f"make_dual: the tensor has shape {tuple(tensor.shape)}, its tangent {tuple(tangent.shape)}; they must agree"
        )
    if tensor.dtype != tangent.dtype or tensor.device != tangent.device:
        raise RuntimeError(
            f"make_dual: the tensor is {tensor.dtype} on {tensor.device}, its tangent {tangent.dtype} on {tangent.device}; "
            f"convert the tangent with .to(tensor)"
        )
    node = _node(tensor._current_edge(), tensor._array, but=home)
    home.tangents[node] = _plain(tangent)
    return late.Tensor._wrap(tensor._array, node)


def unpack_dual(tensor, *, level=None):
    """(primal, tangent): the value without its tangent, and the tangent, None if it depends on no dual tensor."""
    if not isinstance(tensor, late.Tensor):
        raise TypeError(f"unpack_dual: expected a Tensor, got {type(tensor).__name__}")
    if not _levels.stack and level is None:
        return UnpackedDualTensor(tensor, None)
    home = _level(level, "unpack_dual")
    edge = tensor._current_edge()
    tangent = home.of(edge)
    if tangent is None:
        return UnpackedDualTensor(tensor, None)
    alone = _is_light(edge) and all(one is home or one.of(edge) is None for one in _levels.stack)
    primal = late.Tensor._wrap(tensor._array, None if alone else _node(edge, tensor._array, but=home))
    if not isinstance(tangent, late.Tensor):
        tangent = late.Tensor._wrap(tangent)
    return UnpackedDualTensor(primal, tangent)
