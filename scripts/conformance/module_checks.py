"""All checks of one entry of PyTorch's module database: the same state dict, outputs, gradients and buffers, in training and not."""

import inspect

import torch
from compare import difference, flat, host, unequal, weighted
from operator_checks import CLEAN, Checks, Result, brief_error
from torch.testing._internal.common_modules import ModuleErrorEnum
from translate import Unsupported, here, leaf

import chainrule as cr


class Module(Checks):
    """One class of `torch.nn`, here and there."""

    def run(self):
        self.mine = getattr(cr.nn, self.info.module_cls.__name__, None)
        if self.mine is None:
            return Result(self.name, False, {}, [], 0, 0)
        errors = refused = 0
        for dtype in (torch.float64, torch.float32):
            if dtype not in self.info.dtypes:
                continue
            for training in (True, False):
                options = {"device": "cpu", "dtype": dtype, "requires_grad": True, "training": training}
                torch.manual_seed(0)
                for sample in self.info.module_inputs_func(self.info, **options):
                    self.one_sample(sample, dtype, training)
                if self.info.module_error_inputs_func and dtype is torch.float64:
                    for sample in self.info.module_error_inputs_func(self.info, **options):
                        total, right = self.one_error(sample)
                        errors, refused = errors + total, refused + right
        return Result(self.name, True, dict(self.counts), self.differences, errors, refused)

    def one_sample(self, sample, dtype, training):
        about = f"{_described(sample.constructor_input)}, training={training}, {dtype}"
        try:
            there, mine = self.made(sample.constructor_input, dtype)
            side = self.sides(sample.forward_input)
        except Unsupported:
            return None
        except CLEAN as error:
            return self.note("state", f"{brief_error(error)}  {about}")
        there.train(training)
        mine.train(training)
        if self.info.is_lazy:  # the first call makes the parameters
            there(*side[0][0], **side[0][1])
            mine(*side[1][0], **side[1][1])
        text = self.same_state(there, mine)
        self.counts["state"] += 1
        if text:
            return self.note("state", f"{text}  {about}")
        mine.load_state_dict({name: here(value) for name, value in there.state_dict().items()})
        text = self.compared(there, mine, side, 1e-9 if dtype is torch.float64 else 2e-5)
        if text:
            self.note(*text[:1], f"{text[1]}  {about}")
        return None

    def made(self, given, dtype):
        """The module there and here; `device=` and `dtype=` in the arguments go through as they are."""
        there = self.info.module_cls(*given.args, **given.kwargs).to(dtype)
        mine = self.mine(*here(given.args), **here(given.kwargs))
        return there, mine.to(here(dtype))

    def sides(self, given):
        there = tuple(leaf(one) for one in given.args), leaf(given.kwargs)
        return there, (here(list(there[0])), here(there[1]))

    def same_state(self, there, mine):
        want = {name: (tuple(v.shape), str(v.dtype).split(".")[-1]) for name, v in there.state_dict().items()}
        got = {name: (tuple(v.shape), v.dtype.name) for name, v in mine.state_dict().items()}
        if list(want) != list(got):
            return f"state dict {list(got)} instead of {list(want)}"
        return next((f"{n}: {got[n]} instead of {want[n]}" for n in want if want[n] != got[n]), None)

    def compared(self, there, mine, side, tolerance):
        """(check, text) of the first difference, or None."""
        torch.manual_seed(1)
        buffers = {name: value.clone() for name, value in there.named_buffers()}
        want = there(*side[0][0], **side[0][1])
        try:
            got = mine(*side[1][0], **side[1][1])
        except Exception as error:
            return "forward", brief_error(error)
        after = {name: value.clone() for name, value in there.state_dict().items()}
        with torch.no_grad():
            for name, value in there.named_buffers():
                value.copy_(buffers[name])
        torch.manual_seed(2)
        again = there(*side[0][0], **side[0][1])
        exact = not any(
            unequal(host(a), host(b), 0.0)
            for a, b in zip(flat(want), flat(again), strict=True)
            if isinstance(a, torch.Tensor)
        )
        self.counts["forward"] += 1
        text = difference(got, want, tolerance, exact)
        if text:
            return "forward", text
        if not exact:
            return None
        text = difference(list(mine.state_dict().values()), list(after.values()), tolerance)
        if text:
            return "state", f"after the call: {text}"
        return self.gradients(there, mine, side, (want, got), tolerance)

    def gradients(self, there, mine, side, results, tolerance):
        found = []
        for library, module, (args, kwargs), result in zip(
            (torch, cr), (there, mine), side, results, strict=True
        ):
            total = weighted(result, library)
            if total is None:
                return None
            inputs = [
                x
                for x in flat([*args, kwargs])
                if isinstance(x, (torch.Tensor, cr.Tensor)) and x.requires_grad
            ]
            leaves = [*inputs, *(p for p in module.parameters() if p.requires_grad)]
            try:
                grads = library.autograd.grad(total, leaves, allow_unused=True)
            except Exception as error:
                if library is torch:
                    return None
                return "gradient", brief_error(error)
            found.append(
                [library.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True)]
            )
        self.counts["gradient"] += 1
        text = difference(found[1], found[0], max(tolerance, 1e-7))
        return text and ("gradient", text)

    def one_error(self, sample):
        """(1 if PyTorch refuses the call, 1 if chainrule does too, cleanly)."""
        given = sample.module_error_input
        try:
            if sample.error_on == ModuleErrorEnum.CONSTRUCTION_ERROR:
                got = self.attempt(
                    lambda: self.mine(
                        *here(given.constructor_input.args), **here(given.constructor_input.kwargs)
                    )
                )
            else:
                there = self.info.module_cls(
                    *given.constructor_input.args, **given.constructor_input.kwargs
                ).double()
                mine = self.attempt(lambda: self.made(given.constructor_input, torch.float64)[1])
                side = self.sides(given.forward_input)
                if not isinstance(self.attempt(lambda: there(*side[0][0], **side[0][1])), Exception):
                    return 0, 0
                # What PyTorch refuses in the call may be refused in the constructor.
                got = (
                    mine
                    if isinstance(mine, Exception)
                    else self.attempt(lambda: mine(*side[1][0], **side[1][1]))
                )
        except Unsupported:
            return 0, 0
        if isinstance(got, CLEAN) and str(got):
            return 1, 1
        what = f"unclean {brief_error(got)}" if isinstance(got, Exception) else "accepted"
        self.note(
            "errors", f"{what}; PyTorch: {sample.error_regex[:70]}  {_described(given.constructor_input)}"
        )
        return 1, 0


def _described(given):
    parts = [repr(one) if not inspect.isroutine(one) else one.__name__ for one in given.args]
    return f"({', '.join(parts + [f'{k}={v!r}' for k, v in given.kwargs.items()])})"[:160]
