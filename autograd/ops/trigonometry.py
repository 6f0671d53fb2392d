"""Trigonometric and hyperbolic functions, elementwise. (*) -> (*)."""

from chainrule.autograd.op import op


@op(x=lambda xp, g, x: g * xp.cos(x), cast="float", tangent="elementwise")
def sin(xp, x):
    """Sine."""
    return xp.sin(x)


@op(x=lambda xp, g, x: -g * xp.sin(x), cast="float", tangent="elementwise")
def cos(xp, x):
    """Cosine."""
    return xp.cos(x)


@op(
    x=lambda xp, g, y: g * (1 + y * y),
    cast="float",
    tangent="elementwise",
    precision={"accelerator": "float32"},
)
def tan(xp, x):
    """Tangent."""
    return xp.tan(x)


@op(
    x=lambda xp, g, x: g / xp.sqrt(1 - x * x),
    cast="float",
    tangent="elementwise",
    precision={"accelerator": "float32"},
)
def arcsin(xp, x):
    """Inverse sine."""
    return xp.arcsin(x)


@op(
    x=lambda xp, g, x: -g / xp.sqrt(1 - x * x),
    cast="float",
    tangent="elementwise",
    precision={"accelerator": "float32"},
)
def arccos(xp, x):
    """Inverse cosine."""
    return xp.arccos(x)


@op(x=lambda xp, g, x: g / (1 + x * x), cast="float", tangent="elementwise")
def arctan(xp, x):
    """Inverse tangent."""
    return xp.arctan(x)


@op(
    a=lambda xp, g, a, b: g * b / (a * a + b * b),
    b=lambda xp, g, a, b: -g * a / (a * a + b * b),
    cast="float",
    tangent="elementwise",
    precision={"accelerator": "widest"},
)
def arctan2(xp, a, b):
    """The angle of the point (b, a)."""
    return xp.arctan2(a, b)


@op(
    x=lambda xp, g, x: g * xp.cosh(x),
    cast="float",
    tangent="elementwise",
    precision={"accelerator": "float32"},
)
def sinh(xp, x):
    """Hyperbolic sine."""
    return xp.sinh(x)


@op(
    x=lambda xp, g, x: g * xp.sinh(x),
    cast="float",
    tangent="elementwise",
    precision={"accelerator": "float32"},
)
def cosh(xp, x):
    """Hyperbolic cosine."""
    return xp.cosh(x)


@op(x=lambda xp, g, y: g * (1 - y * y), cast="float", tangent="elementwise")
def tanh(xp, x):
    """Hyperbolic tangent."""
    return xp.tanh(x)


@op(x=lambda xp, g, x: g / xp.sqrt(1 + x * x), cast="float", tangent="elementwise")
def arcsinh(xp, x):
    """Inverse hyperbolic sine."""
    return xp.arcsinh(x)


@op(x=lambda xp, g, x: g / xp.sqrt(x * x - 1), cast="float", tangent="elementwise")
def arccosh(xp, x):
    """Inverse hyperbolic cosine, for x >= 1."""
    return xp.arccosh(x)


@op(x=lambda xp, g, x: g / (1 - x * x), cast="float", tangent="elementwise")
def arctanh(xp, x):
    """Inverse hyperbolic tangent."""
    return xp.arctanh(x)


@op(a=lambda xp, g, a, y: g * a / y, b=lambda xp, g, b, y: g * b / y, cast="float", tangent="elementwise")
def hypot(xp, a, b):
    """sqrt(a^2 + b^2) without overflow."""
    return xp.hypot(a, b)
