"""Mixed precision by policy: products in 16 bits, what needs digits in float32 (`torch.amp`).

    with cr.autocast("cpu", dtype=cr.bfloat16):
        loss = loss_function(model(x), target)
    loss.backward()

Inside, each listed function converts its arguments first, by a recorded conversion: backward then runs in the dtypes of forward, and
a parameter's gradient arrives in the parameter's own. The lists are PyTorch's, one for the CPU and one for accelerators.

A function that is not inside pays nothing: while any thread is in an autocast block, the *code* of the listed functions is replaced by
a few lines that ask here, so that everyone who holds the function, under whatever name, calls those; at the end it is put back.
Micikevicius et al. 2018, "Mixed precision training".
"""

import functools
import threading
import types
import warnings

import chainrule
from chainrule.autograd import Tensor
from chainrule.autograd.modes import local
from chainrule.backends import devices, dtypes

# Names under `chainrule`. "lower": to the block's dtype; "float32"; "widest": to the widest dtype among the arguments.
# "unchanged": as they are, and so what the function calls.
_CPU = {
    "lower": """matmul mm bmm addmm baddbmm addbmm einsum tensordot chain_matmul prelu nn.functional.conv1d nn.functional.conv2d
        nn.functional.conv3d nn.functional.conv_transpose1d nn.functional.conv_transpose2d nn.functional.conv_transpose3d
        nn.functional.linear nn.functional.prelu nn.functional.scaled_dot_product_attention nn.functional.recurrent.network
        nn.functional.recurrent.lstm_cell nn.functional.recurrent.gru_cell nn.functional.recurrent.rnn_tanh_cell
        nn.functional.recurrent.rnn_relu_cell linalg.vecdot linalg.multi_dot""",
    "float32": """prod trace cdist quantile nanquantile stft polar view_as_complex cholesky cholesky_inverse cholesky_solve inverse
        lu_solve orgqr ormqr pinverse geqrf fft.fft fft.ifft fft.fft2 fft.ifft2 fft.fftn fft.ifftn fft.rfft fft.irfft fft.rfft2
        fft.irfft2 fft.rfftn fft.irfftn fft.hfft fft.ihfft linalg.cond linalg.matrix_rank linalg.solve linalg.cholesky linalg.svdvals
        linalg.eigvals linalg.eigvalsh linalg.inv linalg.householder_product linalg.tensorinv linalg.tensorsolve linalg.qr linalg.eig
        linalg.eigh linalg.lstsq linalg.svd linalg.pinv nn.functional.avg_pool3d nn.functional.max_pool3d nn.functional.grid_sample
        nn.functional.max_unpool2d nn.functional.max_unpool3d nn.functional.adaptive_avg_pool3d nn.functional.adaptive_max_pool3d
        nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits nn.functional.mse_loss nn.functional.l1_loss
        nn.functional.smooth_l1_loss nn.functional.huber_loss nn.functional.nll_loss nn.functional.cross_entropy nn.functional.kl_div
        nn.functional.poisson_nll_loss nn.functional.cosine_embedding_loss nn.functional.hinge_embedding_loss
        nn.functional.margin_ranking_loss nn.functional.soft_margin_loss nn.functional.triplet_margin_loss
        nn.functional.multi_margin_loss nn.functional.multilabel_margin_loss nn.functional.ctc_loss""",
    "widest": "index_copy",
    "unchanged": "mv",  # made of listed functions here, and none in PyTorch
}
_ACCELERATOR = {
    "lower": _CPU["lower"] + " mv addmv addr",
    "float32": """acos asin cosh sinh tan exp expm1 log log10 log2 log1p reciprocal rsqrt pow norm prod sum softmax log_softmax cumprod
        cumsum logsumexp dist cdist renorm nn.functional.softmax nn.functional.log_softmax nn.functional.softplus
        nn.functional.layer_norm nn.functional.group_norm nn.functional.cosine_similarity nn.functional.pdist
        nn.functional.binary_cross_entropy_with_logits nn.functional.mse_loss nn.functional.l1_loss nn.functional.smooth_l1_loss
        nn.functional.huber_loss nn.functional.nll_loss nn.functional.cross_entropy nn.functional.kl_div
        nn.functional.poisson_nll_loss nn.functional.cosine_embedding_loss nn.functional.hinge_embedding_loss
        nn.functional.margin_ranking_loss nn.functional.soft_margin_loss nn.functional.triplet_margin_loss
        nn.functional.multi_margin_loss nn.functional.multilabel_margin_loss""",
    "widest": "addcdiv addcmul atan2 cross dot vdot index_put scatter_add nn.functional.bilinear nn.functional.grid_sample",
}  # fmt: skip


class _Thread(threading.local):
    """The blocks this thread is in: for each device type its dtype (None where off); and the converted parameters."""

    def __init__(self):
        self.dtypes = {}
        self.defaults = {"cpu": dtypes.bfloat16}
        self.caching = True
        self.cache = {}
        self.depth = 0
        self.inside = False  # a listed function is running: those it calls take their arguments as they are


_thread = _Thread()


# --- the functions ---


@functools.cache
def _listed():
    """function -> (its policy on the CPU, its policy on accelerators)."""
    found = {}
    for place, table in enumerate((_CPU, _ACCELERATOR)):
        for policy, names in table.items():
            for name in names.split():
                function = functools.reduce(getattr, name.split("."), chainrule)
                found.setdefault(function, [None, None])[place] = policy
    return found


_ASKING = """
def make({cells}):
    def asking(*args, **kwargs):
        if False:
            {mention}
        from chainrule.amp import answer
        return answer({number}, args, kwargs)
    return asking
"""


class _Asking:
    """Puts code that asks here into the listed functions while any thread is in a block."""

    def __init__(self):
        self.lock, self.count, self.plain = threading.Lock(), 0, []

    def __enter__(self):
        with self.lock:
            self.count += 1
            if self.count == 1:
                self.plain = [_twin(function) for function in _listed()]
                for number, function in enumerate(_listed()):
                    function.__code__ = _code(number, function.__code__)

    def __exit__(self, *_):
        with self.lock:
            self.count -= 1
            if not self.count:
                for function, plain in zip(_listed(), self.plain, strict=True):
                    function.__code__ = plain.__code__


_asking = _Asking()


def _twin(function):
    """Another function that does the same."""
    twin = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


@functools.cache
def _code(number, code):
    """The code that asks, with as many closed-over names as `code` has: a function's code can be replaced only by such."""
    cells = ", ".join(code.co_freevars)
    scope = {}
    exec(_ASKING.format(cells=cells, mention=cells or "pass", number=number), scope)
    made = scope["make"](*[None] * len(code.co_freevars))
    return made.__code__.replace(co_name=code.co_name, co_qualname=code.co_qualname)


def answer(number, args, kwargs):
    """A listed function was called while some thread is in a block: run it, on converted arguments if this one is."""
    plain = _asking.plain[number]
    # Backward runs in forward's dtypes as they are.
    if not _thread.depth or _thread.inside or local.state.walk is not None:
        return plain(*args, **kwargs)
    tensors = list(_tensors((args, kwargs)))
    device = tensors[0].device.type if tensors else None
    dtype = _thread.dtypes.get(device)
    policies = list(_listed().values())[number]
    policy = policies[0 if device == "cpu" else 1]
    if dtype is None or policy is None:
        return plain(*args, **kwargs)
    eligible = [one for one in tensors if one.device.type == device and one.dtype in _ELIGIBLE]
    if policy == "float32":
        dtype = dtypes.float32
    elif policy == "widest":
        dtype = dtypes.float32 if any(one.dtype is dtypes.float32 for one in eligible) else None
    elif policy == "unchanged":
        dtype = None
    if dtype is not None:
        args, kwargs = _converted((args, kwargs), device, dtype)
    _thread.inside = True
    try:
        return plain(*args, **kwargs)
    finally:
        _thread.inside = False


_ELIGIBLE = (dtypes.float32, dtypes.float16, dtypes.bfloat16)


def _tensors(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _converted(value, device, dtype):
    """The arguments with every Tensor of at most 32 bits in `dtype`."""
    if isinstance(value, Tensor):
        if value.dtype is dtype or value.dtype not in _ELIGIBLE or value.device.type != device:
            return value
        return _once(value, dtype)
    if value.__class__ in (tuple, list):
        return value.__class__([_converted(one, device, dtype) for one in value])
    if value.__class__ is dict:
        return {name: _converted(one, device, dtype) for name, one in value.items()}
    return value


def _once(tensor, dtype):
    """A Tensor converted; a parameter only once in a block, unless it is written in between."""
    keep = (
        _thread.caching
        and dtype.itemsize == 2
        and tensor.is_leaf
        and tensor.requires_grad
        and local.state.grad
    )
    if not keep:
        return tensor.to(dtype)
    key = id(tensor), dtype
    found = _thread.cache.get(key)
    if found is None or found[0] != tensor._version:
        # The leaf is kept too, so that no other gets its id.
        found = _thread.cache[key] = tensor._version, tensor.to(dtype), tensor
    return found[1]


# --- the block ---


class autocast:
    """`with autocast("cpu"):` or `@autocast("cpu")`: mixed precision inside.

    device_type: "cpu" or "cuda". dtype: bfloat16 or float16; by default bfloat16 on the CPU and float16 elsewhere. enabled: False
    switches it off, also inside another block. cache_enabled: convert each parameter only once in the block.
    """

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
        self.device_type = _type(device_type)
        self.dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self.enabled = bool(enabled)
        if self.enabled and self.dtype not in (dtypes.bfloat16, dtypes.float16):
            warnings.warn(
                f"autocast: dtype must be bfloat16 or float16, got {self.dtype}; autocast is off in this block",
                stacklevel=2,
            )
            self.enabled = False
        self.cache_enabled = _thread.caching if cache_enabled is None else bool(cache_enabled)
        self._before = []

    def __enter__(self):
        self._before.append((dict(_thread.dtypes), _thread.caching))
        _asking.__enter__()
        _thread.depth += 1
        _thread.dtypes[self.device_type] = self.dtype if self.enabled else None
        _thread.caching = self.cache_enabled
        return self

    def __exit__(self, *_):
        _thread.dtypes, _thread.caching = self._before.pop()
        _thread.depth -= 1
        if not _thread.depth:
            _thread.cache.clear()
        _asking.__exit__()

    def __call__(self, function):
        @functools.wraps(function)
        def in_mixed_precision(*args, **kwargs):
            with self:
                return function(*args, **kwargs)

        return in_mixed_precision


def _type(device_type):
    if not isinstance(device_type, str) or ":" in device_type:
        raise ValueError(f'autocast: expected a device type such as "cpu" or "cuda", got {device_type!r}')
    return devices.device(device_type).type


def is_autocast_enabled(device_type="cuda"):
    """Whether this thread is in an autocast block for this type of device."""
    return _thread.dtypes.get(_type(device_type)) is not None


def get_autocast_dtype(device_type):
    """The dtype of the block this thread is in, or the one a new block has by default."""
    kind = _type(device_type)
    return _thread.dtypes.get(kind) or _thread.defaults.get(kind, dtypes.float16)


def set_autocast_dtype(device_type, dtype):
    """The dtype that new blocks of this thread have by default."""
    _thread.defaults[_type(device_type)] = dtype


def is_autocast_cache_enabled():
    """Whether parameters are converted only once in a block."""
    return _thread.caching


def clear_autocast_cache():
    """Forget the converted parameters."""
    _thread.cache.clear()


def is_autocast_available(device_type):
    """Whether there can be an autocast block for this type of device."""
    try:
        _type(device_type)
    except RuntimeError:
        return False
    return True
