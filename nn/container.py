"""Modules that hold other modules, or parameters, as a list or a dict does."""

import operator
from collections import OrderedDict
from collections.abc import Mapping, MutableMapping

from chainrule.autograd.tensor import Tensor

from .module import Module, indent
from .parameter import Parameter


class _Listed(Module):
    """What Sequential, ModuleList and ParameterList share: parts named "0", "1", ... in `_parts`."""

    @property
    def _parts(self):
        return self._modules

    def _key(self, index):
        """The name of the part at `index`, which may count from the end."""
        try:
            index = operator.index(index)
        except TypeError:
            raise TypeError(
                f"{type(self).__name__}: index must be an int or a slice, got {type(index).__name__}"
            ) from None
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {count} entries")
        return list(self._parts)[index]

    def __len__(self):
        return len(self._parts)

    def __iter__(self):
        return iter(tuple(self._parts.values()))

    def __getitem__(self, index):
        if isinstance(index, slice):
            return type(self)._of(list(self._parts.items())[index])
        return self._parts[self._key(index)]

    def __setitem__(self, index, value):
        setattr(self, self._key(index), value)

    def __delitem__(self, index):
        if isinstance(index, slice):
            gone = set(range(len(self))[index])
        else:
            gone = {list(self._parts).index(self._key(index))}
        self._refill([part for i, part in enumerate(self) if i not in gone])

    def _refill(self, parts):
        """Hold exactly `parts`, numbered from 0."""
        self._parts.clear()
        self.extend(parts)

    def append(self, value):
        """Add one at the end; returns self."""
        setattr(self, str(len(self)), value)
        return self

    def extend(self, values):
        """Add several at the end; returns self."""
        for value in tuple(values):
            self.append(value)
        return self

    def insert(self, index, value):
        """Add one before position `index`; returns self."""
        parts = list(self)
        if not -len(parts) <= index <= len(parts):
            raise IndexError(
                f"{type(self).__name__}.insert: index {index} is out of range for {len(parts)} entries"
            )
        self._check_part(value)
        parts.insert(index, value)
        self._refill(parts)
        return self

    def _check_part(self, value):
        if not isinstance(value, Module):
            raise TypeError(f"{type(self).__name__}: expected a Module, got {type(value).__name__}")

    def pop(self, index):
        """Take the one at `index` out and return it."""
        value = self[index]
        del self[index]
        return value

    def __add__(self, other):
        return type(self)._of([(str(i), part) for i, part in enumerate([*self, *other])])

    def __iadd__(self, other):
        return self.extend(other)

    @classmethod
    def _of(cls, items):
        return cls([part for _, part in items])


class Sequential(_Listed):
    """Apply the given modules one after the other: f_n(...f_2(f_1(x))).

    Takes modules, or one OrderedDict that names them.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> net(cr.ones(3, 4)).shape
    chainrule.Size([3, 2])
    """

    def __init__(self, *args):
        super().__init__()
        named = (
            args[0].items()
            if len(args) == 1 and isinstance(args[0], Mapping)
            else ((str(i), m) for i, m in enumerate(args))
        )
        for name, module in named:
            self.add_module(name, module)

    @classmethod
    def _of(cls, items):
        return cls(OrderedDict(items))

    def append(self, module):
        """Add one at the end; returns self."""
        self.add_module(str(len(self)), module)
        return self

    def forward(self, input):
        """Whatever the modules take and give."""
        for module in self._modules.values():
            input = module(input)
        return input

    def __mul__(self, count):
        if not isinstance(count, int) or count < 1:
            raise ValueError(
                f"Sequential: can be repeated a whole number of times, 1 at least, not {count!r}"
            )
        return Sequential(*(list(self) * count))

    __rmul__ = __mul__


class ModuleList(_Listed):
    """A list whose modules are registered; it has no forward of its own.

    >>> layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
    >>> len(layers), len(list(layers.parameters()))
    (3, 6)
    """

    def __init__(self, modules=None):
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def append(self, module):
        """Add one at the end; returns self."""
        self.add_module(str(len(self)), module)
        return self

    def _child_lines(self, texts):
        """Equal neighbours share a line: `(0-2): 3 x Linear(...)`."""
        groups = []
        for i, module in enumerate(self):
            if groups and groups[-1][1] == texts[module]:
                groups[-1][0].append(i)
            else:
                groups.append(([i], texts[module]))
        return [
            f"({at[0]}): {indent(text)}"
            if len(at) == 1
            else f"({at[0]}-{at[-1]}): {len(at)} x {indent(text)}"
            for at, text in groups
        ]


class _Named(Module, MutableMapping):
    """What ModuleDict and ParameterDict share. Equality and hash are a module's: by identity."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __len__(self):
        return len(self._parts)

    def __iter__(self):
        return iter(tuple(self._parts))

    def __getitem__(self, key):
        return self._parts[key]

    def __delitem__(self, key):
        del self._parts[key]

    def __contains__(self, key):
        return key in self._parts


class ModuleDict(_Named):
    """A dict whose modules are registered; it has no forward of its own.

    >>> acts = nn.ModuleDict({"relu": nn.ReLU(), "tanh": nn.Tanh()})
    >>> acts["relu"](cr.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, modules=None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    @property
    def _parts(self):
        return self._modules

    def __setitem__(self, key, module):
        self.add_module(key, module)


def _parameter(value, owner):
    """`value` as an entry of a list or dict of parameters: a Parameter or None; other Tensors become Parameters."""
    if value is None or isinstance(value, Parameter):
        return value
    if isinstance(value, Tensor):
        return Parameter(value)
    raise TypeError(f"{owner}: expected a Parameter or a Tensor, got {type(value).__name__}")


def _described(items):
    """The lines that print parameters."""
    return [
        f"  ({name}): None"
        if one is None
        else f"  ({name}): {_kind(one)} containing: [{one.dtype} of size {_size(one)}{_place(one)}]"
        for name, one in items
    ]


def _kind(tensor):
    return "Parameter" if isinstance(tensor, Parameter) else "Tensor"


def _size(tensor):
    return "x".join(str(length) for length in tensor.shape)


def _place(tensor):
    return "" if tensor.device.type == "cpu" else f" ({tensor.device})"


class ParameterList(_Listed):
    """A list whose Parameters are registered; Tensors put into it become Parameters.

    >>> scales = nn.ParameterList([cr.ones(2), cr.ones(3)])
    >>> [name for name, _ in scales.named_parameters()]
    ['0', '1']
    """

    def __init__(self, values=None):
        super().__init__()
        if values is not None:
            self.extend(values)

    @property
    def _parts(self):
        return self._parameters

    def __setitem__(self, index, value):
        self.register_parameter(self._key(index), _parameter(value, "ParameterList"))

    def append(self, value):
        """Add one at the end; returns self."""
        self.register_parameter(str(len(self)), _parameter(value, "ParameterList"))
        return self

    def _check_part(self, value):
        _parameter(value, "ParameterList")

    def _child_lines(self, texts):
        return _described(self._parameters.items())


class ParameterDict(_Named):
    """A dict whose Parameters are registered; Tensors put into it become Parameters.

    >>> weights = nn.ParameterDict({"left": cr.ones(2), "right": cr.zeros(2)})
    >>> list(weights.keys())
    ['left', 'right']
    """

    def __init__(self, parameters=None):
        super().__init__()
        if parameters is not None:
            self.update(parameters)

    @property
    def _parts(self):
        return self._parameters

    def __setitem__(self, key, value):
        self.register_parameter(key, _parameter(value, "ParameterDict"))

    def copy(self):
        """Another ParameterDict with the same Parameters."""
        return ParameterDict(self)

    @classmethod
    def fromkeys(cls, keys, default=None):
        """A ParameterDict with `default` under each of `keys`."""
        return cls(dict.fromkeys(keys, default))

    def __or__(self, other):
        return ParameterDict({**self, **other})

    def __ior__(self, other):
        self.update(other)
        return self

    def _child_lines(self, texts):
        return _described(self._parameters.items())
