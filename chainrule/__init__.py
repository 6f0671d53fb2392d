"""chainrule: reverse-mode autograd on NumPy and CuPy arrays, with PyTorch's scripting API. `import chainrule as cr`."""

import pathlib as _pathlib

# In a checkout the sub-packages lie beside this folder, in a wheel inside it.
_here = _pathlib.Path(__file__).resolve().parent
if not (_here / "autograd").is_dir() and (_here.parent / "autograd").is_dir():
    __path__.append(str(_here.parent))

from chainrule import autograd, backends
from chainrule.autograd import Size, Tensor
from chainrule.autograd.functions.arithmetic import (
    add,
    addcdiv,
    addcmul,
    allclose,
    clamp,
    clamp_max,
    clamp_min,
    div,
    equal,
    frac,
    is_complex,
    is_floating_point,
    isclose,
    lerp,
    log_softmax,
    numel,
    pow,
    relu,
    result_type,
    round,
    sigmoid,
    softmax,
    sub,
    where,
)
from chainrule.autograd.functions.conversion import from_dlpack
from chainrule.autograd.functions.creation import (
    arange,
    as_tensor,
    asarray,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    is_tensor,
    linspace,
    logspace,
    meshgrid,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from chainrule.autograd.functions.draws import (
    get_rng_state,
    initial_seed,
    manual_seed,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)
from chainrule.autograd.functions.indexing import (
    gather,
    index_add,
    index_copy,
    index_fill,
    index_put,
    index_select,
    masked_fill,
    masked_select,
    nonzero,
    scatter,
    scatter_add,
    take,
    take_along_dim,
)
from chainrule.autograd.functions.names import FUNCTIONS as _FUNCTIONS
from chainrule.autograd.functions.names import entries as _entries
from chainrule.autograd.functions.product import (
    addmm,
    baddbmm,
    bmm,
    dot,
    einsum,
    inner,
    matmul,
    mm,
    mv,
    outer,
    tensordot,
)
from chainrule.autograd.functions.reduction import (
    all,
    amax,
    amin,
    aminmax,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumprod,
    cumsum,
    dist,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    std_mean,
    sum,
    var,
    var_mean,
)
from chainrule.autograd.functions.shape import (
    atleast_1d,
    atleast_2d,
    broadcast_shapes,
    broadcast_tensors,
    broadcast_to,
    cat,
    chunk,
    clone,
    diag,
    diag_embed,
    diagonal,
    flatten,
    flip,
    hstack,
    movedim,
    narrow,
    permute,
    ravel,
    reshape,
    roll,
    select,
    split,
    squeeze,
    stack,
    t,
    transpose,
    tril,
    triu,
    unbind,
    unflatten,
    unsqueeze,
    vstack,
)
from chainrule.autograd.functions.sorting import argsort, sort, topk
from chainrule.autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from chainrule.autograd.ops import (
    absolute,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    ceil,
    conj,
    cos,
    cosh,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmod,
    hypot,
    isfinite,
    isinf,
    isnan,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    positive,
    real,
    reciprocal,
    remainder,
    rsqrt,
    sign,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
    trunc,
)
from chainrule.autograd.ops import absolute as abs
from chainrule.autograd.ops import arccos as acos
from chainrule.autograd.ops import arccosh as acosh
from chainrule.autograd.ops import arcsin as asin
from chainrule.autograd.ops import arcsinh as asinh
from chainrule.autograd.ops import arctan as atan
from chainrule.autograd.ops import arctan2 as atan2
from chainrule.autograd.ops import arctanh as atanh
from chainrule.autograd.ops import equal as eq
from chainrule.autograd.ops import greater as gt
from chainrule.autograd.ops import greater_equal as ge
from chainrule.autograd.ops import invert as bitwise_not
from chainrule.autograd.ops import less as lt
from chainrule.autograd.ops import less_equal as le
from chainrule.autograd.ops import multiply as mul
from chainrule.autograd.ops import negative as neg
from chainrule.autograd.ops import not_equal as ne
from chainrule.backends import (
    OutOfMemoryError,
    device,
    get_default_device,
    set_default_device,
    set_default_dtype,
)
from chainrule.backends.dtypes import (
    bfloat16,
    bool,
    can_cast,
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    dtype,
    finfo,
    float,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    short,
    uint8,
)
from chainrule.backends.later import load_later
from chainrule.backends.random import Generator

# fmt: off
multiply, subtract, divide, true_divide, negative = mul, sub, div, div, neg
clip, concat, fix, moveaxis, swapaxes, swapdims = clamp, cat, trunc, movedim, transpose, transpose
arccos, arcsin, arctan, arctan2, arccosh, arcsinh, arctanh = acos, asin, atan, atan2, acosh, asinh, atanh
detach = Tensor.detach
e, pi, inf, nan, newaxis = 2.718281828459045, 3.141592653589793, float64.dtype.type("inf").item(), float64.dtype.type("nan").item(), None

# fmt: on

__version__ = "0.1.0"

# Loaded when first used, so that `import chainrule` stays nearly as cheap as `import numpy`. Most are listed in `names`.
_later = {
    **{
        name: f"chainrule.amp:{name}"
        for name in """autocast clear_autocast_cache get_autocast_dtype is_autocast_available is_autocast_cache_enabled
            is_autocast_enabled set_autocast_dtype""".split()
    },
    **{
        name: f"chainrule.backends.determinism:{name}"
        for name in """are_deterministic_algorithms_enabled is_deterministic_algorithms_warn_only_enabled
            use_deterministic_algorithms""".split()
    },
    **{
        name: f"chainrule.backends.layouts:{name}"
        for name in "channels_last channels_last_3d contiguous_format layout memory_format preserve_format strided".split()
    },
    **{
        name: f"chainrule.backends.precision_settings:{name}"
        for name in ("get_float32_matmul_precision", "set_float32_matmul_precision")
    },
    "TransferError": "chainrule.autograd.no_transfer:TransferError",
    "EarlyStopping": "chainrule.early_stopping:EarlyStopping",
    "amp": "chainrule.amp",
    "compile": "chainrule.compiling:compile",
    "cuda": "chainrule.cuda",
    "datasets": "chainrule.datasets",
    "distributions": "chainrule.distributions",
    "draw": "chainrule.autograd.drawing:draw",
    "fft": "chainrule.fft",
    "func": "chainrule.func",
    "get_num_threads": "chainrule.backends.machine:get_num_threads",
    "find_lr": "chainrule.training.learning_rate:find_lr",
    "fit": "chainrule.training.fitting:fit",
    "io": "chainrule.io",
    "linalg": "chainrule.linalg",
    "masked": "chainrule.masked",
    "metrics": "chainrule.metrics",
    "load": "chainrule.io:load",
    "nn": "chainrule.nn",
    "no_transfer": "chainrule.autograd.no_transfer:no_transfer",
    "numpy": "chainrule.numpy",
    "onnx": "chainrule.onnx",
    "optim": "chainrule.optim",
    "profiler": "chainrule.autograd.profiler",
    "save": "chainrule.io:save",
    "search": "chainrule.search",
    "signal": "chainrule.signal",
    "set_num_threads": "chainrule.backends.machine:set_num_threads",
    "special": "chainrule.special",
    "summary": "chainrule.summarizing:summary",
    "training": "chainrule.training",
    "transforms": "chainrule.transforms",
    "utils": "chainrule.utils",
    "watch": "chainrule.training.watching:watch",
}
_later.update((name, f"{module}:{attribute}") for name, module, attribute in _entries(_FUNCTIONS))

__getattr__, __dir__ = load_later(globals(), _later)
