"""Whole training steps captured as one graph: the same losses as without, nothing moves, nothing waits, memory stays as it is."""

import contextlib
from types import SimpleNamespace

import numpy as np

import chainrule as cr
from benchmarks.gpu.models import MODELS, loss_of, training

from .items import Wrong
from .libraries import path

LIMIT = 30.0
WARMUP = 3
# model, changes of its small size, what is computed in 16 bits
STEPS = {
    "mlp": ("mlp", {}, None),
    "mlp with dropout": ("mlp", {"dropout": 0.2}, None),
    "cnn": ("cifar", {}, None),
    "cnn in bfloat16": ("cifar", {"dropout": 0.1}, "bfloat16"),
    "lstm": ("lstm", {}, None),
    "gru with dropout": ("gru", {"dropout": 0.2}, None),
    "gpt": ("gpt", {}, None),
    "gpt in bfloat16 with dropout": ("gpt", {"dropout": 0.1}, "bfloat16"),
    "mlp in float16 with a loss scale": ("mlp", {}, "float16"),
    "cnn in float16 with a loss scale, clipped": ("cifar", {}, "float16"),
}


def scaled(network, model, device, clip):
    """A step in float16 with a GradScaler."""
    optimizer = model.optimizer(cr, network.parameters())
    scaler = cr.amp.GradScaler(device, init_scale=2.0**8)

    def step(inputs, targets):
        optimizer.zero_grad(set_to_none=True)
        with cr.autocast(device, dtype=cr.float16, cache_enabled=False):
            loss = loss_of(cr, network(inputs), targets)
        scaler.scale(loss).backward()
        if clip:
            scaler.unscale_(optimizer)
            cr.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    step.optimizer = optimizer
    return step


def made(place, name):
    """(the step, its network, its batches) from the same start each time."""
    kind, changes, amp = STEPS[name]
    model = MODELS[kind]
    size = SimpleNamespace(**{**vars(model.small), **changes})
    cr.manual_seed(3)
    network = model.build(cr, size).to(place.device)
    rng = np.random.default_rng(0)
    batches = [[place.tensor(one) for one in model.batch(size, rng)] for _ in range(4)]
    if amp == "float16":
        step = scaled(network, model, place.device, "clipped" in name)
    else:
        step = training(cr, model, network, place.device, amp=amp is not None)
    cr.manual_seed(4)  # what dropout draws from
    return step, network, batches


def run(step, batches, count):
    """The losses of so many steps."""
    return [float(step(*batches[i % len(batches)]).cpu()) for i in range(count)]


def addresses(network, optimizer):
    """Where parameters and the optimizer's arrays lie."""
    states = [
        one for state in optimizer.state.values() for one in state.values() if isinstance(one, cr.Tensor)
    ]
    return [one.data_ptr() for one in (*network.parameters(), *network.buffers(), *states)]


def speed(place, call):
    """Milliseconds of a call."""
    return place.interleaved({"step": call}, rounds=3, aim=place.size(5.0, 0.1), most=300.0)["step"]["ms"]


def check(place, name):
    """Compare with the step as it is; then replay often, and look at what must not change."""
    cr.backends.cudnn.deterministic = True
    # In a rehearsal kernels are emulated, a thread at a time: images take too long.
    kernels = (
        path(place, "array") if not place.full and STEPS[name][0] == "cifar" else contextlib.nullcontext()
    )
    with kernels:
        return compared(place, name)


def compared(place, name):
    """What `check` says."""
    count, often = place.size((20, 500), (6, 5))
    step, network, batches = made(place, name)
    right = run(step, batches, count)
    eager = speed(place, lambda i: step(*batches[i % 4]))
    step, network, batches = made(place, name)
    graphed = place.captured(step, WARMUP)
    found = run(graphed, batches, count)
    off = max(abs(a - b) / max(abs(b), 1e-6) for a, b in zip(found, right, strict=True))
    values = {"most off": off, "eager ms": eager, "losses": found, "without": right, "bad": []}
    bad = values["bad"]
    if not np.isfinite(found).all():
        bad.append("a loss is not finite")
    if found != right:
        first = next(i for i, (a, b) in enumerate(zip(found, right, strict=True)) if a != b)
        bad.append(
            f"losses differ from step {first} on, by {off:.1e} at most (steps 0 to {WARMUP - 1} run without a graph)"
        )
    before, held = addresses(network, step.optimizer), place.held()
    with cr.cuda.count() as work:
        for i in range(often):
            loss = graphed(*batches[i % 4])
    place.synchronize()
    values |= {
        "host reads": work.host_reads,
        "launches per step": work.launches / often,
        "held": [held, place.held()],
    }
    values["asked"] = work.summary()
    if work.host_reads or work.copies_to_device or work.copies_to_host:
        bad.append(f"the host took part: {work}"[:800])
    if addresses(network, step.optimizer) != before:
        bad.append("a parameter or a state of the optimizer has moved")
    if values["held"][1] > held:
        bad.append(f"memory grew from {held:,} to {values['held'][1]:,} bytes in {often} steps")
    if not np.isfinite(float(loss.cpu())):
        bad.append(f"the loss is {float(loss.cpu())} after {often} more steps")
    values["replay ms"] = speed(place, lambda i: graphed(*batches[i % 4]))
    if bad:
        raise Wrong("; ".join(bad), **values)
    return values


def items(place, context):
    """The plain ones first."""
    place.kernels()
    return {name: lambda n=name: check(place, n) for name in STEPS}
