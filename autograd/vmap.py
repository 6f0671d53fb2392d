"""`vmap`: a function of one sample becomes a function of a batch.

The batch axis of every argument is hidden in its array, so that the function, its operations and their derivatives see one sample
and compute all of them; see `batching.py`.
"""

import functools
from collections import namedtuple

from chainrule.backends.batched import levels_of, merged

from . import late
from .batching import add_batch, here, leave, level, to_levels
from .transforms import flatten

# --- a Function's own rule ---

VmapInfo = namedtuple("VmapInfo", ["batch_size", "randomness"])


def batch_of(args):
    """The innermost level, (number, size), of the Tensors among `args`; None if they have none."""
    levels = levels_of(tuple(one._array for one in args if isinstance(one, late.Tensor)))
    return levels[-1] if levels else None


def by_own_rule(cls, args):
    """`cls.apply(*args)` by what `cls.vmap` says: for the innermost level, whose batch it gets to see as dimension 0."""
    number, size = batch_of(args)
    # What wants a gradient has one for each sample, and so goes in as a batch too.
    args = [
        to_levels(one, levels=merged(levels_of(one._array), ((number, size),)))
        if isinstance(one, late.Tensor) and one.requires_grad
        else one
        for one in args
    ]
    dims = tuple(
        0 if isinstance(one, late.Tensor) and (number, size) in levels_of(one._array) else None
        for one in args
    )
    seen = [one if dim is None else leave(one, number, size, 0) for one, dim in zip(args, dims, strict=True)]
    mode = next((mode for one, _, mode in here.randomness if one == number), "error")
    outputs, places = cls.vmap(VmapInfo(size, mode), dims, *seen)
    several = isinstance(outputs, (tuple, list))
    if not several:
        outputs, places = (outputs,), (places,)
    elif not isinstance(places, (tuple, list)):
        places = (places,) * len(outputs)
    hidden = tuple(
        one if place is None else add_batch(one, number=number, size=size, axis=place % one.ndim)
        for one, place in zip(outputs, places, strict=True)
    )
    return hidden if several else hidden[0]


# --- vmap ---


def vmap(func, in_dims=0, out_dims=0, randomness="error", *, chunk_size=None):
    """A function that computes `func` for every sample of a batch at once: what a loop over them would, stacked.

    in_dims: the dimension of each argument that counts the samples, or None for an argument that all share; one for all, or nested
    like the arguments. Keyword arguments are shared. out_dims: where it goes in each result, likewise; None for a result that is the
    same for all samples. randomness: "error", "different" or "same" random numbers for the samples. chunk_size: how many samples
    at a time, to bound memory. Nests with itself and with `grad`, `vjp`, `jacrev` in any order.
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"vmap: randomness must be 'error', 'different' or 'same', got {randomness!r}")
    if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise ValueError(f"vmap: chunk_size must be None or an int of at least 1, got {chunk_size!r}")

    @functools.wraps(func)
    def batched(*args, **kwargs):
        leaves, rebuild = flatten(args)
        dims = _in_dims(in_dims, args, leaves)
        size = _size(leaves, dims)
        if chunk_size is None or size <= chunk_size:
            return _at_once(func, leaves, rebuild, dims, size, out_dims, randomness, kwargs)
        parts = []
        for start in range(0, size, chunk_size):
            length = min(chunk_size, size - start)
            pieces = [
                x if d is None else x.narrow(d, start, length) for x, d in zip(leaves, dims, strict=True)
            ]
            parts.append(_at_once(func, pieces, rebuild, dims, length, out_dims, randomness, kwargs))
        return _chunks_joined(parts, out_dims)

    return batched


def _at_once(func, leaves, rebuild, dims, size, out_dims, randomness, kwargs):
    with level(size, randomness) as number:
        inputs = [
            x if d is None else add_batch(x, number=number, size=size, axis=d)
            for x, d in zip(leaves, dims, strict=True)
        ]
        result = func(*rebuild(inputs), **kwargs)
        outputs, rebuild_result = flatten(result)
        places = _out_dims(out_dims, result, outputs)
        return rebuild_result(
            [_leaving(one, number, size, place) for one, place in zip(outputs, places, strict=True)]
        )


def _leaving(x, number, size, place):
    """A result on its way out, with the samples at dimension `place`."""
    has = any(one == number for one, _ in levels_of(x._array))
    if place is None:
        if has:
            raise ValueError(
                f"vmap: out_dims is None for a result of shape {tuple(x.shape)} that differs between samples; give a dimension"
            )
        return x
    if not -x.ndim - 1 <= place <= x.ndim:
        raise IndexError(
            f"vmap: out_dims {place} is out of range for a result of shape {tuple(x.shape)}; expected -{x.ndim + 1} to {x.ndim}"
        )
    return leave(x, number, size, place % (x.ndim + 1))


def _spread(dims, tree, leaves, what):
    """`dims`, one for all or nested like `tree`, as a list with one entry for each leaf."""
    found = []

    def walk(dims, tree):
        if dims is None or (isinstance(dims, int) and not isinstance(dims, bool)):
            found.extend([dims] * len(flatten(tree)[0]))
        elif isinstance(dims, (tuple, list)) and isinstance(tree, (tuple, list)) and len(dims) == len(tree):
            for one, part in zip(dims, tree, strict=True):
                walk(one, part)
        elif isinstance(dims, dict) and isinstance(tree, dict) and dims.keys() == tree.keys():
            for key, part in tree.items():
                walk(dims[key], part)
        else:
            raise ValueError(
                f"vmap: {what}={dims!r} does not have the structure of {_described(tree)}; give an int, None, or the same nesting"
            )

    walk(dims, tree)
    return found


def _described(tree):
    if isinstance(tree, dict):
        return f"a dict with keys {sorted(map(str, tree))}"
    return (
        f"a {type(tree).__name__} of {len(tree)}"
        if isinstance(tree, (tuple, list))
        else f"a {type(tree).__name__}"
    )


def _in_dims(in_dims, args, leaves):
    """The batch dimension of every leaf of the arguments, counted from the front, or None."""
    if not isinstance(in_dims, (int, tuple, list)) or isinstance(in_dims, bool):
        raise ValueError(
            f"vmap: in_dims must be an int or a tuple, nested like the arguments, got {in_dims!r}"
        )
    if not args:
        raise ValueError("vmap: expected at least one argument to take the samples from")
    dims = _spread(list(in_dims) if isinstance(in_dims, tuple) else in_dims, list(args), leaves, "in_dims")
    for i, (x, dim) in enumerate(zip(leaves, dims, strict=True)):
        if dim is None:
            continue
        if not isinstance(x, late.Tensor):
            raise ValueError(
                f"vmap: in_dims is {dim} for an argument of type {type(x).__name__}, which is no Tensor; use None for it"
            )
        if not -x.ndim <= dim < x.ndim:
            raise ValueError(
                f"vmap: in_dims {dim} is out of range for an argument of shape {tuple(x.shape)}, which has {x.ndim} dimensions"
            )
        dims[i] = dim % x.ndim
    return dims


def _size(leaves, dims):
    sizes = [x.shape[d] for x, d in zip(leaves, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: in_dims is None for every argument; at least one must have a batch dimension")
    if len(set(sizes)) > 1:
        raise ValueError(
            f"vmap: the arguments have batches of different sizes, {sizes}, along their in_dims; they must agree"
        )
    return sizes[0]


def _out_dims(out_dims, result, outputs):
    for one in outputs:
        if not isinstance(one, late.Tensor):
            raise ValueError(f"vmap: the function must return Tensors, it returned {type(one).__name__}")
    return _spread(out_dims, result, outputs, "out_dims")


def _chunks_joined(parts, out_dims):
    """The results of the chunks, one after the other along their out_dims."""
    flat = [flatten(one)[0] for one in parts]
    _, rebuild = flatten(parts[0])
    places = _spread(out_dims, parts[0], flat[0], "out_dims")
    return rebuild(
        [
            column[0] if place is None else late.ops.concatenate(list(column), axis=place)
            for column, place in zip(zip(*flat, strict=True), places, strict=True)
        ]
    )
