"""How many floating point operations an operation takes: the table the profiler counts by.

A formula takes the input arrays, the output (the first, of several) and the static keywords. Products and convolutions count a
multiplication and an addition for each term. What only moves elements counts 0. Everything else counts 1 for each element of the
largest array it touches, as elementwise operations do: a logarithm no more than an addition.

Backward is not measured: for each input that needs a gradient an operation is taken to cost what its forward does, which for
products and convolutions is exact, vectors and biases left out.
"""

import math

MOVES = frozenset(
    """as_strided astype broadcast_to concatenate conj copy diagonal diagonal_scatter embedding expand_dims flip getitem
    imag index_put move pad pool_gather put_region real repeat replace reshape roll reverse_rows scatter squeeze stack swapaxes take
    take_along_axis tile transpose tril triu write_region""".split()
)


def _matmul(arrays, y, static):
    return 2 * y.size * arrays[0].shape[-1]


def _einsum(arrays, y, static):
    letters = {}
    for term, x in zip(static["equation"].split("->")[0].split(","), arrays, strict=True):
        letters.update(zip(term, x.shape, strict=True))
    return max(len(arrays), 1) * math.prod(letters.values())


def _conv(arrays, y, static):
    """Each output sees the weight's taps of its group."""
    return 2 * y.size * math.prod(arrays[1].shape[1:])


def _conv_input(arrays, y, static):
    return 2 * arrays[0].size * math.prod(arrays[1].shape[1:])


def _conv_weight(arrays, y, static):
    return 2 * arrays[1].size * math.prod(y.shape[1:])


def _recurrent(arrays, y, static):
    """gx (R, G*H), w (G*H, H): a product with w for each row, and about 5 operations for each gate."""
    gx, w = arrays[0], arrays[1]
    return 2 * gx.size * w.shape[1] + 5 * gx.size


def _recurrence(place):
    """A product with w, the input at `place`, for each of the rows."""
    return lambda arrays, y, static: 2 * sum(static["sizes"]) * arrays[place].size


def _attention(arrays, y, static):
    """Two products, Q K^T and P V, and about 5 operations for each probability."""
    query, key, value = arrays[:3]
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return scores * (2 * query.shape[-1] + 2 * value.shape[-1] + 5)


def _cubic(factor):
    """factor * n^3 for each n x n (or n^2 m for m x n) matrix of the first input."""

    def count(arrays, y, static):
        m, n = arrays[0].shape[-2:]
        return int(factor * arrays[0].size * min(m, n)) if m and n else 0

    return count


def _solve(factor):
    """A factorisation of factor * n^3, and 2 n^2 for each column of the right-hand side."""

    def count(arrays, y, static):
        return _cubic(factor)(arrays, y, static) + 2 * arrays[0].shape[-1] * y.size

    return count


def _fft(arrays, y, static):
    """5 n log2 n for each transform of length n (Cooley and Tukey 1965)."""
    size = max(arrays[0].size, y.size)
    axes = static["axes"] if "axes" in static else (static["axis"],)
    return int(5 * size * sum(math.log2(max(arrays[0].shape[axis], y.shape[axis], 1)) for axis in axes))


FORMULAS = {
    "matmul": _matmul, "linear": _matmul, "einsum": _einsum, "conv": _conv, "conv_input": _conv_input, "conv_weight": _conv_weight,
    "rnn": _recurrent, "lstm": _recurrent, "gru": _recurrent, "state_recurrence": _recurrence(3), "memory_recurrence": _recurrence(5),
    "state_recurrence_transpose": _recurrence(3), "memory_recurrence_transpose": _recurrence(5), "attention": _attention, "flash_attention": _attention,
    "inv": _cubic(2), "det": _cubic(2 / 3), "slogdet": _cubic(2 / 3), "lu_factor": _cubic(2 / 3), "cholesky": _cubic(1 / 3),
    "qr": _cubic(4 / 3), "eigh": _cubic(9), "eigvalsh": _cubic(4 / 3), "eig": _cubic(25), "eigvals": _cubic(10), "svd": _cubic(21),
    "svdvals": _cubic(8 / 3), "matrix_exp": _cubic(2 * 8), "solve": _solve(2 / 3), "solve_triangular": _solve(0),
    "fftn": _fft, "ifftn": _fft, "rfft": _fft, "irfft": _fft,
}  # fmt: skip


def count(name, arrays, y, static):
    """Floating point operations of the operation `name` on these input arrays, with the output y."""
    formula = FORMULAS.get(name)
    if formula is not None:
        return formula(arrays, y, static)
    if name in MOVES:
        return 0
    return max((one.size for one in (*arrays, y) if hasattr(one, "size")), default=0)


def backward(name, forward, dimensions):
    """The same of its rules, for an operation that took `forward`, and gradients of so many dimensions each."""
    if name in FORMULAS:
        return forward * sum(1 for one in dimensions if one > 1)  # a bias is summed, not multiplied
    return forward * len(dimensions)
