"""The one knot in the imports: operations make Tensors, and Tensors have operations.

Everything below `tensor.py` reads `late.Tensor` and the others when it runs; `tensor.py` ties them once, at its end.
"""

from chainrule.backends import namespaces

Tensor = None  # the Tensor class
ops = None  # the package of operations: NumPy's names for Tensors


View = None  # the class that says what a Tensor is a view of


def tie(tensor_class, view_class, ops_package):
    """Called once, when all exist."""
    global Tensor, View, ops
    Tensor, View, ops = tensor_class, view_class, ops_package


class TensorNamespace:
    """NumPy's names for Tensors: what a rule gets as `xp` when a graph of the gradient is asked for.

    Functions of Tensors come from `chainrule.autograd.ops`; those that make arrays from nothing make them in the array
    namespace `xp` this one stands on.
    """

    def __init__(self, xp):
        self._xp = xp

    def __getattr__(self, name):
        return getattr(ops, name)

    def zeros(self, shape, dtype=None):
        """Zeros of `shape`."""
        return Tensor._wrap(self._xp.zeros(shape, dtype=dtype))

    def ones(self, shape, dtype=None):
        """Ones of `shape`."""
        return Tensor._wrap(self._xp.ones(shape, dtype=dtype))

    def eye(self, n, m=None, dtype=None):
        """The identity matrix."""
        return Tensor._wrap(self._xp.eye(n, m, dtype=dtype))

    def arange(self, *bounds, dtype=None):
        """Consecutive numbers."""
        return Tensor._wrap(self._xp.arange(*bounds, dtype=dtype))


_tensor_namespaces = {}


def tensor_namespace(g):
    """The namespace for rules on Tensors that stand where the gradient `g` (a Tensor or a list of them) stands."""
    some = g if isinstance(g, Tensor) else next(one for one in g if one is not None)
    xp = namespaces[some._array.__class__]
    if xp not in _tensor_namespaces:
        _tensor_namespaces[xp] = TensorNamespace(xp)
    return _tensor_namespaces[xp]
