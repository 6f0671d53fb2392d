"""All checks of one entry of PyTorch's optimizer database: the parameters after each of 20 steps, and the state dict."""

import numpy as np
import torch
from compare import difference
from operator_checks import CLEAN, Checks, Result, brief_error
from translate import Unsupported, here

import chainrule as cr

STEPS = 20


class Optimizer(Checks):
    """One class of `torch.optim`, here and there."""

    def run(self):
        self.mine = getattr(cr.optim, self.info.name, None)
        if self.mine is None:
            return Result(self.name, False, {}, [], 0, 0)
        for sample in self.info.optim_inputs_func(device="cpu"):
            for dtype in (torch.float64, torch.float32, torch.complex128):
                if dtype is torch.complex128 and not (
                    self.info.supports_complex and self.info.name != "LBFGS"
                ):
                    continue
                if not self.info.only_supports_sparse_grads:
                    self.one_setting(sample, dtype)
        errors = refused = 0
        for sample in self.info.optim_error_inputs_func("cpu", torch.float64):
            total, right = self.one_error(sample)
            errors, refused = errors + total, refused + right
        return Result(self.name, True, dict(self.counts), self.differences, errors, refused)

    def one_setting(self, sample, dtype):
        about = f"{sample.kwargs}, {dtype}"
        there = [torch.nn.Parameter(value) for value in _start(self.info.name, dtype)]
        mine = [cr.nn.Parameter(here(p.detach())) for p in there]
        try:
            optimizers = self.info.optim_cls(there, **sample.kwargs), self.mine(mine, **here(sample.kwargs))
        except Exception as error:
            return self.note("steps", f"{brief_error(error)}  {about}")
        tolerance = 1e-10 if dtype is torch.float64 else 1e-9 if dtype is torch.complex128 else 1e-4
        for number in range(STEPS):
            if self.info.step_requires_closure:  # twenty evaluations a step magnify what differs by rounding
                tolerance = max(tolerance, min(1e-3, 1e-10 * 10**number))
            for parameters, optimizer in zip((there, mine), optimizers, strict=True):
                try:
                    # A method that models the function's curvature must see one function.
                    turn = 0 if self.info.step_requires_closure else number
                    optimizer.step(_closure(parameters, optimizer, turn))
                except Exception as error:
                    return self.note("steps", f"{brief_error(error)}  {about}")
            text = difference(mine, there, tolerance)
            if text:
                return self.note("steps", f"after {number + 1} steps: {text}  {about}")
        self.counts["steps"] += 1
        text = _state_difference(optimizers[1].state_dict(), optimizers[0].state_dict())
        self.counts["state"] += 1
        return self.note("state", f"{text}  {about}") if text else None

    def one_error(self, sample):
        """(1 if PyTorch refuses the call, 1 if chainrule does too, cleanly)."""
        given = sample.optimizer_error_input
        try:
            parameters = _parameters(given.params, {})
            got = self.attempt(lambda: self.mine(parameters, **here(given.kwargs)))
        except Unsupported:
            return 0, 0
        wanted_warning = issubclass(sample.error_type, Warning)
        if wanted_warning or (isinstance(got, CLEAN) and str(got)):
            return int(not wanted_warning), int(not wanted_warning)
        if not isinstance(got, Exception):  # refused when it steps
            got = self.attempt(lambda: got.step(lambda: cr.tensor(0.0)))
        if isinstance(got, CLEAN) and str(got):
            return 1, 1
        what = f"unclean {brief_error(got)}" if isinstance(got, Exception) else "accepted"
        self.note("errors", f"{what}; PyTorch: {sample.error_regex[:70]}")
        return 1, 0


def _start(name, dtype):
    """Where the parameters begin: matrices for Muon, else also a vector and a number."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(4, 3), (3, 4)] if name == "Muon" else [(4, 3), (5,), ()]
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        * (1 + 0.5j if dtype.is_complex else 1)
        for shape in shapes
    ]


def _closure(parameters, optimizer, number):
    """Sets the gradients of a bumpy bowl that turns with the step's number, and gives its value."""
    library = torch if isinstance(parameters[0], torch.Tensor) else cr

    def closure():
        optimizer.zero_grad()
        loss = 0
        for i, p in enumerate(parameters):
            real = library.view_as_real(p) if "complex" in str(p.dtype) else p
            loss = loss + (0.5 * real * real + (0.9 * real + 0.3 * (number % 3) + i).cos()).sum()
        loss.backward()
        return loss

    return closure


def _parameters(value, known):
    """The arguments of a wrong call, as they are but with our parameters; what is given twice is one parameter here too."""
    if isinstance(value, torch.Tensor):
        return known.setdefault(id(value), cr.nn.Parameter(here(value.detach())))
    if isinstance(value, dict):
        return {key: _parameters(one, known) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_parameters(one, known) for one in value)
    return here(value)


def _state_difference(got, want):
    """What differs in the structure of two state dicts: groups, keys, shapes."""
    shape = lambda one: (
        tuple(one.shape)
        if hasattr(one, "shape")
        else type(one).__name__
        if isinstance(one, (list, dict))
        else ()
    )
    for kind, mine, there in (("param_groups", got["param_groups"], want["param_groups"]),):
        for a, b in zip(mine, there, strict=True):
            if set(b) - set(a):
                return f"{kind} without {sorted(set(b) - set(a))}"
    if set(got["state"]) != set(want["state"]):
        return f"state of {sorted(got['state'])} instead of {sorted(want['state'])}"
    for number, there in want["state"].items():
        mine = got["state"][number]
        if set(mine) != set(there):
            return f"state keys {sorted(mine)} instead of {sorted(there)}"
        for key, value in there.items():
            if shape(mine[key]) != shape(value) and np.prod(shape(value), initial=1) != 1:
                return f"state {key}: {shape(mine[key])} instead of {shape(value)}"
    return None
