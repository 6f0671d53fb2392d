"""Rows: complex numbers made of real ones, and their parts. Inputs are real, so that every property test applies."""

import numpy as np

import chainrule as cr
from tests.table import Row, apart, positive, within


def z(library, x, y):
    """x + iy."""
    return library.complex(x, y)


def reals(name, function, ref, inputs, **extra):
    """A row whose complex result is shown as real pairs."""

    def torch_function(*xs):
        import torch

        out = function(torch, *xs)
        return torch.view_as_real(out) if out.is_complex() else out

    def ours(*xs):
        out = function(cr, *xs)
        return cr.view_as_real(out) if out.is_complex() else out

    return Row(name, ours, inputs, ref=ref, torch=torch_function, **extra)


def pairs(w):
    return np.stack([w.real, w.imag], -1)


ROWS = [
    reals("complex", lambda lib, x, y: lib.complex(x, y), lambda x, y: pairs(x + 1j * y), [(3, 4), (4,)],
          covers=("make_complex", "view_as_real")),
    reals("polar", lambda lib, r, t: lib.polar(r, t), lambda r, t: pairs(r * np.exp(1j * t)), [positive((3, 4)), (4,)]),
    reals("view_as_complex", lambda lib, x: lib.view_as_complex(x) * (1 - 2j), lambda x: pairs((x[..., 0] + 1j * x[..., 1]) * (1 - 2j)),
          [(3, 2)], strided=False),
    reals("angle", lambda lib, x: lib.angle(x), np.angle, [apart((3, 4))], tag="real"),
    reals("angle", lambda lib, x, y: lib.angle(z(lib, x, y)), lambda x, y: np.angle(x + 1j * y), [apart((3, 4)), positive((4,))]),
    reals("sgn", lambda lib, x, y: lib.sgn(z(lib, x, y)), lambda x, y: pairs((x + 1j * y) / np.abs(x + 1j * y)),
          [apart((3, 4)), positive((4,))], tag="complex"),
    reals("logaddexp", lambda lib, x, y: lib.logaddexp(z(lib, x, y), z(lib, y, x)),
          lambda x, y: pairs(np.log(np.exp(x + 1j * y) + np.exp(y + 1j * x))), [within(-1, 1, (3, 4)), within(-0.5, 0.5, (4,))], tag="complex"),
    reals("conj_physical", lambda lib, x, y: lib.conj_physical(z(lib, x, y)) * (1 + 1j), lambda x, y: pairs((x - 1j * y) * (1 + 1j)),
          [(3, 4), (4,)]),
    reals("abs", lambda lib, x, y: lib.abs(z(lib, x, y)), lambda x, y: np.abs(x + 1j * y), [apart((3, 4)), positive((4,))], tag="complex"),
    reals("square", lambda lib, x, y: lib.square(z(lib, x, y)), lambda x, y: pairs((x + 1j * y) ** 2), [(3, 4), (4,)], tag="complex"),
    reals("pow", lambda lib, x, y: z(lib, x, y) ** (0.5 + 1j), lambda x, y: pairs((x + 1j * y) ** (0.5 + 1j)),
          [positive((3, 4)), positive((4,))], tag="complex"),
]  # fmt: skip
