"""Rows: operations under a mask. Every reduction keeps at least one element, so that PyTorch defines the result."""

import numpy as np

import chainrule as cr
from tests.table import Row, Spec, apart, positive

KEEP = np.array([[True, False, True, True], [False, True, True, False], [True, True, False, True]])
DIM = {"dim": 1}


def keep():
    return Spec(lambda rng: KEEP, shape=KEEP.shape)


def row(name, inputs, ref=None, tag="", **kwargs):
    """A row of `chainrule.masked.<name>`, with the mask as the last input."""
    ours = getattr(cr.masked, name)

    def torch(*args, **given):
        return getattr(__import__("torch").masked, name)(*args[:-1], mask=args[-1], **given)

    def reference(*args, **given):
        return ref(np.where(args[-1], args[0], np.nan))

    return Row(
        f"masked.{name}",
        lambda *args, **given: ours(*args[:-1], mask=args[-1], **given),
        [*inputs, keep()],
        kwargs=kwargs,
        ref=reference if ref else None,
        torch=torch,
        tag=tag,
        grad=not name.startswith("arg"),
    )


ROWS = [
    row("sum", [(3, 4)], lambda x: np.nansum(x, 1), **DIM),
    row("sum", [(3, 4)], np.nansum, tag="all"),
    row("prod", [positive((3, 4))], lambda x: np.nanprod(x, 1), **DIM),
    row("prod", [positive((3, 4))], lambda x: np.nanprod(x), tag="all"),
    row("cumsum", [(3, 4)], lambda x: np.nancumsum(x, 1), **DIM),
    row("cumprod", [positive((3, 4))], lambda x: np.nancumprod(x, 1), **DIM),
    row("amax", [apart((3, 4))], lambda x: np.nanmax(x, 1), **DIM),
    row("amin", [apart((3, 4))], lambda x: np.nanmin(x, 1), **DIM),
    row("argmax", [apart((3, 4))], lambda x: np.nanargmax(x, 1), **DIM),
    row("argmin", [apart((3, 4))], lambda x: np.nanargmin(x, 1), **DIM),
    row("mean", [(3, 4)], lambda x: np.nanmean(x, 1), **DIM),
    row("median", [apart((3, 4))], **DIM),
    row("norm", [apart((3, 4))], lambda x: np.nansum(np.abs(x) ** 3, 1) ** (1 / 3), ord=3, **DIM),
    row("var", [(3, 4)], lambda x: np.nanvar(x, 1, ddof=1), unbiased=True, **DIM),
    row("std", [(3, 4)], lambda x: np.nanstd(x, 1), unbiased=False, **DIM),
    row(
        "softmax",
        [(3, 4)],
        lambda x: np.nan_to_num(np.exp(x) / np.nansum(np.exp(x), 1, keepdims=True)),
        **DIM,
    ),
    row(
        "softmin",
        [(3, 4)],
        lambda x: np.nan_to_num(np.exp(-x) / np.nansum(np.exp(-x), 1, keepdims=True)),
        **DIM,
    ),
    row("normalize", [apart((3, 4))], ord=2.0, **DIM),
    row("logsumexp", [(3, 4)], lambda x: np.log(np.nansum(np.exp(x), 1)), **DIM),
    Row(
        "masked.log_softmax",
        lambda x, m: cr.where(m, cr.masked.log_softmax(x, 1, mask=m), 0.0),
        [(3, 4), keep()],
        ref=lambda x, m: np.where(m, x - np.log(np.sum(np.exp(x) * m, 1, keepdims=True)), 0),
        torch=False,
    ),
    Row(
        "masked.logaddexp",
        lambda x, y, m: cr.masked.logaddexp(x, y, input_mask=m),
        [(3, 4), (3, 4), keep()],
        ref=lambda x, y, m: np.where(m, np.logaddexp(x, y), y),
        torch=lambda x, y, m: __import__("torch").masked.logaddexp(x, y, input_mask=m),
    ),
]
