"""NumPy's vocabulary on Tensors, recorded: `import chainrule.numpy as np`.

Names and arguments (`axis=`, `keepdims=`, `dtype=`) are NumPy's, and NumPy's own functions come here when they are called on
Tensors: `np.sum(t, axis=0)`. What differs from NumPy:

- There is no `out=` and no `where=`, and nothing warns.
- Integers of every width become float64 where floats are needed, and int64 where they are summed.
- Tensors of different dtypes meet as PyTorch's do (int64 with float32 is float32); a NumPy scalar counts as a Python number.

Creation gives NumPy's dtypes: `zeros(3)` is float64.
"""

from math import e, inf, nan, pi

from chainrule.backends.dtypes import bool as bool_
from chainrule.backends.dtypes import (
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)

from . import _creation, _elementwise, _product, _reduction, _shape, fft, linalg
from ._creation import *  # noqa: F403
from ._elementwise import *  # noqa: F403
from ._product import *  # noqa: F403
from ._reduction import *  # noqa: F403
from ._shape import *  # noqa: F403

newaxis = None

__all__ = ["bool_", "complex64", "complex128", "e", "fft", "float16", "float32", "float64", "inf", "int8", "int16", "int32"]  # fmt: skip
__all__ += ["int64", "linalg", "nan", "newaxis", "pi", "uint8"]
__all__ += _creation.__all__
__all__ += _elementwise.__all__
__all__ += _product.__all__
__all__ += _reduction.__all__
__all__ += _shape.__all__
