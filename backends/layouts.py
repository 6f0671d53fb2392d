"""Names for how a Tensor lies in memory, so that PyTorch's keywords `layout=` and `memory_format=` can be given.

Every Tensor is strided. A memory format is a wish about the order of elements in memory, which changes no value: it is taken
and not followed, except that contiguous is contiguous.
"""


class layout:
    """One of PyTorch's tensor layouts."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"chainrule.{self.name}"

    def __reduce__(self):
        return self.name


class memory_format(layout):
    """One of PyTorch's memory formats."""


strided = layout("strided")
contiguous_format, preserve_format, channels_last, channels_last_3d = (
    memory_format(name)
    for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
)


def check(name, wanted):
    """Refuse layouts other than strided."""
    if wanted is not None and wanted is not strided:
        raise NotImplementedError(f"{name}: only layout=chainrule.strided is offered, got {wanted!r}")
