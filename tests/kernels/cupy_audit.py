"""Every operation, layer, optimizer and distribution through the real CuPy, without a card.

`python -m tests.kernels.cupy_audit [WORDS]` runs the tables of the tests on device "fake" and on device "cuda" over
`cupy_without_card.py`, where all of CuPy is real but the numbers, and prints what differs: an error that CuPy raises and the fake device
does not (a function or keyword it lacks, a dtype it has no code for, host arrays it refuses), another shape or dtype of
a result or gradient, and a wait for the card where the fake device knows of none. WORDS choose programs by parts of their names.

Numbers do not come out right, so what depends on them is listed in `BY_VALUE`. Exit status 1 if anything else differs.
"""

import os
import sys
import traceback
import warnings
from pathlib import Path

from tests.kernels import cupy_without_card

cuda = cupy_without_card.connect()

import numpy as np  # noqa: E402 - CuPy is to be found as it is made above
from cupy._util import PerformanceWarning  # noqa: E402

import chainrule as cr  # noqa: E402
import chainrule.distributions as D  # noqa: E402
from chainrule.backends.fakememory import counters  # noqa: E402
from tests import test_layers, test_ops, test_optim  # noqa: E402
from tests.distribution_table import CASES  # noqa: E402
from tests.layer_table import LAYERS  # noqa: E402
from tests.recurrent_layers import KINDS  # noqa: E402

# With arrays on the second card while the first is current, CuPy warns wherever it would compute on the wrong one.
DEVICE = os.environ.get("CHAINRULE_AUDIT_DEVICE", "cuda")
ROOT = str(Path(__file__).parents[2])
FLOATS = ("float64", "float32", "float16", "bfloat16")

# Where zeros in the place of numbers change more than numbers: lengths that are counted on the card, errors for what zeros are
# not, and libraries whose answers are looked at.
BY_VALUE = (
    "getitem-mask", "getitem-columns", "masked_select", "nonzero", "argwhere", "linalg.lstsq-residuals", "bincount", "unique",
    "scatter_reduce-", "segment_reduce", "index_reduce", "repeat_interleave-counts", "linalg.eig/", "linalg.eigvals/",
    "nn.AdaptiveLogSoftmaxWithLoss", "distributions.Binomial", "distributions.NegativeBinomial", "distributions.Poisson",
    "distributions.Categorical", "distributions.OneHotCategorical", "distributions.Multinomial", "distributions.Mixture", "distributions.Wishart",
)  # fmt: skip
# Goes to the CPU and back, which is to wait.
WAITS = ("move",)
# A view by strides of a CuPy array is a copy: a write to it is refused, as the message says.
STRIDED = ("setitem-strided", "setitem-windows")
# Takes a module on the first card.
FIRST = () if DEVICE == "cuda" else ("nn.DataParallel",)


def facts(tensors):
    return [(tuple(one.shape), one.dtype.name) for one in tensors if isinstance(one, cr.Tensor)]


def of_operation(row, dtype):
    def program(device):
        inputs = test_ops.tensors(
            row, dtype if dtype == "float64" else "float32", requires_grad=True, device=device
        )
        if dtype.endswith("16"):
            leaves = test_ops.leaves(inputs)
            inputs = test_ops.replaced(
                inputs, [x.detach().to(getattr(cr, dtype)).requires_grad_() for x in leaves]
            )
        keywords = {k: v.to(device) if isinstance(v, cr.Tensor) else v for k, v in row.kwargs.items()}
        yield
        out = row.function(*inputs, **keywords)
        found = facts(test_ops.outputs(out))
        floats, leaves = test_ops.floats(out), test_ops.leaves(inputs)
        loss = sum((one * one).sum() for one in floats)
        if row.grad and floats and loss.requires_grad:
            gradients = cr.autograd.grad(loss, leaves, create_graph=row.second, materialize_grads=True)
            found += facts(gradients)
            loss = sum((one * one).sum() for one in gradients)
            if row.second and loss.requires_grad:
                found += facts(cr.autograd.grad(loss, leaves, materialize_grads=True))
        yield found

    return program


def of_layer(row, dtype):
    def program(device):
        layer = test_layers.made(row, getattr(cr, dtype), device)
        inputs = test_layers.given(row, getattr(cr, dtype), device, requires_grad=True)
        yield
        outputs = test_layers.results(layer, row, inputs)
        loss = sum(one.sum() for one in outputs)
        if loss.requires_grad:
            loss.backward()
        layer.eval()
        with cr.no_grad():
            outputs += test_layers.results(layer, row, inputs)
        yield facts(outputs) + facts(
            [one.grad for one in (*layer.parameters(), *inputs) if one.grad is not None]
        )

    return program


def of_recurrent(kind, dtype):
    def program(device):
        cls, options = KINDS[kind]
        layer = cls(4, 5, num_layers=2, bidirectional=True, **options).to(getattr(cr, dtype)).to(device)
        x = cr.randn(6, 2, 4, dtype=getattr(cr, dtype), device=device, requires_grad=True)
        yield
        out, _ = layer(x)
        out.sum().backward()
        yield facts([out, x.grad, *(one.grad for one in layer.parameters())])

    return program


def of_optimizer(name, options, dtype):
    def program(device):
        params, _ = test_optim.start([(3, 2), (4,)], "float32", device)
        params = [one.detach().to(getattr(cr, dtype)).requires_grad_() for one in params]
        optimizer = test_optim.made(name, params, options)
        yield
        for _ in range(2):
            optimizer.zero_grad()

            def closure():
                loss = sum((one * one).sum() for one in params)
                loss.backward()
                return loss

            closure()
            optimizer.step(closure) if name == "LBFGS" else optimizer.step()
        yield facts(params)

    return program


def of_distribution(name, parameters, value, dtype):
    def program(device):
        tensors = {
            k: cr.tensor(v, dtype=getattr(cr, dtype), device=device, requires_grad=True)
            for k, v in parameters.items()
        }
        made = getattr(D, name)(**tensors, validate_args=False)
        at = cr.tensor(value, dtype=getattr(cr, dtype), device=device)
        yield
        found = [made.log_prob(at), made.sample((2,))]
        for what in ("mean", "variance", "mode"):
            try:
                found.append(getattr(made, what))
            except NotImplementedError:
                continue
        for what, args in (("entropy", ()), ("cdf", (at,)), ("icdf", (at * 0 + 0.3,)), ("rsample", ())):
            try:
                found.append(getattr(made, what)(*args))
            except NotImplementedError:
                continue
        yield facts(found)

    return program


def of_random(name, args, keywords):
    def program(device):
        yield
        yield facts([getattr(cr, name)(*args, **keywords, device=device)])

    return program


RANDOM = [
    *[(name, (5, 3), {"dtype": getattr(cr, dtype)}) for name in ("rand", "randn") for dtype in (*FLOATS, "complex64")],
    *[("randint", (0, 9, (5,)), {"dtype": getattr(cr, dtype)}) for dtype in ("int64", "int32", "uint8", "float32")],
    ("randperm", (7,), {}),
]  # fmt: skip


OPTIMIZERS = [
    *test_optim.TABLE, *[(name, {}) for name in ("LBFGS", "Adafactor", "Lion", "LAMB", "LARS", "Muon") if hasattr(cr.optim, name)]
]  # fmt: skip


def programs():
    """(name, function of a device that yields once what it needs is there, and then the facts)."""
    for row in test_ops.ROWS:
        for dtype in FLOATS if row.grad else ("float32",):
            yield f"{row.id}/{dtype}", of_operation(row, dtype)
    for row in LAYERS:
        for dtype in FLOATS[1:]:
            yield f"{row.make}/{dtype}", of_layer(row, dtype)
    for kind in KINDS:
        for dtype in FLOATS[1:]:
            yield f"recurrent {kind}/{dtype}", of_recurrent(kind, dtype)
    for name, options in OPTIMIZERS:
        for dtype in ("float32", "bfloat16"):
            yield f"optim.{name} {options}/{dtype}", of_optimizer(name, options, dtype)
    for name, parameters, value, _ in CASES:
        yield f"distributions.{name}/float32", of_distribution(name, parameters, value, "float32")
    for name, args, keywords in RANDOM:
        yield f"random {name} {keywords}", of_random(name, args, keywords)


def run(program, device):
    """(facts, how often the host waited); or the error in the place of the facts."""
    cr.manual_seed(7)

    def waits():
        if device != "fake":
            return cupy_without_card.asked["wait"]
        return counters.host_reads + counters.copies_to_host

    try:
        steps = program(device)
        next(steps)
        before = waits()
        return next(steps), waits() - before
    except Exception as error:
        return error, 0


def compared(name, program):
    """What is wrong with a program on CuPy, in a line; None if nothing is."""
    want, known = run(program, "fake")
    got, waits = run(program, DEVICE)
    if isinstance(got, Exception):
        if type(got) is type(want) and str(got)[:30] == str(want)[:30]:
            return None
        return _described(got)
    if isinstance(want, Exception):
        return f"the fake device refuses what CuPy takes: {want}"
    if got != want:
        return f"{next((a, b) for a, b in zip(got, want, strict=False) if a != b)} instead of the second"
    if waits and not known:
        return f"waits {waits} times for the card, the fake device never"
    return None


def _described(error):
    cause, seen = error, set()
    while cause.__cause__ is not None and id(cause) not in seen:
        seen.add(id(cause))
        cause = cause.__cause__
    frames = traceback.extract_tb(cause.__traceback__)
    ours = [one for one in frames if one.filename.startswith(ROOT) and "site-packages" not in one.filename]
    place = f"{os.path.basename(ours[-1].filename)}:{ours[-1].lineno} {ours[-1].line}" if ours else ""
    return f"{type(cause).__name__}: {str(cause)[:160]} ({place})"


def main(words):
    """Print what differs; returns how much did."""
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", PerformanceWarning)
    found, count = {}, 0
    with np.errstate(all="ignore"):
        for name, program in programs():
            if words and not any(word in name for word in words):
                continue
            count += 1
            wrong = compared(name, program)
            if wrong is not None and not name.startswith((*BY_VALUE, *STRIDED, *WAITS, *FIRST)):
                found.setdefault(wrong, []).append(name)
    for wrong, names in found.items():
        print(f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {wrong}")
    print(f"{count} programs, {len(found)} differences, {sum(map(len, found.values()))} programs concerned")
    return len(found)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Without the end of the interpreter, in which CuPy gives back to the card what never was on one.
    os._exit(bool(status))
