"""Checking derivatives against central differences: `gradcheck` for the first, `gradgradcheck` for the second.

[f(x + eps) - f(x - eps)] / (2 eps) differs from f'(x) by O(eps^2), so in float64 with eps = 1e-6 the two agree to about nine
digits where the rule is right, and not at all where it is not.
"""

import numpy

from chainrule.backends import backend_of

from . import forward_ad, late
from .gradients import grad
from .modes import enable_grad, no_grad


class GradcheckError(RuntimeError):
    """A derivative disagrees with the differences; the message shows both."""


def _outputs(function, inputs):
    result = function(*inputs)
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    return [
        one
        for one in outputs
        if isinstance(one, late.Tensor) and (one.is_floating_point() or one.is_complex())
    ]


def _host(tensor):
    return numpy.array(backend_of(tensor._array).to_host(tensor._array))


def _numerical(function, inputs, index, eps):
    """The Jacobian of each output by input `index`, by central differences: a list of (inputs, outputs) matrices."""
    tensor = inputs[index]
    start = _host(tensor)
    steps = (eps, 1j * eps) if start.dtype.kind == "c" else (eps,)
    rows = []
    for place in numpy.ndindex(start.shape):
        row = []
        for step in steps:
            ends = []
            for direction in (1, -1):
                moved = start.copy()
                moved[place] += direction * step
                changed = list(inputs)
                changed[index] = tensor.detach().new_tensor(moved)
                with no_grad():
                    ends.append([_host(out) for out in _outputs(function, changed)])
            row.append([(plus - minus).ravel() / (2 * eps) for plus, minus in zip(*ends, strict=True)])
        rows.append(row)
    return rows


def _forward(function, inputs, index):
    """The same Jacobians, in the same form, by forward mode: one pass for each element (and complex part) of the input."""
    start = inputs[index]._array
    rows = []
    for place in numpy.ndindex(start.shape):
        row = []
        for step in (1, 1j) if start.dtype.kind == "c" else (1,):
            unit = numpy.zeros(start.shape, start.dtype)
            unit[place] = step
            changed = list(inputs)
            with forward_ad.dual_level():
                changed[index] = forward_ad.make_dual(inputs[index], inputs[index].detach().new_tensor(unit))
                pairs = [forward_ad.unpack_dual(out) for out in _outputs(function, changed)]
            row.append([_host(x.detach().new_zeros(x.shape) if t is None else t).ravel() for x, t in pairs])
        rows.append(row)
    return rows


def _analytic(outputs, inputs, index):
    """The same Jacobians by backward passes, one for each element (and complex part) of each output."""
    jacobians = []
    for out in outputs:
        columns = []
        for place in numpy.ndindex(tuple(out.shape)):
            for unit in (1, 1j) if out.is_complex() else (1,):
                g = numpy.zeros(tuple(out.shape), out._array.dtype)
                g[place] = unit
                (found,) = grad(
                    [out], [inputs[index]], [out.detach().new_tensor(g)], retain_graph=True, allow_unused=True
                )
                columns.append(
                    numpy.zeros(tuple(inputs[index].shape), inputs[index]._array.dtype)
                    if found is None
                    else _host(found)
                )
        jacobians.append([column.ravel() for column in columns])
    return jacobians


def _real_rows(rows, out):
    """A Jacobian from `_numerical` or `_forward` as a real matrix: d(output parts) / d(input parts)."""
    parts_out = (numpy.real, numpy.imag) if out.is_complex() else (numpy.real,)
    number = numpy.array([[part(step) for part in parts_out] for row in rows for step in row])
    number = number.reshape(len(rows) * len(rows[0]), -1, out._array.size)
    return number.transpose(0, 2, 1).reshape(len(number), -1)


def _real_parts(numerical, analytic, out, is_complex_in):
    """Both Jacobians as real matrices: d(output parts) / d(input parts)."""
    number = _real_rows(numerical, out)
    parts_in = (numpy.real, numpy.imag) if is_complex_in else (numpy.real,)
    exact = numpy.array([[part(column) for part in parts_in] for column in analytic])
    exact = exact.transpose(2, 1, 0).reshape(number.shape)
    return number, exact


def gradcheck(
    func, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, nondet_tol=0.0, check_undefined_grad=True,
    check_grad_dtypes=False, check_batched_grad=False, check_batched_forward_grad=False, check_forward_ad=False,
    check_backward_ad=True, fast_mode=False, masked=None,
):  # fmt: skip
    """Compare the gradients of `func` with central differences, element by element; with check_forward_ad forward mode too.

    func: takes Tensors, gives a Tensor or several. inputs: Tensors, those that require grad in float64 or complex128.
    Returns True; raises GradcheckError (or returns False without raise_exception) where |analytic - numerical| exceeds
    atol + rtol * |numerical|, showing both, and where two backward passes disagree by more than nondet_tol.
    """
    inputs = (inputs,) if isinstance(inputs, late.Tensor) else tuple(inputs)
    checked = [i for i, one in enumerate(inputs) if isinstance(one, late.Tensor) and one.requires_grad]
    if not checked:
        raise ValueError("gradcheck: expected at least one input that requires grad")
    for i in checked:
        if inputs[i].dtype.name not in ("float64", "complex128") and eps < 1e-4:
            raise ValueError(
                f"gradcheck: input {i} is {inputs[i].dtype}; differences with eps={eps} need float64: convert with .double()"
            )
    try:
        for i in checked:
            if check_backward_ad:
                _check_input(func, inputs, i, eps, atol, rtol, nondet_tol)
            if check_forward_ad:
                _check_forward(func, inputs, i, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check_input(func, inputs, i, eps, atol, rtol, nondet_tol):
    outputs = _outputs(func, inputs)
    numerical = _numerical(func, inputs, i, eps)
    recorded = [out for out in outputs if out.requires_grad]
    analytic = _analytic(recorded, inputs, i)
    again = _analytic(recorded, inputs, i)
    position = 0
    for o, out in enumerate(outputs):
        if not out.requires_grad or not inputs[i]._array.size or not out._array.size:
            position += out.requires_grad
            continue
        rows = [[step[o] for step in row] for row in numerical]
        number, exact = _real_parts(rows, analytic[position], out, inputs[i].is_complex())
        _, second = _real_parts(rows, again[position], out, inputs[i].is_complex())
        position += 1
        if numpy.abs(exact - second).max() > nondet_tol:
            raise GradcheckError(
                f"gradcheck: the gradient of output {o} by input {i} differs from one backward pass to the next"
            )
        if not numpy.allclose(exact, number, rtol, atol, equal_nan=True):
            raise GradcheckError(
                f"gradcheck: the gradient of output {o} by input {i} disagrees with central differences (largest difference "
                f"{numpy.abs(exact - number).max():.3g}):\nnumerical:\n{number}\nanalytic:\n{exact}"
            )


def _check_forward(func, inputs, i, eps, atol, rtol):
    outputs = _outputs(func, inputs)
    numerical, exact = _numerical(func, inputs, i, eps), _forward(func, inputs, i)
    for o, out in enumerate(outputs):
        if not inputs[i]._array.size or not out._array.size:
            continue
        number, found = (
            _real_rows([[step[o] for step in row] for row in rows], out) for rows in (numerical, exact)
        )
        if not numpy.allclose(found, number, rtol, atol, equal_nan=True):
            raise GradcheckError(
                f"gradcheck: forward mode's derivative of output {o} by input {i} disagrees with central differences (largest "
                f"difference {numpy.abs(found - number).max():.3g}):\nnumerical:\n{number}\nforward mode:\n{found}"
            )


def gradgradcheck(
    func, inputs, grad_outputs=None, *, eps=1e-6, atol=1e-5, rtol=1e-3, gen_non_contig_grad_outputs=False, raise_exception=True,
    nondet_tol=0.0, check_undefined_grad=True, check_grad_dtypes=False, check_batched_grad=False, check_fwd_over_rev=False,
    check_rev_over_rev=True, fast_mode=False, masked=False,
):  # fmt: skip
    """Compare second derivatives of `func` with central differences of its first; see `gradcheck`. With check_fwd_over_rev
    forward mode over the gradient as well.

    grad_outputs: where the first backward starts; by default fixed irregular numbers, so that nothing cancels.
    """
    inputs = (inputs,) if isinstance(inputs, late.Tensor) else tuple(inputs)
    outputs = [out for out in _outputs(func, inputs) if out.requires_grad]
    if grad_outputs is None:
        grad_outputs = [
            out.detach()
            .new_tensor(numpy.cos(1.7 * numpy.arange(out._array.size) + 0.4).reshape(tuple(out.shape)))
            .requires_grad_()
            for out in outputs
        ]
    elif isinstance(grad_outputs, late.Tensor):
        grad_outputs = [grad_outputs]
    wanted = [i for i, one in enumerate(inputs) if isinstance(one, late.Tensor) and one.requires_grad]

    def first_derivative(*everything):
        xs = list(everything[: len(inputs)])
        gs = [g if g.requires_grad else g.detach().requires_grad_() for g in everything[len(inputs) :]]
        for i in wanted:
            if not xs[i].requires_grad:
                xs[i] = xs[i].detach().requires_grad_()
        with enable_grad():
            made = [out for out in _outputs(func, xs) if out.requires_grad]
            found = grad(made, [xs[i] for i in wanted], gs, create_graph=True, allow_unused=True)
        return tuple(one for one in found if one is not None and one.requires_grad) or tuple(
            one for one in found if one is not None
        )

    return gradcheck(
        first_derivative,
        (*inputs, *grad_outputs),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_forward_ad=check_fwd_over_rev,
        check_backward_ad=check_rev_over_rev,
    )
