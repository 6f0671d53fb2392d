"""float32 gradients are as close to the truth as PyTorch's own: for every row of the table of operations."""

import numpy as np
import pytest

from tests.test_ops import SMOOTH, floats, host, leaves, replaced, seeded, tensors

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::UserWarning")]
EPS = 2.0**-24  # half a unit in the last place of a float32: what rounding alone costs
WORST = 10


def _target(torch, row):
    function = row.torch if row.torch is not None else row.name
    if function is False:
        pytest.skip("PyTorch has nothing to compare with")
    if isinstance(function, str):
        target = torch
        for part in function.split("."):
            target = getattr(target, part, None)
            if target is None:
                pytest.skip(f"PyTorch has no {function}")
        function = target
    return function


def _loss(results, library, convert):
    """All outputs with irregular weights, summed in float64."""
    total = 0.0
    for out in results:
        weights = np.cos(1.3 * np.arange(int(np.prod(tuple(out.shape)))) + 0.2).reshape(tuple(out.shape))
        total = total + (out.to(library.float64) * convert(weights)).sum()
    return total


def _theirs(torch, function, row, inputs, dtype):
    """PyTorch's gradients at the same float32 values."""
    xs = [torch.tensor(host(x)).to(dtype).requires_grad_() for x in leaves(inputs)]
    given = [torch.tensor(host(one)) if hasattr(one, "_array") else one for one in replaced(inputs, xs)]
    kwargs = {
        name: torch.tensor(host(value)) if hasattr(value, "_array") else value
        for name, value in row.kwargs.items()
    }
    found = function(*given, **kwargs)
    found = found if isinstance(found, (tuple, list)) else (found,)
    found = [
        one
        for one in found
        if isinstance(one, torch.Tensor) and one.is_floating_point() and one.requires_grad
    ]
    _loss(found, torch, torch.from_numpy).backward()
    return [None if x.grad is None else x.grad.double().numpy() for x in xs]


def measure(torch, row):
    """For each gradient: (our error, PyTorch's error), both in units of EPS times the largest true gradient."""
    import chainrule as cr

    function = _target(torch, row)
    inputs = tensors(row, "float32", requires_grad=True)
    try:
        true, single = (
            _theirs(torch, function, row, inputs, dtype) for dtype in (torch.float64, torch.float32)
        )
    except (RuntimeError, TypeError) as error:
        pytest.skip(f"PyTorch refuses: {str(error)[:60]}")
    _loss(floats(seeded(row, inputs)), cr, cr.from_numpy).backward()
    found = []
    for leaf, exact, other in zip(leaves(inputs), true, single, strict=True):
        if exact is None or leaf.grad is None or not exact.size:
            continue
        unit = EPS * max(np.abs(exact).max(), 1e-30)
        found.append([np.abs(g - exact).max() / unit for g in (host(leaf.grad).astype(float), other)])
    return found


@SMOOTH
def test_float32_gradients_are_as_good_as_pytorchs(row, torch):
    if row.id == "linalg.lstsq-rank":
        pytest.skip("rounded to float32, the matrix of lower rank has full rank: another problem")
    for ours, theirs in measure(torch, row):
        assert ours <= WORST * max(theirs, 1.0)
