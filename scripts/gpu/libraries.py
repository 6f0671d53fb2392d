"""Matrix products, convolutions and attention: what NVIDIA's libraries compute for us, against float64 on the CPU.

Each is run through the public functions, forward and backward, by every path there is: "library" (cuBLASLt, cuDNN), "kernels" (cuDNN
switched off: im2col, our attention) and "array" (no kernel of ours either). An error is |found - right| / |right|, over all of an array.
"""

import contextlib
import warnings

import numpy as np

import chainrule as cr
import chainrule.nn.functional as F

from .items import Wrong

LIMIT = 20.0
# What a path may be off: rounding of the operands is not counted, the reference has the same.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "tf32": 3e-3, "float16": 3e-3, "bfloat16": 2e-2}
PATHS = ("library", "kernels", "array")


@contextlib.contextmanager
def path(place, name, tf32=False):
    """Compute by that path inside."""
    backend, cudnn, matmul = place.backend, cr.backends.cudnn, cr.backends.cuda.matmul
    before = backend.kernels, cudnn.enabled, cudnn.fp32_precision, matmul.fp32_precision
    try:
        cudnn.enabled = name == "library"
        cudnn.fp32_precision = matmul.fp32_precision = "tf32" if tf32 else "ieee"
        if name == "array":
            backend.kernels = {}
        yield
    finally:
        backend.kernels, cudnn.enabled, cudnn.fp32_precision, matmul.fp32_precision = before


def error(found, right):
    """|found - right| / |right|, NaN if anything is not finite."""
    found, right = np.asarray(found, "float64"), np.asarray(right, "float64")
    if found.shape != right.shape:
        raise Wrong(f"the shape is {found.shape} and should be {right.shape}")
    return float(np.linalg.norm(found - right) / max(np.linalg.norm(right), 1e-30))


def derivatives(function, tensors, seed):
    """The result and the gradients of `sum(result * g)`, as float64 arrays of the host."""
    leaves = [one.detach().requires_grad_() for one in tensors]
    y = function(*leaves)
    g = cr.tensor(np.random.default_rng(seed).standard_normal(y.shape), device=y.device).to(y.dtype)
    y.backward(g)
    return [one.detach().cpu().to(cr.float64).numpy() for one in (y, *(leaf.grad for leaf in leaves))]


def compare(place, function, shapes, dtype, paths=PATHS, seed=0, change=lambda tensors: tensors):
    """Errors of the result and of each gradient, by path; Wrong if one is too large."""
    kind = "float32" if dtype == "tf32" else dtype
    rng = np.random.default_rng(seed)
    given = [cr.tensor(rng.standard_normal(shape) / 2).to(getattr(cr, kind)) for shape in shapes]
    right = derivatives(function, [one.to(cr.float64) for one in given], seed + 1)
    found, bad = {}, []
    for name in paths:
        with path(place, name, dtype == "tf32"), cr.cuda.count() as work:
            got = derivatives(function, change([one.to(place.device) for one in given]), seed + 1)
        errors = [error(*pair) for pair in zip(got, right, strict=True)]
        found[name] = {"errors": errors, "launched": dict(work.launched_names.most_common(8))}
        if not all(one <= TOLERANCE[dtype] for one in errors):
            bad.append(f"{name}: {', '.join(f'{one:.1e}' for one in errors)}")
    if bad:
        raise Wrong(
            f"errors of the result and the gradients, at most {TOLERANCE[dtype]:.0e}: {'; '.join(bad)}",
            paths=found,
        )
    return {"paths": found}


# --- matrix products ---

PRODUCTS = [
    # shapes, and what is turned before
    ((1, 1), (1, 1)),
    ((7, 5), (5, 3)),
    ((129, 65), (65, 33)),
    ((256, 512), (512, 384)),
    ((3, 17, 40), (3, 40, 9)),
    ((2, 3, 8, 16), (16, 24)),
    ((4, 1, 8, 16), (5, 16, 8)),
    ((1, 4096), (4096, 64)),
    ((33,), (33, 7)),
]
TURNED = {
    "as they are": lambda a, b: a @ b,
    "first transposed": lambda a, b: a.mT.contiguous().mT @ b,
    "second transposed": lambda a, b: a @ b.mT.contiguous().mT,
    "every other": lambda a, b: a.repeat_interleave(2, -1)[..., ::2] @ b,
}


def products(place, dtype):
    """All shapes, as they are, transposed and with gaps."""
    found = {}
    for how, function in TURNED.items():
        for shapes in PRODUCTS:
            if len(shapes[0]) < 2 and "transposed" in how:
                continue
            try:
                values = compare(place, function, shapes, dtype, ("library",))
                found[f"{shapes} {how}"] = values["paths"]["library"]["errors"]
            except Wrong as wrong:
                raise Wrong(f"{shapes} {how}: {wrong}", errors=found) from None
    return {"errors": found}


def linear(place, dtype):
    """Linear layers with a bias, whose products may have epilogues."""
    found = {}
    for shapes in [((5, 7), (3, 7), (3,)), ((128, 256), (512, 256), (512,)), ((2, 9, 64), (40, 64), (40,))]:
        for name, function in {"plain": F.linear, "relu": lambda x, w, b: F.relu(F.linear(x, w, b)), "gelu": lambda x, w, b: F.gelu(F.linear(x, w, b)), "gelu_tanh": lambda x, w, b: F.gelu(F.linear(x, w, b), approximate="tanh")}.items():  # fmt: skip
            found[f"{shapes} {name}"] = compare(place, function, shapes, dtype, ("library", "array"))["paths"]
    return {"linear": found}


def _gelu(x, tanh):
    from math import erf, pi

    if tanh:
        return x / 2 * (1 + np.tanh((2 / pi) ** 0.5 * (x + 0.044715 * x**3)))
    return x / 2 * (1 + np.vectorize(erf)(x / 2**0.5))


def gelu_epilogue(place):
    """Which GELU the epilogue computes: its distance to the exact form and to the one by tanh, in float32."""
    multiply = place.products()
    x = np.linspace(-4, 4, 64 * 64, dtype="float32").reshape(64, 64)
    y = place.back(
        multiply(place.to(x), place.to(np.eye(64, dtype="float32")), activation="gelu", allow_tf32=False)
    )
    exact, tanh = (float(np.abs(y - _gelu(x.astype("float64"), form)).max()) for form in (False, True))
    values = {"from the exact form": exact, "from the tanh form": tanh}
    if not tanh < 1e-5:
        raise Wrong(f"it is not the tanh form, which the library takes it for: {values}", **values)
    return {"form": "tanh", **values}


def epilogues(place, dtype):
    """Bias, ReLU and GELU with what their gradients need, the gradients, the sums, and adding to what is there."""
    multiply, found, rng = place.products(), {}, np.random.default_rng(0)
    kind = np.dtype(getattr(cr, dtype).dtype)
    m, k, n = 64, 96, 128

    def made(*shape):
        array = rng.standard_normal(shape).astype(kind)
        return place.to(array), array.astype("float64")

    (a, a_), (b, b_), (bias, bias_), (c, c_) = made(m, k), made(k, n), made(n), made(m, n)
    z = a_ @ b_ + bias_

    def note(name, got, right):
        found[name] = error(place.back(got).astype("float64"), right)

    note("bias", multiply(a, b, bias=bias), z)
    for activation, value in (("relu", np.maximum(z, 0)), ("gelu", _gelu(z, True))):
        note(activation, multiply(a, b, bias=bias, activation=activation), value)
        aux = multiply.auxiliary(activation, m, n, a.dtype)
        note(f"{activation} with aux", multiply(a, b, bias=bias, activation=activation, aux=aux), value)
        step = 1e-6
        slope = (
            (z > 0) if activation == "relu" else (_gelu(z + step, True) - _gelu(z - step, True)) / (2 * step)
        )
        (g, g_), (w, w_) = made(m, k), made(k, n)
        note(
            f"{activation} gradient",
            multiply(g, w, activation=f"{activation}_gradient", aux=aux),
            g_ @ w_ * slope,
        )
    for which, right in (("a", a_.sum(1)), ("b", b_.sum(0))):
        try:
            note(f"sum of {which}", multiply(a, b, bias_gradient=which)[1], right)
        except Exception as missing:
            found[f"sum of {which}"] = f"{type(missing).__name__}: {str(missing)[:200]}"
    note("added", multiply(a, b, out=c, beta=1.0), a_ @ b_ + c_)
    bad = {
        name: one for name, one in found.items() if not (isinstance(one, float) and one <= TOLERANCE[dtype])
    }
    if bad:
        raise Wrong(f"errors: {bad}", errors=found)
    return {"errors": found}


# --- convolutions ---

CONVOLUTIONS = {
    "3x3": ((2, 8, 14, 14), (16, 8, 3, 3), {"padding": 1}),
    "1x1": ((2, 16, 9, 9), (8, 16, 1, 1), {}),
    "7x7 stem": ((2, 3, 32, 32), (16, 3, 7, 7), {"stride": 2, "padding": 3}),
    "3x3 stride 2": ((2, 16, 15, 13), (24, 16, 3, 3), {"stride": 2, "padding": 1}),
    "dilated": ((1, 8, 17, 17), (8, 8, 3, 3), {"dilation": 2}),
    "in groups": ((2, 16, 10, 10), (32, 8, 3, 3), {"padding": 1, "groups": 2}),
    "depthwise": ((2, 16, 10, 10), (16, 1, 3, 3), {"padding": 1, "groups": 16}),
    "odd channels": ((2, 5, 11, 9), (7, 5, 3, 2), {"padding": (1, 0)}),
}


def convolution(place, name, dtype, layout):
    """Forward and both gradients, by all paths."""
    x, w, options = CONVOLUTIONS[name]

    def change(tensors):
        if layout == "channels_last":
            return [one.contiguous(memory_format=cr.channels_last) for one in tensors]
        return tensors

    return compare(place, lambda x, w: F.conv2d(x, w, **options), [x, w], dtype, change=change)


# --- attention ---

ATTENTION = {
    "plain": ((2, 3, 64, 32), (2, 3, 64, 32), {}),
    "causal": ((2, 3, 130, 64), (2, 3, 130, 64), {"is_causal": True}),
    "longer keys": ((1, 2, 33, 16), (1, 2, 77, 16), {}),
    "128 wide": ((1, 2, 100, 128), (1, 2, 100, 128), {"is_causal": True}),
    "one query": ((3, 2, 1, 64), (3, 2, 40, 64), {}),
}


def attention(place, name, dtype):
    """Forward and the three gradients, by all paths."""
    q, k, options = ATTENTION[name]
    function = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)
    return compare(place, function, [q, k, k], dtype)


def items(place, context):
    """float32 and bfloat16 of what everything needs first, what is rare and slow to build last."""
    warnings.simplefilter("ignore")  # a path that is not there may say so, once
    if not place.full:
        place.kernels(), place.products()
    usual = {"3x3", "1x1", "7x7 stem", "causal"}
    found = [(0, "gelu epilogue", lambda: gelu_epilogue(place))]
    for late, dtype in enumerate(
        place.size(("float32", "bfloat16", "tf32", "float16", "float64"), ("float32", "bfloat16", "tf32"))
    ):
        late = 3 * (late > 1)
        found += [(late, f"product {dtype}", lambda d=dtype: products(place, d))]
        found += [(late, f"linear {dtype}", lambda d=dtype: linear(place, d))]
        if dtype != "tf32":
            found += [(late, f"epilogues {dtype}", lambda d=dtype: epilogues(place, d))]
        for layout in ("contiguous", "channels_last"):
            for name in CONVOLUTIONS:
                item = lambda n=name, d=dtype, how=layout: convolution(place, n, d, how)
                found += [(late + (1 if name in usual else 2), f"convolution {name} {dtype} {layout}", item)]
        for name in ATTENTION if dtype != "tf32" else ():
            item = lambda n=name, d=dtype: attention(place, n, d)
            found += [(late + (1 if name in usual else 2), f"attention {name} {dtype}", item)]
    return {name: item for _, name, item in sorted(found, key=lambda one: one[0])}
