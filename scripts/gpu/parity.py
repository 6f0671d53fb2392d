"""The card against the CPU: the losses of whole models over 20 steps, and the tests of operations and layers on the card."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import chainrule as cr
from benchmarks.gpu.models import MODELS, training

from .items import Skipped, Wrong

LIMIT = 110.0
ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 20
# The first group decides most. Each is one pytest run, so that a crash costs one group.
TESTS = {
    "operations": ["tests/test_ops.py"],
    "layers": ["tests/test_layers.py", "tests/test_convolution.py", "tests/test_pooling.py", "tests/test_recurrent.py", "tests/test_functional.py", "tests/test_tensor.py", "tests/test_init.py", "tests/test_nn_utils.py"],
    "training": ["tests/test_optim.py", "tests/test_optim_more.py", "tests/test_optim_variants.py", "tests/test_chain_rule.py", "tests/test_vmap.py"],
}  # fmt: skip
SHARE = {"operations": 0.6, "layers": 0.75, "training": 1.0}  # of the time that is left
_FEW = "softmax or conv2d or unbatched or adamw"  # in a rehearsal
_MOST_FAILURES = 40


def losses(name, device, size, steps=STEPS):
    """The losses of training a model from the same start on the same batch."""
    model = MODELS[name]
    cr.manual_seed(0)
    network = model.build(cr, size).to(device)
    batch = [cr.tensor(one, device=device) for one in model.batch(size, np.random.default_rng(0))]
    step = training(cr, model, network, device, amp=False)
    return [float(step(*batch).cpu()) for _ in range(steps)]


def model(place, name):
    """Training in float32 on both devices; the first losses agree to rounding, the last ones nearly."""
    size = MODELS[name].small
    cr.backends.cudnn.allow_tf32 = cr.backends.cuda.matmul.allow_tf32 = False
    steps = place.size(STEPS, 5)
    ours, right = losses(name, place.device, size, steps), losses(name, "cpu", size, steps)
    off = [abs(a - b) / max(abs(b), 1e-3) for a, b in zip(ours, right, strict=True)]
    values = {"losses": ours, "cpu": right, "first off": off[0], "most off": max(off)}
    # Rounding errors grow from step to step, most where batch norm divides by small deviations.
    if not (off[0] < 1e-5 and max(off) < 2e-2):
        raise Wrong(f"losses are off by {off[0]:.1e} at first and {max(off):.1e} at most", **values)
    return values


def tests(place, context, group):
    """Run the tests of a group on the device; what failed so far where the time runs out."""
    if not importlib.util.find_spec("pytest"):
        raise Skipped("pytest is not installed for this interpreter")
    files = [name for name in TESTS[group] if (ROOT / name).exists()]
    outcomes = context.folder / f"outcomes-{group}"
    # A pytest that this is run by has told its processes which of them they are.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**inherited, "CHAINRULE_TEST_DEVICES": place.device, "CHAINRULE_OUTCOMES": str(outcomes)}
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:benchmark",
    ]
    # Warnings of packages that the developers do not have must not fail a test here.
    command += ["-p", "scripts.gpu.outcomes", "-W", "default", f"--maxfail={10 * _MOST_FAILURES}"]
    workers = place.size(max(1, min(12, (os.cpu_count() or 1) - 2)), 1)
    if importlib.util.find_spec("xdist") and workers > 1:
        command += ["-n", str(workers)]
    if importlib.util.find_spec("pytest_timeout"):
        command += ["--timeout=60"]
    if not place.full:
        command += ["-p", "tests.kernels.on_fake", "-k", _FEW]
    left = (context.deadline - time.monotonic()) * SHARE[group]
    stopped = False
    try:
        done = subprocess.run([*command, *files], cwd=ROOT, env=environment, timeout=max(left, 1), capture_output=True, text=True)  # fmt: skip
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        stopped, output = True, (late.stdout or b"").decode(errors="replace")
    found = summarized(outcomes)
    found |= {"workers": workers, "files": files}
    if stopped:
        found["stopped"] = f"after {left:.0f} s"
    if found["failed"] or not found["counts"]:
        raise Wrong(f"{found['counts'].get('failed', 0)} tests failed", output=output[-2500:], **found)
    if not stopped and done.returncode:
        raise Wrong(f"pytest ended with exit code {done.returncode}", output=output[-2500:], **found)
    return found


def summarized(path):
    """{"counts": by outcome, "failed": [{test, when, text}]} from what the plugin wrote."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    counts = next((line["counts"] for line in reversed(lines) if "counts" in line), {})
    failed = [line for line in lines if "failed" in line]
    return {"counts": counts, "failed": failed[:_MOST_FAILURES]}


def items(place, context):
    """The models are quick, and tell much."""
    found = {f"losses of {name}": lambda n=name: model(place, n) for name in MODELS}
    return found | {f"tests of {name}": lambda g=name: tests(place, context, g) for name in TESTS}
