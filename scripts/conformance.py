"""A second opinion on every operation: PyTorch's own operator database, run against chainrule. See `make conformance`.

    python -P scripts/conformance.py                    every operator, a line for each that differs, and totals
    python -P scripts/conformance.py cumsum linalg.     those whose name is, or starts with (at a dot), one of these
    python -P scripts/conformance.py -v cumsum          each difference in full

`torch.testing._internal.common_methods_invocations.op_db` ships inside the PyTorch wheel: for each operator, calls that must
work in each dtype, and calls that must be refused. Each call is made twice, here and there, and compared: values, shapes,
dtypes; the gradient and the second derivative in a random direction; the method and the in-place form; and whether what
PyTorch refuses is refused here with a clean error. Differences that are meant stand in `docs/differences.md`, with the reason.
Developers only: PyTorch is no dependency.
"""

import argparse
import collections
import concurrent.futures
import multiprocessing
import pathlib
import re
import signal
import sys
import traceback
import types
import warnings

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

import chainrule as cr  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLEAN = (TypeError, ValueError, IndexError, RuntimeError, NotImplementedError)
DTYPES = (torch.float64, torch.complex128, torch.float32, torch.int64, torch.bool)
SECONDS = 240  # for one operator; far more than any needs that does not hang
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


# -- from there to here ------------------------------------------------------------------------------------------------


def here(value):
    """A PyTorch value as chainrule's."""
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided:
            raise Unsupported(f"layout {value.layout}")
        if value.device.type != "cpu":
            raise Unsupported(f"device {value.device}")
        plain = value.detach().resolve_conj().resolve_neg()
        if plain.dtype in (torch.complex32, torch.bfloat16):
            raise Unsupported(str(plain.dtype))
        if plain.ndim > 64:
            raise Unsupported("NumPy's arrays have at most 64 dimensions")
        array = _copied(plain)
        made = cr.from_numpy(array)
        return made.requires_grad_() if value.requires_grad else made
    if isinstance(value, torch.dtype):
        name = str(value).removeprefix("torch.")
        if not hasattr(cr, name):
            raise Unsupported(str(value))
        return getattr(cr, name)
    if isinstance(value, torch.device):
        return cr.device(str(value))
    if isinstance(value, (torch.layout, torch.memory_format)):
        return getattr(cr, str(value).removeprefix("torch."), value)
    if isinstance(value, torch.Generator):
        return cr.Generator().manual_seed(0)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, dict):
        return {key: here(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [here(one) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, types.FunctionType):
        return translated(value)
    if isinstance(value, torch.nn.Module):
        return getattr(cr.nn, type(value).__name__)()
    return value


def _copied(tensor):
    """The same values in the same layout, with as much memory around them."""
    if 0 in tensor.stride() or not tensor.numel():
        return tensor.numpy().copy()
    memory = (
        torch.as_strided(tensor, (tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0)
        .numpy()
        .copy()
    )
    strides = [step * tensor.element_size() for step in tensor.stride()]
    return np.lib.stride_tricks.as_strided(memory[tensor.storage_offset() :], tuple(tensor.shape), strides)


def leaf(value):
    """The value with every Tensor that requires a gradient made a leaf of its own."""
    if isinstance(value, torch.Tensor):
        return value.detach().requires_grad_() if value.requires_grad else value
    if isinstance(value, dict):
        return {key: leaf(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(leaf(one) for one in value)
    return value


class Unsupported(Exception):
    """A value chainrule has no counterpart of: the call says nothing about us."""


def translated(function):
    """A Python function of PyTorch's test suite with `torch` meaning chainrule."""
    if not isinstance(function, types.FunctionType) or not function.__module__.startswith("torch.testing"):
        return function
    names = {**function.__globals__, "torch": cr}
    for name in set(function.__code__.co_names) - {function.__name__}:
        value = names.get(name)
        if isinstance(value, types.FunctionType) and value.__module__ == function.__module__:
            names[name] = _plain_call if name == "wrapper_set_seed" else translated(value)
    cells = tuple(types.CellType(_cell(cell.cell_contents)) for cell in function.__closure__ or ())
    made = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _plain_call(function, *args, **kwargs):
    """In place of the suite's wrapper that seeds PyTorch's generator."""
    return function(*args, **kwargs)


def _cell(value):
    if isinstance(value, types.BuiltinFunctionType) or getattr(value, "__module__", "") in (
        "torch.functional",
        "torch.nn.functional",
    ):
        return lookup(getattr(value, "__name__", "")) or value
    try:
        return here(value)
    except Unsupported:
        return value


def lookup(name):
    """chainrule's function of a dotted name, or None (`float` is a dtype and a method)."""
    found = cr
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            return None
    return None if isinstance(found, cr.dtype) else found


def ours(info):
    """What chainrule calls for an operator of the database: None if it has no such name."""
    if isinstance(info.op, types.FunctionType) and (info.op.__module__ or "").startswith("torch.testing"):
        called = info.op.__code__.co_names
        named = lookup(info.name) or getattr(cr.Tensor, info.name, None)
        if named is None and not any(
            hasattr(cr, name) or hasattr(cr.Tensor, name) for name in called if name != "torch"
        ):
            return None
        return translated(info.op)
    return lookup(info.name) or getattr(cr.Tensor, info.name, None) or lookup(info.name.removeprefix("_"))


# -- comparing ----------------------------------------------------------------------------------------------------------


def flat(result):
    """The leaves of a result, in order."""
    if isinstance(result, dict):
        return [leaf for one in result.values() for leaf in flat(one)]
    if isinstance(result, (tuple, list)) and not isinstance(result, (torch.Size, cr.Size)):
        return [leaf for one in result for leaf in flat(one)]
    return [result]


def host(value):
    """The values as a NumPy array."""
    if isinstance(value, torch.Tensor):
        value = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
        value = value.float() if value.dtype is torch.bfloat16 else value
        return value.resolve_conj().resolve_neg().numpy(force=True)
    array = value.detach().numpy()
    return array.astype("float32") if array.dtype.kind == "V" else array


def difference(got, want, tolerance, exact=True):
    """What differs between two results, as text, or None. Without `exact`, only shapes and dtypes are looked at."""
    got, want = flat(got), flat(want)
    if len(got) != len(want):
        return f"{len(got)} results instead of {len(want)}"
    for one, other in zip(got, want, strict=True):
        if isinstance(other, torch.Tensor) != isinstance(one, cr.Tensor):
            return f"{type(one).__name__} instead of {type(other).__name__}"
        if not isinstance(other, torch.Tensor):
            same = (
                str(one).split(".")[-1] == str(other).split(".")[-1]
                or one == other
                or (one != one and other != other)
            )
            if (
                exact
                and not same
                and not (isinstance(other, (float, complex)) and np.isclose(one, other, rtol=tolerance))
            ):
                return f"{one!r} instead of {other!r}"
            continue
        if tuple(one.shape) != tuple(other.shape):
            return f"shape {tuple(one.shape)} instead of {tuple(other.shape)}"
        if one.dtype.name != str(other.dtype).removeprefix("torch."):
            return f"dtype {one.dtype} instead of {other.dtype}"
        text = unequal(host(one), host(other), tolerance) if exact else None
        if text:
            return text
    return None


def unequal(one, other, tolerance):
    if other.dtype.kind not in "fc":
        return None if np.array_equal(one, other) else f"{_brief(one)} instead of {_brief(other)}"
    if other.dtype in (np.float32, np.complex64):
        tolerance = max(tolerance, 2e-5)
    finite = np.abs(other[np.isfinite(other)])
    scale = max(1.0, finite.max(initial=0.0))
    if np.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
        return None
    return f"{_brief(one)} instead of {_brief(other)}"


def _brief(array):
    return np.array2string(array.ravel()[:6], precision=8)


# -- one call ----------------------------------------------------------------------------------------------------------


class Call:
    """One sample of the database, here and there."""

    def __init__(self, sample, requires_grad):
        self.there = (leaf(sample.input), *map(leaf, sample.args)), leaf(sample.kwargs)
        self.requires_grad = requires_grad
        self.process = sample.output_process_fn_grad
        self.mine = self.fresh()

    def fresh(self):
        args, kwargs = self.there
        kwargs = {k: v for k, v in kwargs.items() if not (k == "layout" and not hasattr(cr, "strided"))}
        return here(list(args)), here(kwargs)

    def leaves(self, side):
        values = flat([*side[0], side[1]])
        return [one for one in values if isinstance(one, (torch.Tensor, cr.Tensor)) and one.requires_grad]


def weighted(outputs, library):
    """One number from all differentiable outputs, by irregular weights, so that nothing cancels."""
    total = None
    for one in flat(outputs):
        if not isinstance(one, (torch.Tensor, cr.Tensor)) or not one.requires_grad:
            continue
        weights = np.cos(1.3 * np.arange(one.numel()) + 0.2).reshape(tuple(one.shape))
        if "complex" in str(one.dtype):
            weights = weights + 1j * np.sin(0.7 * np.arange(one.numel()) + 0.5).reshape(tuple(one.shape))
        weights = library.from_numpy(np.asarray(weights)).to(one.dtype)
        part = (one * weights).sum()
        part = part.real if "complex" in str(one.dtype) else part
        total = part if total is None else total + part
    return total


def derivatives(function, process, side, library, call):
    """(gradients, second derivatives or the error) of the weighted outputs by all leaves; None where nothing depends."""
    leaves = call.leaves(side)
    total = weighted(process(function(*side[0], **side[1])), library)
    if total is None or not leaves:
        return None, None
    first = library.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
    first = [library.zeros_like(x) if g is None else g for g, x in zip(first, leaves, strict=True)]
    return first, lambda: _second(first, leaves, library)


def _second(first, leaves, library):
    total = None
    for g in first:
        if not g.requires_grad:
            continue
        weights = np.sin(0.9 * np.arange(g.numel()) + 0.4).reshape(tuple(g.shape))
        part = (g * library.from_numpy(np.asarray(weights)).to(g.dtype)).sum()
        part = part.real if "complex" in str(g.dtype) else part
        total = part if total is None else total + part
    if total is None:
        return [library.zeros_like(x) for x in leaves]
    found = library.autograd.grad(total, leaves, allow_unused=True)
    return [library.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]


# -- one operator --------------------------------------------------------------------------------------------------------


class Operator:
    """All checks of one entry of the database."""

    def __init__(self, info):
        self.info = info
        self.name = info.name + (f" [{info.variant_test_name}]" if info.variant_test_name else "")
        self.differences = []  # (check, text)
        self.counts = collections.Counter()
        self.random = False

    def note(self, check, text, sample=None):
        about = "" if sample is None else f"  call: {_describe(sample)}"
        self.differences.append((check, f"{text}{about}"))

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
            return self.note("forward", _error(got), sample)
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
            return _error(error)
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

    def attempt(self, function, side):
        try:
            return function(*side[0], **side[1])
        except Exception as error:
            return error

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
                _error(got)
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
            return self.note("gradient", _error(error), sample)
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
            text = _error(error)
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
                self.note("errors", f"unclean {_error(got)}", one.sample_input)
            else:
                self.note("errors", f"accepted; PyTorch: {one.error_regex[:70]}", one.sample_input)
        return total, refused


def _has_floats(value):
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _error(error):
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


# -- all of them -----------------------------------------------------------------------------------------------------------


def check(index):
    """The result for one entry of the database; a hang or a crash of the check itself is a difference too."""

    def stop(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    operator = Operator(op_db[index])
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return operator.run()
    except Exception as error:
        operator.note("forward", f"the check itself failed: {_error(error)}")
        return Result(operator.name, True, dict(operator.counts), operator.differences, 0, 0)
    finally:
        signal.alarm(0)


def meant():
    """{(operator, check)} of the differences that docs/differences.md gives a reason for."""
    found = set()
    for line in (ROOT / "docs/differences.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) >= 3:
            for name in re.findall(r"`([^`]+)`", cells[0]):
                found.update((name, one) for one in re.findall(r"[a-z-]+", cells[1]))
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="operators; a name that ends in a dot stands for all below it"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="each difference in full")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [
        index for index, info in enumerate(op_db)
        if not NOT_OURS.search(info.name)
        and (not options.names or any(info.name == name or (name.endswith(".") and info.name.startswith(name)) for name in options.names))
    ]  # fmt: skip
    if not chosen:
        sys.exit(f"no operator of the database is called {' or '.join(options.names)}")
    context = multiprocessing.get_context("fork")
    if options.jobs > 1:
        with concurrent.futures.ProcessPoolExecutor(options.jobs, context, max_tasks_per_child=None) as pool:
            results = list(pool.map(check, chosen, chunksize=4))
    else:
        results = [check(index) for index in chosen]
    sys.exit(report(results, options.verbose))


def report(results, verbose):
    """Print what differs and the totals; the exit status: 1 if a difference is not meant."""
    expected = meant()
    bad = 0
    totals = collections.Counter()
    for result in results:
        if not result.carried:
            totals["absent"] += 1
            bad += (result.name, "absent") not in expected
            print(f"{result.name}: no such name here")
            continue
        totals["carried"] += 1
        kinds = collections.Counter(kind for kind, _ in result.differences)
        for kind in ("forward", "gradient", "second", "method", "in-place"):
            if result.checks.get(kind) or kinds[kind]:
                totals[f"{kind} checked"] += 1
                totals[f"{kind} agree"] += not kinds[kind]
        totals["errors"] += result.errors
        totals["refused"] += result.refused
        if kinds:
            new = [kind for kind in kinds if (result.name, kind) not in expected]
            bad += any(kind != "errors" for kind in new)
            counts = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
            first = next((text for kind, text in result.differences if kind in (new or kinds)), "")
            print(
                f"{result.name}: {counts}{'' if new else ' (meant)'}"
                + ("" if verbose else f": {first[:200]}")
            )
            if verbose:
                for kind, text in result.differences:
                    print(f"    {kind}: {text}")
    print(f"\n{totals['carried']} of {len(results)} operators carried")
    for kind in ("forward", "gradient", "second", "method", "in-place"):
        print(f"{kind}: {totals[f'{kind} agree']} of {totals[f'{kind} checked']} agree in every call")
    share = 100 * totals["refused"] / totals["errors"] if totals["errors"] else 100.0
    print(f"invalid calls refused cleanly: {totals['refused']} of {totals['errors']} ({share:.1f} %)")
    return 1 if bad or share < 95 else 0


if __name__ == "__main__":
    main()
