"""What each operation is in ONNX: `OPERATORS[name](g, *inputs, **keywords)` adds nodes by calling `g` and gives the name of the result.

Inputs come as names; `g.shape(i)` is the shape of input i, and numbers stand for constants of the operation's type.
"""

import math

import numpy as np

OPERATORS = {}


def operator(function):
    OPERATORS[function.__name__.strip("_")] = function
    return function


for _name, _kind in {
    "absolute": "Abs", "add": "Add", "arccos": "Acos", "arccosh": "Acosh", "arcsin": "Asin", "arcsinh": "Asinh", "arctan": "Atan",
    "arctanh": "Atanh", "ceil": "Ceil", "copy": "Identity", "cos": "Cos", "cosh": "Cosh", "divide": "Div", "equal": "Equal",
    "erf": "Erf", "exp": "Exp", "floor": "Floor", "greater": "Greater", "greater_equal": "GreaterOrEqual", "hardswish": "HardSwish",
    "isinf": "IsInf", "isnan": "IsNaN", "less": "Less", "less_equal": "LessOrEqual", "log": "Log", "logical_and": "And",
    "logical_not": "Not", "logical_or": "Or", "logical_xor": "Xor", "matmul": "MatMul", "maximum": "Max", "minimum": "Min",
    "mish": "Mish", "multiply": "Mul", "negative": "Neg", "power": "Pow", "prelu": "PRelu",
    "reciprocal": "Reciprocal", "relu": "Relu", "rint": "Round", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh",
    "softsign": "Softsign", "sqrt": "Sqrt", "subtract": "Sub", "tan": "Tan", "tanh": "Tanh", "where": "Where", "select": "Where",
}.items():  # fmt: skip
    OPERATORS[_name] = lambda g, *inputs, _kind=_kind: g(_kind, *inputs)


# --- elementwise ---


@operator
def power_scalar(g, x, *, exponent):
    return g("Pow", x, exponent)


@operator
def not_equal(g, a, b):
    return g("Not", g("Equal", a, b))


def _bitwise(logical, bitwise):
    return lambda g, *inputs: g(logical if g.dtype == bool else bitwise, *inputs)


OPERATORS["bitwise_and"] = _bitwise("And", "BitwiseAnd")
OPERATORS["bitwise_or"] = _bitwise("Or", "BitwiseOr")
OPERATORS["bitwise_xor"] = _bitwise("Xor", "BitwiseXor")
OPERATORS["invert"] = _bitwise("Not", "BitwiseNot")


@operator
def square(g, x):
    return g("Mul", x, x)


@operator
def rsqrt(g, x):
    return g("Reciprocal", g("Sqrt", x))


@operator
def exp2(g, x):
    return g("Exp", g("Mul", x, math.log(2)))


@operator
def expm1(g, x):
    return g("Sub", g("Exp", x), 1)


@operator
def log1p(g, x):
    return g("Log", g("Add", x, 1))


@operator
def log2(g, x):
    return g("Div", g("Log", x), math.log(2))


@operator
def log10(g, x):
    return g("Div", g("Log", x), math.log(10))


@operator
def clip(g, x, *, low=None, high=None):
    return g("Clip", x, low, high)


@operator
def masked(g, x, mask, *, scale=1):
    kept = g("Where", mask, x, 0)
    return kept if scale == 1 else g("Mul", kept, scale)


@operator
def dropout(g, x, mask, *, p, place=None, shape=None):
    if mask is None:
        raise NotImplementedError(
            "onnx.export: dropout with a mask that is computed anew; export the module in evaluation mode, or on the CPU"
        )
    return masked(g, x, mask, scale=1 / (1 - p) if p < 1 else 1)


@operator
def astype(g, x, *, dtype):
    return g.cast(x, dtype)


# --- activations ---


@operator
def leaky_relu(g, x, *, slope):
    return g("LeakyRelu", x, alpha=float(slope))


@operator
def elu(g, x, *, alpha, scale, input_scale):
    if input_scale == 1:
        y = g("Elu", x, alpha=float(alpha))
        return y if scale == 1 else g("Mul", y, scale)
    below = g("Mul", g("Sub", g("Exp", g("Mul", g("Min", x, 0), input_scale)), 1), alpha * scale)
    return g("Add", below, g("Mul", g("Relu", x), scale))


@operator
def logsigmoid(g, x):
    return g("Neg", g("Softplus", g("Neg", x)))


@operator
def softplus(g, x, *, beta, threshold):
    z = x if beta == 1 else g("Mul", x, beta)
    y = g("Softplus", z)
    y = y if beta == 1 else g("Div", y, beta)
    return g("Where", g("Greater", z, threshold), x, y)


@operator
def silu(g, x):
    return g("Mul", x, g("Sigmoid", x))


@operator
def gelu(g, x):
    if g.opset >= 20:
        return g("Gelu", x)
    half = g("Mul", x, 0.5)
    return g("Mul", half, g("Add", g("Erf", g("Mul", x, math.sqrt(0.5))), 1))


@operator
def gelu_tanh(g, x):
    if g.opset >= 20:
        return g("Gelu", x, approximate="tanh")
    cube = g("Mul", g("Mul", g("Mul", x, x), x), 0.044715)
    u = g("Mul", g("Add", x, cube), math.sqrt(2 / math.pi))
    return g("Mul", g("Mul", x, 0.5), g("Add", g("Tanh", u), 1))


@operator
def hardtanh(g, x, *, low, high):
    return g("Clip", x, low, high)


@operator
def hardsigmoid(g, x):
    return g("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@operator
def tanhshrink(g, x):
    return g("Sub", x, g("Tanh", x))


@operator
def softshrink(g, x, *, lambd):
    return g("Shrink", x, lambd=float(lambd), bias=float(lambd))


@operator
def hardshrink(g, x, *, lambd):
    return g("Shrink", x, lambd=float(lambd), bias=0.0)


@operator
def threshold(g, x, *, threshold, value):
    return g("Where", g("LessOrEqual", x, threshold), value, x)


@operator
def glu(g, x, *, axis):
    a, b = g("Split", x, outputs=2, axis=axis, num_outputs=2)
    return g("Mul", a, g("Sigmoid", b))


@operator
def softmax(g, x, *, axis):
    return g("Softmax", x, axis=axis)


@operator
def log_softmax(g, x, *, axis):
    return g("LogSoftmax", x, axis=axis)


# --- reductions ---


def _reduction(kind):
    def reduce(g, x, *, axis=None, keepdims=False):
        axes = () if axis is None else (axis,) if isinstance(axis, int) else axis
        return g(kind, x, *([] if axis is None else [g.integers(*axes)]), keepdims=int(keepdims))

    return reduce


for _name, _kind in {
    "sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin", "prod": "ReduceProd",
    "logsumexp": "ReduceLogSumExp",
}.items():  # fmt: skip
    OPERATORS[_name] = _reduction(_kind)


@operator
def var(g, x, *, axis=None, correction=1, keepdims=False):
    axes = range(len(g.shape())) if axis is None else (axis,) if isinstance(axis, int) else axis
    over, count = g.integers(*axes), math.prod(g.shape()[one] for one in axes)
    shifted = g("Sub", x, g("ReduceMean", x, over))
    total = g("ReduceSum", g("Mul", shifted, shifted), over, keepdims=int(keepdims))
    return g("Div", total, max(count - correction, 0))


@operator
def vector_norm(g, x, *, axis=None, ord=2, keepdims=False):
    if ord not in (1, 2):
        raise NotImplementedError(f"onnx.export: vector_norm of order {ord}")
    return _reduction(f"ReduceL{int(ord)}")(g, x, axis=axis, keepdims=keepdims)


def _place(kind):
    def find(g, x, *, axis=None, keepdims=False):
        if axis is None:
            found = g(kind, g("Reshape", x, g.integers(-1)), axis=0, keepdims=0)
            return g("Reshape", found, g.integers(*g.result().shape)) if g.result().shape else found
        return g(kind, x, axis=axis, keepdims=int(keepdims))

    return find


OPERATORS["argmax"], OPERATORS["argmin"] = _place("ArgMax"), _place("ArgMin")


def _quantifier(kind):
    def reduce(g, x, *, axis=None, keepdims=False):
        return g.cast(
            _reduction(kind)(g, g.cast(g.cast(x, bool), np.int32), axis=axis, keepdims=keepdims), bool
        )

    return reduce


OPERATORS["all"], OPERATORS["any"] = _quantifier("ReduceMin"), _quantifier("ReduceMax")


@operator
def cumsum(g, x, *, axis):
    return g("CumSum", x, g.constant(np.asarray(axis, np.int64)))
