"""Every CUDA kernel on a card: against its NumPy reference, and timed beside composed CuPy operations and PyTorch.

    python scripts/gpu_kernels.py [--out FILE.md] [--seconds N]

A part of `make gpu-check`. Writes a page and, beside it, the same as JSON, anew after every kernel: what was measured stays if
the time runs out. Exits with 1 if a kernel was wrong or failed, with 0 and a line where there is no card.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["CHAINRULE_KERNELS"] = "0"  # the composed operations are to be what they were without

import numpy as np  # noqa: E402

import chainrule as cr  # noqa: E402 - found in the checkout, installed or not
from chainrule.autograd.op import registry as operations  # noqa: E402
from chainrule.autograd.ops import (  # noqa: E402, F401 - so that they are in the registry
    activation,
    convolution,
    embedding,
    normalization,
    pooling,
    recurrent,
    softmax,
)
from chainrule.backends.cuda_kernels import KERNELS, registry  # noqa: E402
from tests.kernels import cases  # noqa: E402

SQUARE = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)}
FLAT = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}


def _sizes(rng, size):
    """What is timed: {kernel: (arguments, keywords)}. `size` scales the arrays: 1 on a card, less to try this script."""

    def array(*shape):
        return rng.standard_normal((max(1, int(shape[0] * size)), *shape[1:]), dtype="float32")

    rows, pixels = array(16384, 4096), array(256, 64, 56, 56)
    n, images = rows.shape[0], pixels.shape[0]
    pooled = rng.standard_normal((images, 64, 28, 28), dtype="float32")
    logits = array(4096, 32000)
    q = cases.Targets((np.arange(len(logits)), rng.integers(0, 32000, len(logits))))
    p, each = np.full(logits.shape, 1 / 32000, "float32"), np.full(len(logits), 1 / len(logits), "float32")
    w = rng.standard_normal(4096, dtype="float32")
    moments = np.zeros((n, 1), "float32"), np.ones((n, 1), "float32")
    channel = rng.standard_normal((64, 1, 1), dtype="float32")
    spread = np.zeros((1, 64, 1, 1), "float32"), np.ones((1, 64, 1, 1), "float32")
    needs, last = (True, True, True), {"axes": (1,), "eps": 1e-5}
    over = {"axes": (0, 2, 3), "eps": 1e-5}
    tokens = rng.integers(0, 50304, max(1, int(32768 * size)))
    layer = [array(1 << 20) for _ in range(64)]
    numbers = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
    hidden, steps = 512, (64,) * 20
    gx, state = array(1280, 4 * hidden)[:1280], rng.standard_normal((64, hidden), dtype="float32")
    gx = np.resize(gx, (1280, 4 * hidden))
    return {
        "softmax": ((rows,), {"axis": 1}),
        "softmax_gradient": ((rows, (True,), rows), {"axis": 1}),
        "log_softmax": ((rows,), {"axis": 1}),
        "cross_entropy": ((logits,), {"q": q}),
        "cross_entropy_input": ((p, each), {"q": q}),
        "cross_entropy_both": ((logits, q.index[1], each), {}),
        "standardize": ((rows, w, w), last),
        "standardize_gradient": (([rows, None, None], needs, rows, w, *moments, w.shape, w.shape), last),
        "rms_standardize": ((rows, w), last),
        "batch_norm": ((pixels, channel, channel), over),
        "batch_norm_gradient": (([pixels, None, None], needs, pixels, channel, *spread, channel.shape, channel.shape), over),
        "column_sums": ((rows,), {}),
        "gelu": ((rows,), {}),
        "gelu_gradient": ((rows, (True,), rows), {}),
        "silu": ((rows,), {}),
        "dropout": ((rows, 1, 0, 0.1), {}),
        "philox_words": ((1, 0, max(1, int((1 << 22) * size))), {}),
        "embedding_sorted": ((array(len(tokens) / size, 1024),), {"index": tokens, "rows": 50304}),
        "embedding_atomic": ((array(len(tokens) / size, 1024),), {"index": tokens, "rows": 50304}),
        "max_pool": ((pixels,), SQUARE | {"size": (28, 28)}),
        "max_pool_gradient": ((pooled, (True,), pixels), SQUARE | {"size": (28, 28)}),
        "avg_pool": ((pixels,), FLAT | {"size": (28, 28)}),
        "im2col": ((pixels[: max(1, images // 8)],), SQUARE | {"size": (28, 28)}),
        "adam": ((layer, layer, layer, [abs(one) for one in layer], [1] * 64), numbers),
        "sgd": ((layer, layer, layer, [2] * 64), {"lr": 1e-3, "momentum": 0.9}),
        "clip_norm": ((layer, 1.0), {}),
        "lstm": ((gx, np.zeros((4 * hidden, hidden), "float32"), state, state), {"sizes": steps}),
    }  # fmt: skip


def _composed(kernel):
    """The operation without the kernel, called like the kernel's function; None where there is no such thing."""
    name, _, gradient = (kernel.replaces or "").partition(".")
    if name not in operations:
        op = operations["embedding_weight"]
        plain = {
            "column_sums": lambda xp, x: x.sum(axis=0),
            "embedding_sorted": op.forward,
            "embedding_atomic": op.forward,
        }
        return plain.get(kernel.name)
    op = operations[name]
    if gradient:
        return lambda xp, g, needs, *saved, **static: op.vjp(
            xp, g, saved, [one or None for one in needs], static
        )
    return op.forward


def _torch(torch):
    """PyTorch's functions for the same arguments, as far as it has one."""
    f = torch.nn.functional
    return {
        "softmax": lambda x, axis: torch.softmax(x, axis),
        "softmax_gradient": lambda g, needs, y, axis: torch._softmax_backward_data(g, y, axis, y.dtype),
        "log_softmax": lambda x, axis: torch.log_softmax(x, axis),
        "cross_entropy": lambda x, q: f.cross_entropy(x, q.index[1], reduction="none"),
        "standardize": lambda x, w, b, axes, eps: f.layer_norm(x, w.shape, w, b, eps),
        "rms_standardize": lambda x, w, axes, eps: f.rms_norm(x, w.shape, w, eps),
        "batch_norm": lambda x, w, b, axes, eps: f.batch_norm(x, None, None, w.flatten(), b.flatten(), True, 0.1, eps),
        "column_sums": lambda x: x.sum(0),
        "gelu": lambda x: f.gelu(x),
        "silu": lambda x: f.silu(x),
        "dropout": lambda x, seed, first, p: f.dropout(x, p),
        "max_pool": lambda x, kernel, stride, padding, dilation, size: f.max_pool2d(x, kernel, stride, padding),
        "avg_pool": lambda x, kernel, stride, padding, size: f.avg_pool2d(x, kernel, stride, padding),
        "im2col": lambda x, kernel, stride, padding, dilation, size: f.unfold(x, kernel, dilation, padding, stride),
        "clip_norm": lambda arrays, limit: torch._foreach_mul_(arrays, 1 / torch.stack(torch._foreach_norm(arrays)).norm()),
        "adam": lambda x, g, m, v, steps, lr, betas, eps: torch._fused_adamw_(
            x, g, m, v, [], [torch.ones((), device=x[0].device)] * len(x), lr=lr, beta1=betas[0], beta2=betas[1],
            weight_decay=0.0, eps=eps, amsgrad=False, maximize=False),
    }  # fmt: skip


def check(kernel, dtype, launch, xp, to, back):
    """None if every case of a kernel comes out right, else what was wrong."""
    wide = registry.wide_of(np.dtype(dtype))
    try:
        for args, kwargs in cases.cases(kernel.name):
            given = cases.arguments(kernel.name, args, kwargs, np.dtype(dtype), wide)
            right = cases.reference(kernel, *given)
            args, kwargs = cases.arguments(kernel.name, args, kwargs, np.dtype(dtype), wide, to)
            got = [back(one) for one in cases.flat(kernel.function(launch, xp, *args, **kwargs))]
            cases.check(kernel.name, dtype, got, right)
    except Exception as error:  # of any kind: the others are still to be tried
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def moved(value, to):
    """Arguments with every array passed through `to`."""
    if isinstance(value, cases.Targets):
        return cases.Targets(*(moved(one, to) for one in value))
    if isinstance(value, (list, tuple)):
        return type(value)(moved(one, to) for one in value)
    return to(value) if isinstance(value, np.ndarray) or hasattr(value, "__dlpack__") else value


def measure(run, clock, repeat=10):
    """The median time of a call in milliseconds, after two that do not count."""
    run(), run()
    return statistics.median(clock(run) for _ in range(repeat))


def compare(name, timed, launch, xp, to, clock, torch=None):
    """{"kernel": ms, "composed": ms, "torch": ms, "GB/s": of the kernel, by the arrays given and returned}."""
    kernel = KERNELS[
        {"batch_norm": "standardize", "batch_norm_gradient": "standardize_gradient"}.get(name, name)
    ]
    args, kwargs = (moved(one, to) for one in (timed[0], tuple(timed[1].values())))
    kwargs = dict(zip(timed[1], kwargs, strict=True))
    result = kernel.function(launch, xp, *args, **kwargs)
    size = sum(one.nbytes for one in cases.flat([*args, *kwargs.values(), result]) if hasattr(one, "nbytes"))
    row = {"kernel": measure(lambda: kernel.function(launch, xp, *args, **kwargs), clock)}
    row["GB/s"] = size / row["kernel"] / 1e6
    composed = _composed(kernel)
    if composed:
        row["composed"] = measure(lambda: composed(xp, *args, **kwargs), clock)
    if torch is not None and name in _torch(torch):
        theirs = moved((args, tuple(kwargs.values())), torch.from_dlpack)
        named = dict(zip(kwargs, theirs[1], strict=True))
        row["torch"] = measure(lambda: _torch(torch)[name](*theirs[0], **named), clock)
    return row


def write(path, gpu, checks, times):
    """The page, and the JSON beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"gpu": gpu, "checks": checks, "times": times}
    path.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
    lines = [f"# Kernels on {gpu}", "", "| kernel | right for | wrong |", "| --- | --- | --- |"]
    for name, found in checks.items():
        right = ", ".join(dtype for dtype, wrong in found.items() if not wrong)
        wrong = "; ".join(f"{dtype}: {text}" for dtype, text in found.items() if text)
        lines.append(f"| {name} | {right} | {wrong.replace('|', '/')} |")
    lines += [
        "",
        "float32, milliseconds (median of 10).",
        "",
        "| kernel | ours | GB/s | composed | PyTorch |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in times.items():
        cells = [
            f"{row[key]:.3g}" if isinstance(row.get(key), float) else row.get(key, "")
            for key in ("kernel", "GB/s", "composed", "torch")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    path.write_text("\n".join(lines) + "\n")


def run(path, gpu, deadline, launch, xp, to, back, clock, torch=None, size=1.0):
    """Check and time everything before the deadline; the exit code."""
    checks, times = {}, {}
    for kernel in KERNELS.values():
        checks[kernel.name] = {}
        for dtype in kernel.dtypes:
            if time.monotonic() < deadline:
                try:
                    np.dtype(dtype)
                except TypeError:  # bfloat16 without ml_dtypes
                    continue
                checks[kernel.name][dtype] = check(kernel, dtype, launch, xp, to, back)
        write(path, gpu, checks, times)
    for name, timed in _sizes(np.random.default_rng(0), size).items():
        if time.monotonic() < deadline:
            try:
                times[name] = compare(name, timed, launch, xp, to, clock, torch)
            except Exception as error:
                times[name] = {"kernel": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
            write(path, gpu, checks, times)
    wrong = [
        f"{name} {dtype}: {text}" for name, found in checks.items() for dtype, text in found.items() if text
    ]
    wrong += [f"{name}: {row['kernel']}" for name, row in times.items() if isinstance(row["kernel"], str)]
    print("\n".join(wrong) or f"kernels: {sum(map(len, checks.values()))} right, {len(times)} timed")
    if time.monotonic() >= deadline:
        print("kernels: the time ran out")
    return int(bool(wrong))


def main():
    """On CuPy's current device; returns the exit code."""
    parser = argparse.ArgumentParser(description="Check and time the CUDA kernels.")
    parser.add_argument("--out", type=Path, help="where to write the page")
    parser.add_argument("--seconds", type=float, default=200, help="how long it may take")
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    backend = cr.backends.get("cuda")
    if not backend.available():
        print(f"gpu-kernels: skipped: {backend.why_not()}")
        return 0
    try:
        import ml_dtypes  # noqa: F401 - makes bfloat16 known to NumPy
    except ImportError:
        print("kernels: without ml_dtypes bfloat16 is left out")
    try:
        import torch

        torch = torch if torch.cuda.is_available() else None
    except ImportError:
        torch = None
    cupy = backend.xp
    gpu = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    out = (
        options.out
        or ROOT
        / "docs"
        / "gpu_results"
        / f"{''.join(c if c.isalnum() else '_' for c in gpu).lower()}_kernels.md"
    )

    def clock(call):
        # Both libraries may have queues of their own: all is done before the clock starts and before it stops.
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        call()
        cupy.cuda.Device().synchronize()
        return (time.perf_counter() - start) * 1e3

    return run(
        out, gpu, deadline, registry.CupyLauncher(cupy), cupy, cupy.asarray, cupy.asnumpy, clock, torch
    )


if __name__ == "__main__":
    sys.exit(main())
