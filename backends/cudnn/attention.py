"""Attention through cuDNN: the operation `flash_attention` and its gradients, of `autograd/ops/attention.py`, in 16-bit floats.

cuDNN knows (B, H, L, E) and (B, h, S, E), where h heads of keys and values serve H of the queries, in any strides with the last
axis contiguous, and computes in float32. Its "stats" are our lse. Dropout and the gradient of a bias are left to other code, and so is
all that cuDNN has no plan for.

A bias is told with its full L and S, as cuDNN wants it. Where it is -inf the lowest number of its dtype is told, so that cuDNN meets no
inf - inf; queries that see nothing get their zeros, and their lse of inf, afterwards. In the backward pass that lse alone makes
their probabilities 0.
"""

import functools
import math

from chainrule.backends import attention_ways, determinism, precision_settings
from chainrule.backends.cuda_kernels.registry import name_of

from .plans import elements, output, tensor

_LOWEST = {"float16": -65504.0, "bfloat16": -1e30}
_MOST_FEATURES = 256  # of a head; a plan is found for so many on Hopper, for 128 elsewhere
_ALIGNED = 16  # bytes


def install(backend, plans):
    """Let the attention of `backend` be computed by cuDNN where it can."""
    backend.register_kernel("flash_attention", functools.partial(_guard, plans))(
        functools.partial(_forward, plans)
    )
    backend.register_kernel("flash_gradients", functools.partial(_gradient_guard, plans))(
        functools.partial(_backward, plans)
    )


# --- forward ---


def _guard(plans, query, key, value, bias, *, scale, causal, kept, share):
    if kept is not None or not _possible(plans, query, key, value, bias):
        return False
    return _forward_plan(plans, _Form(query, key, value, bias), scale, causal) is not None


def _forward(plans, xp, query, key, value, bias, *, scale, causal, kept, share):
    """y and lse."""
    form = _Form(query, key, value, bias)
    plan = _forward_plan(plans, form, scale, causal)
    q, k, v = (_ready(xp, x) for x in form.arrays)
    y = _like(xp, q, form.y_shape)
    lse = xp.empty(form.lse_shape, dtype="float32")
    arrays = {1: q, 2: k, 3: v, 4: y, 5: lse}
    if bias is not None:
        arrays[6] = _finite(xp, form)
    plans.run(plan, arrays)
    if bias is not None:
        blind = xp.max(form.bias, axis=-1, keepdims=True) == -xp.inf
        y, lse = xp.where(blind, xp.zeros((), dtype=y.dtype), y), xp.where(blind, xp.inf, lse)
    return y.reshape(*form.batch, *y.shape[-2:]), lse.reshape(*form.batch, *lse.shape[-2:])


def _forward_plan(plans, form, scale, causal):
    key = (*form.key(), form.like(form.arrays[0], form.y_shape), float(scale), bool(causal))
    return plans.find("flash_attention", key, functools.partial(_describe, *key, form.dtype), form.dtype)


def _describe(shapes, strides, y_strides, scale, causal, dtype, cudnn, graph):
    q, k, v = (tensor(cudnn, graph, uid, shapes[uid - 1], strides[uid - 1], dtype) for uid in (1, 2, 3))
    options = _options(cudnn, scale, causal)
    if shapes[3] is not None:
        options["bias"] = tensor(cudnn, graph, 6, shapes[3], strides[3], dtype)
    y, lse = graph.sdpa(q=q, k=k, v=v, generate_stats=True, **options)
    rows = shapes[0][:3]
    output(cudnn, y, 4, (*rows, shapes[2][3]), y_strides, dtype)
    output(cudnn, lse, 5, (*rows, 1), _dense((*rows, 1)), "float32")


def _options(cudnn, scale, causal):
    """What forward and backward are told alike."""
    options = {"attn_scale": scale}
    if causal:
        options |= {
            "diagonal_alignment": cudnn.diagonal_alignment.TOP_LEFT,
            "diagonal_band_right_bound": 0,
        }
    return options


# --- backward ---


def _gradient_guard(plans, query, key, value, bias, y, lse, gy, g_lse, needs, scale, causal, kept, share):
    if kept is not None or needs[3] or gy is None or g_lse is not None:
        return False
    if (
        not _possible(plans, query, key, value, bias)
        or gy.dtype != y.dtype
        or gy.__class__ is not y.__class__
    ):
        return False
    return _backward_plan(plans, _Form(query, key, value, bias), y, gy, scale, causal) is not None


def _backward(plans, xp, query, key, value, bias, y, lse, gy, g_lse, needs, scale, causal, kept, share):
    """The gradients of query, key and value."""
    form = _Form(query, key, value, bias)
    plan = _backward_plan(plans, form, y, gy, scale, causal)
    q, k, v, y, gy = (_ready(xp, x) for x in (*form.arrays, *form.as_y(y, gy)))
    found = [_like(xp, x, x.shape) for x in (q, k, v)]
    lse = xp.ascontiguousarray(lse).reshape(form.lse_shape)
    arrays = dict(enumerate((q, k, v, y, gy, lse, *found), start=1))
    if bias is not None:
        arrays[10] = _finite(xp, form)
    plans.run(plan, arrays)
    return (*(one.reshape(x.shape) for one, x in zip(found, (query, key, value), strict=True)), None)


def _backward_plan(plans, form, y, gy, scale, causal):
    y_strides = tuple(_strides(x) for x in form.as_y(y, gy))
    key = (
        *form.key(),
        y_strides,
        tuple(form.like(x, x.shape) for x in form.arrays),
        float(scale),
        bool(causal),
    )
    describe = functools.partial(_describe_backward, *key, form.dtype)
    return plans.find("flash_attention gradients", key, describe, form.dtype)


def _describe_backward(shapes, strides, y_strides, made_strides, scale, causal, dtype, cudnn, graph):
    q, k, v = (tensor(cudnn, graph, uid, shapes[uid - 1], strides[uid - 1], dtype) for uid in (1, 2, 3))
    rows = shapes[0][:3]
    y, gy = (
        tensor(cudnn, graph, uid, (*rows, shapes[2][3]), one, dtype)
        for uid, one in zip((4, 5), y_strides, strict=True)
    )
    lse = tensor(cudnn, graph, 6, (*rows, 1), _dense((*rows, 1)), "float32")
    options = _options(cudnn, scale, causal)
    if shapes[3] is not None:
        options["bias"] = tensor(cudnn, graph, 10, shapes[3], strides[3], dtype)
    fixed = precision_settings.cudnn.deterministic or determinism.are_deterministic_algorithms_enabled()
    made = graph.sdpa_backward(
        q=q, k=k, v=v, o=y, dO=gy, stats=lse, use_deterministic_algorithm=bool(fixed), **options
    )
    for uid, one, shape, stride in zip((7, 8, 9), made, shapes, made_strides, strict=False):
        output(cudnn, one, uid, shape, stride, dtype)


# --- arrays as cuDNN wants them ---


def _possible(plans, query, key, value, bias):
    """Whether these are arrays that cuDNN may have a plan for."""
    others = [x for x in (key, value, bias) if x is not None]
    return (
        name_of(query.dtype) in _LOWEST
        and "cudnn" in attention_ways.allowed()
        and all(x.dtype == query.dtype and x.__class__ is query.__class__ for x in others)
        and 0 not in (*query.shape, *key.shape, *value.shape)
        and all(x.shape[-1] % 8 == 0 and x.shape[-1] <= _MOST_FEATURES for x in (query, value))
        and plans.usable()
        and _groups(query, key, value, bias) is not None
    )


def _groups(query, key, value, bias):
    """How the axes of the batch are told: (B, H, h, the shape of a bias), with H / h queries for each key; None if they cannot be."""
    batch, shared = tuple(query.shape[:-2]), tuple(key.shape[:-2])
    if tuple(value.shape[:-2]) != shared:
        return None
    if batch == shared:
        heads = keys = batch[-1] if batch else 1
        joined = 1
    elif len(batch) == len(shared) > 1 and batch[:-1] == shared[:-1] and shared[-1] == 1:
        heads, keys, joined = batch[-2] * batch[-1], batch[-2], 2
    else:
        return None
    lead = batch[:-joined]
    groups = math.prod(lead), heads, keys
    if bias is None:
        return *groups, None
    given = ((1,) * (len(batch) + 2 - bias.ndim) + tuple(bias.shape))[:-2]
    parts = []
    for axes, mine in ((lead, given[: len(lead)]), (batch[len(lead) :], given[len(lead) :])):
        if set(mine) <= {1}:
            parts.append(1)
        elif mine == axes:
            parts.append(math.prod(axes))
        else:
            return None
    return *groups, tuple(parts)


class _Form:
    """The arrays with four axes."""

    def __init__(self, query, key, value, bias):
        b, heads, keys, lead = _groups(query, key, value, bias)
        self.batch, self.dtype = tuple(query.shape[:-2]), name_of(query.dtype)
        self.arrays = [
            query.reshape(b, heads, *query.shape[-2:]),
            *(x.reshape(b, keys, *x.shape[-2:]) for x in (key, value)),
        ]
        self.bias = None if bias is None else bias.reshape(*lead, *((1, 1) + tuple(bias.shape))[-2:])
        self.y_shape = b, heads, query.shape[-2], value.shape[-1]
        self.lse_shape = b, heads, query.shape[-2], 1

    def key(self):
        """Shapes and strides of query, key, value and bias."""
        shapes, strides = [tuple(x.shape) for x in self.arrays], [_strides(x) for x in self.arrays]
        bias = None if self.bias is None else self.bias_shape()
        return (*shapes, bias), (*strides, bias and _dense(bias))

    def bias_shape(self):
        """That with which a bias is told: B and H may be 1, L and S are full."""
        return *self.bias.shape[:2], self.y_shape[2], self.arrays[1].shape[2]

    def as_y(self, *arrays):
        """y or its gradient, with four axes."""
        return [x.reshape(self.y_shape) for x in arrays]

    def like(self, x, shape):
        """The strides of what `_like` makes."""
        return _permuted(_order(x), shape)


def _finite(xp, form):
    """The bias at its full size, without -inf."""
    bias = xp.maximum(form.bias, xp.full((), _LOWEST[form.dtype], dtype=form.bias.dtype))
    return xp.ascontiguousarray(xp.broadcast_to(bias, form.bias_shape()))


def _usable(x):
    """Whether cuDNN can read the array where it lies."""
    strides = [one for one, n in zip(x.strides, x.shape, strict=True) if n > 1]
    return (
        x.strides[-1] == x.itemsize
        and 0 not in strides
        and all(one % _ALIGNED == 0 for one in strides if one != x.itemsize)
        and x.data.ptr % _ALIGNED == 0
    )


def _ready(xp, x):
    """The array, or a row-major copy."""
    return x if _usable(x) else xp.array(x, order="C")


def _strides(x):
    """The strides, in elements, of what `_ready` gives; those of axes of length 1 are as in a row-major array."""
    dense = _dense(x.shape)
    if not _usable(x):
        return dense
    return tuple(d if n == 1 else one for one, n, d in zip(elements(x), x.shape, dense, strict=True))


def _dense(shape):
    return tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))


def _order(x):
    """The axes but the last, from the outermost in memory to the innermost, of what `_ready` gives."""
    strides = _strides(x)
    return sorted(range(3), key=lambda k: -strides[k])


def _permuted(order, shape):
    """The strides of an array without gaps whose axes lie in that order, the last one contiguous."""
    strides, step = [1] * 4, shape[3]
    for k in reversed(order):
        strides[k], step = step, step * shape[k]
    return tuple(strides)


def _like(xp, x, shape):
    """A new array whose axes lie in the order of those of x: heads that are slices of features give such again."""
    order = _order(x)
    made = xp.empty([shape[k] for k in (*order, 3)], dtype=x.dtype)
    return xp.transpose(made, (*(order.index(k) for k in range(3)), 3))
