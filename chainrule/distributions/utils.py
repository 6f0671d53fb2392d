"""What distributions share: broadcasting of parameters, probabilities and logits, parameters computed when first asked for."""

import functools
import itertools

import chainrule as cr
from chainrule.autograd.functions.common import holds
from chainrule.autograd.ops.activation import logsigmoid

euler_constant = 0.57721566490153286060  # of Euler and Mascheroni


def broadcast_all(*values):
    """Numbers and Tensors as Tensors of one shape; a number takes the dtype and the device of the first Tensor."""
    if not all(isinstance(value, (int, float, cr.Tensor)) for value in values):
        kinds = ", ".join(type(value).__name__ for value in values)
        raise ValueError(f"expected numbers or Tensors as parameters of a distribution, got {kinds}")
    first = next((value for value in values if isinstance(value, cr.Tensor)), None)
    place = (
        {"dtype": cr.get_default_dtype()} if first is None else {"dtype": first.dtype, "device": first.device}
    )
    return cr.broadcast_tensors(
        *[value if isinstance(value, cr.Tensor) else cr.tensor(value, **place) for value in values]
    )


def all_numbers(*values):
    """Whether no parameter is a Tensor, so that the distribution has the batch shape ()."""
    return all(isinstance(value, (int, float)) for value in values)


def sum_rightmost(value, count):
    """The sum over the last `count` dimensions."""
    return value.sum(tuple(range(-count, 0))) if count else value


def clamp_probs(probs):
    """Probabilities kept off 0 and 1 by the dtype's precision."""
    eps = cr.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs, is_binary=False):
    """log(p / (1 - p)) of the probability of one outcome, or log p of the probabilities in the last dimension."""
    kept = clamp_probs(probs)
    return kept.log() - (-kept).log1p() if is_binary else kept.log()


def logits_to_probs(logits, is_binary=False):
    """The inverse of `probs_to_logits`: sigmoid, or softmax over the last dimension."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def either(probs, logits, name):
    """Which of the two parameters is given, as (name, value); ValueError unless exactly one is."""
    if (probs is None) == (logits is None):
        raise ValueError(f"{name}: give either probs or logits, and not both")
    return ("probs", probs) if logits is None else ("logits", logits)


def uniform(shape, like):
    """Uniform numbers in the open interval (0, 1), of the dtype and on the device of `like`."""
    drawn = cr.rand(shape, dtype=like.dtype, device=like.device)
    return drawn.clamp(min=cr.finfo(like.dtype).tiny)


def normal(shape, like):
    """Normal numbers of mean 0 and variance 1, of the dtype and on the device of `like`."""
    return cr.randn(shape, dtype=like.dtype, device=like.device)


def where_inside(condition, value, otherwise):
    """`value` where the condition holds and the number `otherwise` elsewhere."""
    return cr.where(condition, value, value.new_full((), otherwise))


def softplus(x):
    """log(1 + exp(x)), exact at both ends."""
    return -logsigmoid(-x)


def tril_matrix_to_vec(mat, diag=0):
    """The elements of (..., D, D) on and below the diagonal `diag`, row by row."""
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"tril_matrix_to_vec: expected diag in [{-n}, {n - 1}], got {diag}")
    rows, columns = cr.tril_indices(n, n, diag).unbind(0)
    return mat[..., rows, columns]


def _triangle(n, diag):
    """How many elements of an n x n matrix lie on and below a diagonal."""
    return sum(min(max(row + diag + 1, 0), n) for row in range(n))


def vec_to_tril_matrix(vec, diag=0):
    """The lower triangular matrices whose elements on and below the diagonal `diag` are, row by row, the last dimension."""
    size = vec.shape[-1]
    n = next(n for n in itertools.count(1) if _triangle(n, diag) >= size)
    if _triangle(n, diag) != size:
        raise ValueError(f"vec_to_tril_matrix: {size} elements do not fill a triangle up to diagonal {diag}")
    rows, columns = cr.tril_indices(n, n, diag).unbind(0)
    flat = vec.new_zeros((*vec.shape[:-1], n * n))
    index = (rows * n + columns).to(vec.device).expand(vec.shape)
    return flat.scatter(-1, index, vec).reshape(*vec.shape[:-1], n, n)


class lazy_property:
    """An attribute computed when it is first read, and then kept; recorded in the graph also under `no_grad`."""

    def __init__(self, compute):
        self.compute = compute
        functools.update_wrapper(self, compute)

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        with cr.enable_grad():
            value = self.compute(instance)
        instance.__dict__[self.compute.__name__] = value
        return value


class OfOneProbability:
    """The parameters of distributions that count successes: `probs` and `logits`, each computed from the other if need be."""

    _binary = True

    @lazy_property
    def logits(self):
        """log(p / (1 - p)), or log p."""
        return probs_to_logits(self.probs, self._binary)

    @lazy_property
    def probs(self):
        """Probabilities."""
        return logits_to_probs(self.logits, self._binary)

    @property
    def param_shape(self):
        """The shape of `probs` and of `logits`."""
        return self.__dict__["probs" if "probs" in self.__dict__ else "logits"].shape


class OfProbabilities(OfOneProbability):
    """The same for probabilities of several outcomes, in the last dimension."""

    _binary = False


__all__ = [
    "broadcast_all",
    "clamp_probs",
    "euler_constant",
    "holds",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]
