"""One launch for all parameters: Adam, SGD, the norm of all gradients, clipping. `source/many.cu`.

`optim.Adam` and `optim.SGD` ask for the first two, `nn.utils.clip_grad_norm_` for the norm and the scaling. All tensors of a call are of one dtype and contiguous. They are updated in place, and are what is returned. The addresses
and the options lie in small arrays on the card, which are made when they change: in a training loop whose gradients come to
lie where those of the step before lay, in the first step only.
"""

import functools
import math

import numpy as np

from .registry import kernel, name_of, over_elements, plain, wide_of

_CHUNK = 1 << 14  # elements that one block works on
_THREADS = 256


@functools.lru_cache(maxsize=256)
def _cut(sizes):
    """For each block the tensor that it works on, and its first element there."""
    owners = tuple(t for t, size in enumerate(sizes) for _ in range(0, size, _CHUNK))
    starts = tuple(start for size in sizes for start in range(0, size, _CHUNK))
    return owners, starts


def _plan(launch, lists):
    """(number of blocks, arguments common to all): the table of addresses and how the work is cut."""
    first, address = lists[0], launch.address
    sizes = tuple([array.size for array in first])
    table = tuple([address(one) for arrays in zip(*lists, strict=True) for one in arrays])
    owners, starts = _cut(sizes)
    # Of several lists the first is the parameters, which stay where they are.
    owner = len(lists), sizes, table[0] if len(lists) > 1 else None
    return len(owners), [
        launch.table(owner, table),
        *(launch.constants(one) for one in (sizes, owners, starts)),
    ]


def _steps(launch, steps):
    """The kernel's arguments `steps` and `step`: nothing is copied to the card where all tensors are at the same step.

    Steps that are counted on the card are given as 0-d arrays, of which the kernel gets the addresses.
    """
    first = steps[0]
    if not isinstance(first, int):
        return launch.constants(tuple(map(launch.address, steps))), -1
    return (None, first) if steps.count(first) == len(steps) else (launch.table("steps", tuple(steps)), 0)


def _numbers(launch, given, owner, *options):
    """The options on the device: `given` if they lie there already."""
    return launch.table(owner, tuple(map(float, options)), "float64") if given is None else given


def _adam_reference(
    params,
    grads,
    means,
    squares,
    steps,
    tops=None,
    scale=None,
    skip=None,
    *,
    lr,
    betas,
    eps,
    weight_decay=0.0,
    decoupled=False,
    maximize=False,
    numbers=None,
):
    if skip is not None and skip:
        return params, means, squares
    if numbers is not None:
        lr, *betas, eps, weight_decay, decoupled, maximize, _ = numbers.tolist()
    for k, (x, g, m, v, t) in enumerate(zip(params, grads, means, squares, steps, strict=True)):
        g = g * (1 if scale is None else scale) * (-1 if maximize else 1)
        if decoupled:
            x *= 1 - lr * weight_decay
        else:
            g = g + weight_decay * x
        m += (1 - betas[0]) * (g - m)
        v += (1 - betas[1]) * (g * g - v)
        largest = v if tops is None else np.maximum(tops[k], v, out=tops[k])
        x -= lr * (m / (1 - betas[0] ** t)) / (np.sqrt(largest / (1 - betas[1] ** t)) + eps)
    return params, means, squares


@kernel("many", _adam_reference, replaces="adam", guard=plain)
def adam(
    launch,
    xp,
    params,
    grads,
    means,
    squares,
    steps,
    tops=None,
    scale=None,
    skip=None,
    *,
    lr,
    betas,
    eps,
    weight_decay=0.0,
    decoupled=False,
    maximize=False,
    numbers=None,
):
    """A step of Adam (AdamW with `decoupled`, AMSGrad with `tops`), of lists of arrays; steps: the number of each one's step, from 1.

    scale: a device number of the dtype computed in, that gradients are multiplied with first, or None. skip: an int32 on the device
    that, if not 0, turns the step into nothing, or None. numbers: a float64 array (lr, beta1, beta2, eps, weight_decay, decoupled,
    maximize, amsgrad) that is read instead of the options.
    """
    lists = [params, grads, means, squares, *([tops] if tops is not None else [])]
    blocks, plan = _plan(launch, lists)
    numbers = _numbers(
        launch,
        numbers,
        launch.address(params[0]),
        lr,
        *betas,
        eps,
        weight_decay,
        decoupled,
        maximize,
        tops is not None,
    )
    table, step = _steps(launch, steps)
    name, grid, block = name_of(params[0].dtype), (blocks, 1, 1), (_THREADS, 1, 1)
    launch("many", "adam", name, grid, block, *plan, table, numbers, scale, skip, _CHUNK, step)
    return params, means, squares


def _sgd_reference(
    params,
    grads,
    buffers,
    steps,
    scale=None,
    skip=None,
    *,
    lr,
    momentum=0.0,
    dampening=0.0,
    weight_decay=0.0,
    nesterov=False,
    maximize=False,
    numbers=None,
):
    if skip is not None and skip:
        return params, buffers
    if numbers is not None:
        lr, momentum, dampening, weight_decay, nesterov, maximize = numbers.tolist()
    for k, (x, g) in enumerate(zip(params, grads, strict=True)):
        g = g * (1 if scale is None else scale) * (-1 if maximize else 1) + weight_decay * x
        if momentum:
            buffers[k][...] = g if steps[k] == 1 else momentum * buffers[k] + (1 - dampening) * g
            g = g + momentum * buffers[k] if nesterov else buffers[k]
        x -= lr * g
    return params, buffers


@kernel("many", _sgd_reference, replaces="sgd", guard=plain)
def sgd(
    launch,
    xp,
    params,
    grads,
    buffers,
    steps,
    scale=None,
    skip=None,
    *,
    lr,
    momentum=0.0,
    dampening=0.0,
    weight_decay=0.0,
    nesterov=False,
    maximize=False,
    numbers=None,
):
    """A step of gradient descent; with momentum 0 `buffers` is not looked at. scale, skip: as in `adam`.

    numbers: a float64 array (lr, momentum, dampening, weight_decay, nesterov, maximize) that is read instead of the options.
    """
    blocks, plan = _plan(launch, [params, grads, *([buffers] if momentum else [])])
    numbers = _numbers(
        launch, numbers, launch.address(params[0]), lr, momentum, dampening, weight_decay, nesterov, maximize
    )
    table, step = _steps(launch, steps)
    name, grid, block = name_of(params[0].dtype), (blocks, 1, 1), (_THREADS, 1, 1)
    launch("many", "sgd", name, grid, block, *plan, table, numbers, scale, skip, _CHUNK, step)
    return params, buffers


def _norm_reference(arrays, limit=math.inf):
    total = math.sqrt(sum((a * a).sum() for a in arrays))
    return np.array([total, min(1.0, limit / (total + 1e-6))])


@kernel("many", _norm_reference, replaces="total_norm", guard=plain)
def total_norm(launch, xp, arrays, limit=math.inf):
    """(2): the 2-norm of all elements together, and the factor min(1, limit / (norm + 1e-6)) that clips it. Stays on the device."""
    name, wide = name_of(arrays[0].dtype), wide_of(arrays[0].dtype)
    blocks, plan = _plan(launch, [arrays])
    partial, found = xp.empty(blocks, dtype=wide), xp.empty(2, dtype=wide)
    launch("many", "squares", name, (blocks, 1, 1), (_THREADS, 1, 1), *plan, partial, _CHUNK)
    launch("many", "total_norm", name, (1, 1, 1), (1024, 1, 1), partial, found, blocks, float(limit))
    return found


def _scale_guard(factor, first, *arrays):
    return plain(first, *arrays) and factor.size == 1 and factor.dtype == wide_of(first.dtype)


def _scale_reference(arrays, factor):
    for a in arrays:
        a *= factor
    return arrays


@kernel("many", _scale_reference, replaces="scale_all", guard=_scale_guard)
def scale_all(launch, xp, arrays, factor):
    """All arrays multiplied, in place, with one number that lies on the device, of the dtype computed in."""
    blocks, plan = _plan(launch, [arrays])
    grid, block = (blocks, 1, 1), (_THREADS, 1, 1)
    launch("many", "scale_all", name_of(arrays[0].dtype), grid, block, *plan, factor, _CHUNK)
    return arrays


def _clip_reference(arrays, limit):
    norm, factor = _norm_reference(arrays, limit)
    return _scale_reference(arrays, factor), norm


@kernel("many", _clip_reference)
def clip_norm(launch, xp, arrays, limit):
    """All arrays scaled in place so that their norm together is at most `limit`; and the norm before, 0-d."""
    found = total_norm(launch, xp, arrays, limit)
    return scale_all(launch, xp, arrays, found[1:]), found[0]


# --- what a captured step counts on the device ---


def _count_reference(counts, skip=None):
    if skip is None or not skip:
        for one in counts:
            one += 1
    return counts


@kernel("many", _count_reference, replaces="count_steps", dtypes=("float32",))
def count_steps(launch, xp, counts, skip=None):
    """One more step counted in each of `counts`, 0-d int64 arrays; skip: as in `adam`."""
    table = launch.constants(tuple(map(launch.address, counts)))
    grid, block = over_elements(len(counts))
    launch("many", "count_steps", "float32", grid, block, table, skip, len(counts))
    return counts


def _unscale_reference(arrays, scale, found):
    if not all(np.isfinite(a).all() for a in arrays):
        found[...] = 1
    for a in arrays:
        a *= np.float32(1 / float(scale))
    return arrays, found


@kernel("many", _unscale_reference, replaces="unscale", guard=plain)
def unscale(launch, xp, arrays, scale, found):
    """All arrays divided, in place, by the loss scale, a float32 on the device; found, an int32 there, is 1 then if one was not finite."""
    blocks, plan = _plan(launch, [arrays])
    grid, block = (blocks, 1, 1), (_THREADS, 1, 1)
    launch("many", "unscale", name_of(arrays[0].dtype), grid, block, *plan, scale, found, _CHUNK)
    return arrays, found


def _adapt_reference(scale, good, found, numbers):
    growth, backoff, interval = numbers
    good += 1
    if found:
        scale[...], good[...] = np.float32(float(scale) * backoff), 0
    elif good == interval:
        with np.errstate(over="ignore"):
            grown = np.float32(float(scale) * growth)
        scale[...], good[...] = grown if np.isfinite(grown) else scale, 0
    return scale, good


@kernel("many", _adapt_reference, replaces="adapt_scale", dtypes=("float32",))
def adapt_scale(launch, xp, scale, good, found, numbers):
    """The loss scale (float32) and the count of good steps (int64) after a step; numbers: growth, backoff, interval in float64."""
    launch("many", "adapt_scale", "float32", (1, 1, 1), (1, 1, 1), scale, good, found, numbers)
    return scale, good
