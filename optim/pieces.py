"""The arrays of an optimizer step: parameters cut into pieces that stay in the cache, and memory to compute in.

An update rule passes over its arrays some ten times. On a CPU it is therefore applied to one piece of a large
parameter after the other, each small enough that the gradient, the state and all that is computed on the way stay in
the cache; so main memory is read and written once. Intermediate results go to scratch arrays that are made in the
first step and used again in every later one. On other devices a parameter is one piece: there launches cost.
"""

import math

from chainrule.autograd.tensor import Tensor
from chainrule.backends import backend_of, namespaces

# What all arrays of a rule may take together: a modest share of a last-level cache, next to which calls cost little.
CACHE_BYTES = 1 << 21


class Scratch(dict):
    """Arrays of one dtype on one device to write intermediate results into: scratch[name, shape].

    The contents are arbitrary. One name stands for one memory, whatever the shape asked for.
    """

    def __init__(self, xp, dtype):
        self.xp = xp
        self.dtype = dtype
        self._memory = {}  # name -> the flat array, as long as was ever needed
        self._numbers = {}  # name -> (number, 0-d array)

    def __missing__(self, key):
        name, shape = key
        size = math.prod(shape)
        memory = self._memory.get(name)
        if memory is None or memory.size < size:
            memory = self._memory[name] = self.xp.empty(size, dtype=self.dtype)
            for old in [key for key in self if key[0] == name]:
                del self[old]  # a view of the outgrown memory would keep it alive
        view = self[key] = memory[:size].reshape(shape)
        return view

    def number(self, value, name):
        """`value` as a 0-d array: over a Python number NumPy takes as long as over some thousand elements."""
        kept = self._numbers.get(name)
        if kept is None or kept[0] != value:
            kept = self._numbers[name] = value, self.xp.full((), value, dtype=self.dtype)
        return kept[1]


def computing_dtype(array, elementwise):
    """The dtype in which an update of `array` is computed: 16-bit floats are rounded once a step, complex ones are pairs."""
    dtype = array.dtype
    if dtype.kind == "c" and elementwise:
        return array.real.dtype
    return "float32" if dtype.itemsize == 2 else dtype


class Plan:
    """How one parameter is updated: its array and those of its state, cut into pieces that belong together.

    param: the raw array. state: {name: Tensor or value}, of which those named in `scalars` are numbers of the step.
    Arrays of 16-bit floats and complex arrays are updated in a copy: in float32, and as real arrays of twice the
    length. `elementwise` is False for rules that must see the whole parameter in its shape.
    """

    def __init__(self, param, state, scalars, scratch, elementwise):
        self.param = param
        self.scratch = scratch
        # What is no Tensor is handed to the rule as it is, as the numbers are.
        self.scalars = [name for name in state if name in scalars or not isinstance(state[name], Tensor)]
        arrays = {name: entry._array for name, entry in state.items() if name not in self.scalars}
        self.arrays = arrays
        self.size = len(state)
        self.is_complex = param.dtype.kind == "c" and elementwise
        self.copies = self.is_complex or scratch.dtype != param.dtype
        self.flat = False
        self.slices = self._cut() if elementwise else [...]
        self.whole = len(self.slices) == 1 and not self.copies
        self.parts = [(param, arrays)]
        if len(self.slices) > 1:
            if self.flat:
                param, arrays = param.reshape(-1), {name: array.reshape(-1) for name, array in arrays.items()}
            self.parts = [(param[s], {name: array[s] for name, array in arrays.items()}) for s in self.slices]

    def _cut(self):
        """The index of each piece: everything, or some rows, or where one row is too long a part of the flat array."""
        param = self.param
        piece_bytes = CACHE_BYTES // (
            3 + len(self.arrays)
        )  # the parameter, its gradient, one intermediate, the state
        if param.nbytes <= piece_bytes or backend_of(param).device_type != "cpu":
            return [...]
        rows = piece_bytes * len(param) // param.nbytes
        if not rows:
            self.flat = all(array.flags.c_contiguous for array in (param, *self.arrays.values()))
            rows = piece_bytes // param.itemsize if self.flat else 1
        return [slice(i, i + rows) for i in range(0, param.size if self.flat else len(param), rows)]

    def fits(self, param, state):
        """Whether these are still the arrays that were cut."""
        if param is not self.param or len(state) != self.size:
            return False
        own = self.arrays
        return not own or all(getattr(state.get(name), "_array", None) is own[name] for name in own)

    def pieces(self, grad, maximize):
        """For each piece, (parameter, gradient, {name: state array}); minus the gradient to `maximize`."""
        if self.whole:
            return ((self.param, self._gradient(grad, maximize), self.arrays),)
        if self.copies:
            return self._copied_pieces(grad, maximize)
        if self.flat:
            grad = grad.reshape(
                -1
            )  # of the few that have such long rows and are not contiguous this is a copy
        parts = zip(self.slices, self.parts, strict=True)
        return ((param, self._gradient(grad[s], maximize), arrays) for s, (param, arrays) in parts)

    def _gradient(self, grad, maximize):
        if not maximize and grad.flags.c_contiguous:
            return grad
        # A rule reads the gradient several times: once in the parameter's order is enough for one that is not.
        g = self.scratch[("copy", "gradient"), grad.shape]
        xp = namespaces[g.__class__]
        return (xp.negative if maximize else xp.positive)(grad, out=g)

    def _copied_pieces(self, grad, maximize):
        """The pieces as copies to compute in; what was written to one is stored when the next is asked for."""
        for index, (param, arrays) in zip(self.slices, self.parts, strict=True):
            g = self._copy(grad.reshape(-1)[index] if self.flat else grad[index], "gradient")
            if maximize:
                g *= -1
            copy = self._copy(param, "parameter")
            copies = {name: self._copy(array, name) for name, array in arrays.items()}
            yield copy, g, copies
            self._store(copy, param)
            for name, array in arrays.items():
                self._store(copies[name], array)

    def _copy(self, array, name):
        shape = array.shape
        if self.is_complex:
            shape = (*shape[:-1], 2 * shape[-1]) if shape else (2,)
        copy = self.scratch[("copy", name), shape]
        self._as(copy, array)[...] = array
        return copy

    def _store(self, copy, array):
        array[...] = self._as(copy, array)

    def _as(self, copy, array):
        return copy.view(array.dtype).reshape(array.shape) if self.is_complex else copy
