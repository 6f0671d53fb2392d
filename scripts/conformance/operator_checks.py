"""All checks of one entry of the database."""

import collections
import pathlib
import re
import traceback

import torch
from compare import Call, derivatives, difference, flat, host, unequal
from translate import Unsupported, here, ours, translated

import chainrule as cr

CLEAN = (TypeError, ValueError, IndexError, RuntimeError, NotImplementedError)
DTYPES = (torch.float64, torch.complex128, torch.float32, torch.int64, torch.bool)
# Memory nobody has written yet has no values to compare.
UNINITIALISED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided", "resize_", "resize_as_"}  # fmt: skip
# These draw random numbers, though the suite seeds some: PyTorch's stream is not ours, so shapes and dtypes are compared.
RANDOM = {
    "bernoulli", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "nn.functional.fractional_max_pool2d",
    "nn.functional.fractional_max_pool3d", "nn.functional.rrelu", "normal", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "uniform",
}  # fmt: skip
# Where elements are equal the order found is nobody's promise: indices are compared for floats only.
TIES = {"argsort", "kthvalue", "median", "mode", "nanmedian", "sort", "topk"}
# What PyTorch keeps for other layouts, other compilers and itself: not operators of dense tensors that a script names.
NOT_OURS = re.compile(
    r"jiterator|^sparse\.|^to_sparse|^torch\.|_scaled_mm|nested|hash_tensor|_chunk_cat|_efficient_|_flash_|^slice$"
    r"|_batch_norm_legit|_batch_norm_with_update|_backward(_data)?$|^_upsample|_unsafe_masked"
)

Result = collections.namedtuple("Result", "name carried checks differences errors refused")


class Checks:
    """What the checks of operators, modules and optimizers share: a name, the differences found, counts of calls."""

    def __init__(self, info):
        self.info = info
        variant = getattr(info, "variant_test_name", "")
        self.name = info.name + (f" [{variant}]" if variant else "")
        self.differences = []  # (check, text)
        self.counts = collections.Counter()
        self.random = False

    def note(self, check, text, sample=None):
        about = "" if sample is None else f"  call: {_describe(sample)}"
        self.differences.append((check, f"{text}{about}"))

    def attempt(self, function, side=((), {})):
        try:
            return function(*side[0], **side[1])
        except Exception as error:
            return error


class Operator(Checks):
    """One operator, its method and its in-place form."""

    def run(self):
        function = ours(self.info)
        if function is None:
            return Result(self.name, False, {}, [], 0, 0)
        dtypes = [dtype for dtype in DTYPES if dtype in self.info.dtypes] or sorted(
            self.info.dtypes, key=str
        )[:1]
        for dtype in dtypes:
            gradient = self.info.supports_autograd and dtype in self.info.supported_backward_dtypes("cpu")
            gradient = gradient and dtype in (torch.float64, torch.complex128)
            torch.manual_seed(0)
            for sample in self.info.sample_inputs("cpu", dtype, requires_grad=gradient):
                self.one_sample(function, sample, gradient, dtype is dtypes[0])
        errors, refused = self.error_inputs(function)
        return Result(self.name, True, dict(self.counts), self.differences, errors, refused)

    def one_sample(self, function, sample, gradient, forms):
        try:
            call = Call(sample, gradient)
        except Unsupported:
            return
        want = self.attempt(self.info.op, call.there)
        if isinstance(want, Exception):
            return  # refused there: `error_inputs` is about that
        exact = self.repeatable(want, call)
        got = self.attempt(function, call.mine)
        if isinstance(got, Exception):
            return self.note("forward", brief_error(got), sample)
        self.counts["forward"] += 1
        text = self.compare(got, want, sample, 1e-9, exact)
        if text:
            return self.note("forward", text, sample)
        if forms:
            self.forms(call, want, sample, exact)
        if gradient and exact:
            self.gradients(function, sample)

    def compare(self, got, want, sample, tolerance, exact):
        process = sample.output_process_fn_grad
        try:
            got, want = translated(process)(got), process(want)
        except Exception as error:
            return brief_error(error)
        if self.info.name in TIES and not _has_floats(sample.input):
            exact = exact and self.info.name != "argsort"
            got, want = (one[0] if isinstance(one, tuple) else one for one in (got, want))
        return difference(got, want, tolerance, exact)

    def repeatable(self, want, call):
        """Whether the operator gives the same twice: otherwise it draws random numbers."""
        if self.random or self.info.name in UNINITIALISED or self.info.name in RANDOM:
            return False
        if "wrapper_set_seed" in getattr(getattr(self.info.op, "__code__", None), "co_names", ()):
            return False
        torch.manual_seed(1)
        again = self.attempt(self.info.op, call.there)
        pairs = [
            (one, two)
            for one, two in zip(flat(want), flat(again), strict=True)
            if isinstance(one, torch.Tensor)
        ]
        self.random = any(unequal(host(one), host(two), 0.0) for one, two in pairs)
        return not self.random

    def forms(self, call, want, sample, exact):
        """The method and the in-place method."""
        args, kwargs = call.there
        if not isinstance(args[0], torch.Tensor):
            return
        for variant, check in ((self.info.method_variant, "method"), (self.info.inplace_variant, "in-place")):
            name = getattr(variant, "__name__", "")
            if not name or name == "<lambda>" or not hasattr(torch.Tensor, name):
                continue
            there = args[0].detach().clone() if check == "in-place" else args[0]
            expected = self.attempt(variant, ((there, *args[1:]), kwargs))
            if isinstance(expected, Exception):
                continue
            if not hasattr(cr.Tensor, name):
                return self.note(check, f"no Tensor.{name}")
            side = call.fresh()
            if check == "in-place":
                side[0][0] = side[0][0].detach().clone()
            got = self.attempt(getattr(cr.Tensor, name), side)
            text = (
                brief_error(got)
                if isinstance(got, Exception)
                else self.compare(got, expected, sample, 1e-9, exact)
            )
            if text:
                self.note(check, text, sample)
            self.counts[check] += 1

    def gradients(self, function, sample):
        wrapper = self.info.gradcheck_wrapper
        call = Call(sample, True)
        there = lambda *args, **kwargs: wrapper(self.info.op, *args, **kwargs)
        mine = lambda *args, **kwargs: translated(wrapper)(function, *args, **kwargs)
        if "masked" in wrapper.__name__:
            mine = self.unmasked(function, call)
        try:
            want, want_second = derivatives(there, sample.output_process_fn_grad, call.there, torch, call)
        except Exception:
            return
        if want is None:
            return
        try:
            got, got_second = derivatives(
                mine, translated(sample.output_process_fn_grad), call.mine, cr, call
            )
        except Exception as error:
            return self.note("gradient", brief_error(error), sample)
        self.counts["gradient"] += 1
        text = "no gradient" if got is None else difference(got, want, 1e-7)
        if text:
            return self.note("gradient", text, sample)
        if not self.info.supports_gradgrad:
            return
        try:
            want = want_second()
        except Exception:
            return
        self.counts["second"] += 1
        try:
            text = difference(got_second(), want, 1e-6)
        except Exception as error:
            text = brief_error(error)
        if text:
            self.note("second", text, sample)

    def unmasked(self, function, call):
        """The function with 0 where all is masked, as PyTorch's wrapper has it: its test of that is not public."""
        args, kwargs = call.there
        if kwargs.get("input_mask") is not None and kwargs.get("other_mask") is not None:
            both = torch.logical_and(kwargs["input_mask"], kwargs["other_mask"])
            mask = torch.masked._input_mask(args[0], *args[1:], mask=both)
        elif kwargs.get("mask") is not None:
            mask = torch.masked._output_mask(self.info.op, *args, **kwargs)
        else:
            return function
        return lambda *args, **kwargs: cr.where(here(mask), function(*args, **kwargs), 0.0)

    def error_inputs(self, function):
        """(calls that PyTorch refuses, how many of them are refused here with a clean error)."""
        if self.info.error_inputs_func is None:
            return 0, 0
        total = refused = 0
        for one in self.info.error_inputs("cpu"):
            try:
                call = Call(one.sample_input, False)
            except Unsupported:
                continue
            if not isinstance(self.attempt(self.info.op, call.there), Exception):
                continue
            total += 1
            got = self.attempt(function, call.mine)
            if isinstance(got, CLEAN) and str(got):
                refused += 1
            elif isinstance(got, Exception):
                self.note("errors", f"unclean {brief_error(got)}", one.sample_input)
            else:
                self.note("errors", f"accepted; PyTorch: {one.error_regex[:70]}", one.sample_input)
        return total, refused


def _has_floats(value):
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def brief_error(error):
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:160]} ({pathlib.Path(where.filename).name}:{where.lineno})"


def _describe(sample):
    def one(value):
        if isinstance(value, torch.Tensor):
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        if isinstance(value, (list, tuple)):
            return "(" + ", ".join(map(one, value)) + ")"
        return repr(value)

    parts = [one(value) for value in (sample.input, *sample.args)]
    return ", ".join(parts + [f"{key}={one(value)}" for key, value in sample.kwargs.items()])[:220]
