"""Running averages that several methods keep of a gradient: beta * average + (1 - beta) * new, in place."""

from chainrule.backends import namespaces


def average(m, g, beta, work):
    """m = beta m + (1 - beta) g. `work` is an array like `m` that is overwritten."""
    xp = namespaces[m.__class__]
    xp.multiply(g, 1 - beta, out=work)
    m *= beta
    m += work


def average_of_squares(v, g, beta, work):
    """v = beta v + (1 - beta) g^2, element by element. `work` is an array like `v` that is overwritten."""
    xp = namespaces[v.__class__]
    xp.multiply(g, g, out=work)
    work *= 1 - beta
    v *= beta
    v += work


def filled(param, value):
    """An array like `param` full of `value`; of a complex one the real and the imaginary part are."""
    xp = namespaces[param.__class__]
    return xp.full_like(param, complex(value, value) if param.dtype.kind == "c" else value)
