"""The switches of `cr.backends.cuda.matmul` and `cr.backends.cudnn`: how exactly, how reproducibly, and whether timed first.

They have PyTorch's names and defaults and hold for all threads, from the next operation on. What computes reads them by plain attributes;
a name or a value that there is not is refused, as a switch mistyped would else do nothing in silence.
"""

import contextlib
import importlib

_LEVELS = ("highest", "high", "medium")
_FORMATS = ("none", "ieee", "tf32")


class _Switches:
    """Attributes that are True or False, with the defaults that a subclass lists in `_defaults`, under the name `_path`."""

    _path: str
    _defaults: dict[str, bool]

    def __init__(self):
        self.__dict__.update(self._defaults)

    def __setattr__(self, name, value):
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        elif name not in self._defaults:
            names = ", ".join(sorted((*self._defaults, "allow_tf32", "fp32_precision")))
            raise AttributeError(f"{self._path} has no switch {name!r}; there are {names}")
        elif not isinstance(value, bool):
            raise TypeError(f"{self._path}.{name} must be True or False, got {value!r}")
        else:
            self.__dict__[name] = value

    def __repr__(self):
        switches = {"fp32_precision": self.fp32_precision} | {
            name: getattr(self, name) for name in self._defaults
        }
        return f"{self._path}({', '.join(f'{name}={value!r}' for name, value in switches.items())})"

    # float32 products: rounded to TF32 (10 bits of fraction, on tensor cores), or not

    _format = "none"
    _tf32_by_default = False

    @property
    def allow_tf32(self):
        """Whether float32 arrays may be multiplied in TF32: 10 bits of fraction instead of 23, and several times as fast."""
        return self._tf32_by_default if self._format == "none" else self._format == "tf32"

    @allow_tf32.setter
    def allow_tf32(self, value):
        if not isinstance(value, bool):
            raise TypeError(f"{self._path}.allow_tf32 must be True or False, got {value!r}")
        self.fp32_precision = "tf32" if value else "ieee"

    @property
    def fp32_precision(self):
        """One of "ieee", "tf32" and "none", which is the default of this switch."""
        return self._format

    @fp32_precision.setter
    def fp32_precision(self, value):
        if value not in _FORMATS:
            raise ValueError(
                f"{self._path}.fp32_precision must be one of {', '.join(_FORMATS)}, got {value!r}"
            )
        self.__dict__["_format"] = value


class MatmulSettings(_Switches):
    """`cr.backends.cuda.matmul`: how matrix products are computed.

    allow_tf32, fp32_precision: in float32. allow_fp16_reduced_precision_reduction, allow_bf16_...: whether partial sums of a product
    that is split along its inner dimension may be added up in 16 bits. benchmark (not in PyTorch): whether, when a product of new shape
    is first met, the library's first eight suggestions are timed and the fastest kept; else the first is taken.
    """

    _path = "chainrule.backends.cuda.matmul"
    _defaults = {
        "allow_fp16_reduced_precision_reduction": True,
        "allow_bf16_reduced_precision_reduction": True,
        "benchmark": False,
    }


class CudnnSettings(_Switches):
    """`cr.backends.cudnn`: whether and how cuDNN computes convolutions and attention.

    enabled: use it at all. benchmark: time its suggestions when a shape is first met. deterministic: only algorithms that give the
    same bits on every run. allow_tf32, fp32_precision: in float32; allowed by default, as in PyTorch.
    """

    _path = "chainrule.backends.cudnn"
    _defaults = {"enabled": True, "benchmark": False, "deterministic": False}
    _tf32_by_default = True

    def version(self):
        """cuDNN's version as one number (92800 is 9.28.0), or None where it cannot be loaded."""
        try:
            return importlib.import_module("cudnn").backend_version()
        except Exception:  # missing, or without its library: a broken installation may raise anything
            return None

    def is_available(self):
        """Whether there is a CUDA device, and cuDNN to compute on it. Never raises."""
        from .cupy_backend import cuda

        return cuda.available() and self.version() is not None

    @contextlib.contextmanager
    def flags(self, enabled=False, benchmark=False, deterministic=False, allow_tf32=True):
        """A context in which the switches are as given; PyTorch's defaults."""
        before = {name: getattr(self, name) for name in self._defaults}, self.fp32_precision
        try:
            self.enabled, self.benchmark, self.deterministic = enabled, benchmark, deterministic
            self.allow_tf32 = allow_tf32
            yield
        finally:
            for name, value in before[0].items():
                setattr(self, name, value)
            self.fp32_precision = before[1]


matmul = MatmulSettings()
cudnn = CudnnSettings()
_level = {"medium": False}


def set_float32_matmul_precision(precision):
    """How float32 matrices are multiplied on CUDA: "highest" in float32, "high" and "medium" in TF32 (as in PyTorch)."""
    if precision not in _LEVELS:
        raise ValueError(
            f"set_float32_matmul_precision: precision must be one of {', '.join(_LEVELS)}, got {precision!r}"
        )
    matmul.fp32_precision = "ieee" if precision == "highest" else "tf32"
    _level["medium"] = precision == "medium"


def get_float32_matmul_precision():
    """What `set_float32_matmul_precision` or `cr.backends.cuda.matmul.allow_tf32` set last: "highest", "high" or "medium"."""
    if not matmul.allow_tf32:
        return "highest"
    return "medium" if _level["medium"] else "high"
