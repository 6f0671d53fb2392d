"""What the host does for one training step on a card: microseconds of Python for each launch.

    python benchmarks/cuda_host.py [--steps N] [--profile MODEL]

On a card the time to ask for a step is measured, without waiting for it. Without one, but with CuPy, the C functions below CuPy are
replaced by some that do nothing: the time is that of Python and of CuPy's own code. Without CuPy there is nothing to measure, and it
says so. --profile prints where the time goes.
"""

import argparse
import cProfile
import ctypes
import importlib.util
import os
import pstats
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import chainrule as cr
from benchmarks.gpu.models import MODELS, training

# (name, model, size, in mixed precision)
CASES = [
    ("mlp", "mlp", SimpleNamespace(pixels=784, width=512, batch=128, dropout=0.0), False),
    ("mlp-dropout", "mlp", SimpleNamespace(pixels=784, width=512, batch=128, dropout=0.1), False),
    ("transformer", "gpt", SimpleNamespace(vocabulary=512, width=128, heads=2, layers=2, length=64, batch=4, dropout=0.0), False),
    ("transformer-bf16", "gpt", SimpleNamespace(vocabulary=512, width=128, heads=2, layers=2, length=64, batch=4, dropout=0.0), True),
    ("lstm", "lstm", SimpleNamespace(kind="LSTM", width=64, batch=16, steps=20, dropout=0.0), False),
    ("convolution", "cifar", SimpleNamespace(width=16, pixels=16, batch=8, dropout=0.0), False),
]  # fmt: skip


class _Products:
    """cuBLASLt's entry points with nothing behind `cublasLtMatmul`, called by ctypes as the real ones are."""

    def __init__(self, entries, signatures):
        self._entries = entries
        for name in ("cublasLtMatmul", "cublasLtMatmulDescSetAttribute"):
            nothing = ctypes.PYFUNCTYPE(ctypes.c_int, *signatures[name])
            setattr(self, name, nothing(ctypes.cast(ctypes.pythonapi.PyErr_Occurred, ctypes.c_void_p).value))

    def __getattr__(self, name):
        return getattr(self._entries, name)


def connected():
    """The backend of a card, or of none; None where there is nothing to measure."""
    try:
        ctypes.CDLL(
            "libcuda.so.1"
        )  # the driver: CuPy must not be imported before its C functions are replaced
    except OSError:
        pass
    else:
        return cr.backends.get("cuda") if cr.cuda.is_available() else None
    if importlib.util.find_spec("cupy") is None:
        return None
    from chainrule.backends import cublaslt, gemm_place
    from chainrule.backends.gemm import Gemm
    from tests.kernels import cupy_without_card, fake_cublaslt

    def on_cupy(cupy, settings):
        entries = fake_cublaslt.FakeCublasLt()
        entries._wrong = lambda *_: False  # it is not told the attributes
        products = Gemm(cublaslt.Library(entries), gemm_place.CupyPlace(cupy), settings)
        products.library.entries = _Products(entries, cublaslt.SIGNATURES)
        return products, None

    gemm_place.on_cupy = on_cupy
    return cupy_without_card.connect(count=1, quick=True)


def prepared(model, size, amp):
    """The step of a model and its batch on the card."""
    model = MODELS[model]
    network = model.build(cr, size).to("cuda")
    batch = [cr.tensor(one, device="cuda") for one in model.batch(size, np.random.default_rng(0))]
    step = training(cr, model, network, "cuda", amp)
    for _ in range(5):
        step(*batch)
    return lambda: step(*batch)


def measured(step, steps):
    """(launches of a step, microseconds that the host takes for it: the fastest tenth, as other programs disturb)."""
    with cr.cuda.count() as work:
        step()
    times = []
    for k in range(steps):
        if k % 20 == 0:
            cr.cuda.synchronize()
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return work.launches, sorted(times)[len(times) // 10] * 1e6


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--profile", metavar="MODEL", help="one of " + ", ".join(one[0] for one in CASES))
    parser.add_argument("--sort", default="tottime", help="by what --profile sorts: tottime, cumtime")
    options = parser.parse_args()
    backend = connected()
    if backend is None:
        print(
            "cuda_host: there is no card and no CuPy, so there is no CUDA code whose host side could be measured"
        )
        return
    print(f"{'':18}{'launches':>9}{'us a step':>11}{'us a launch':>13}")
    for name, model, size, amp in CASES:
        if options.profile not in (None, name):
            continue
        step = prepared(model, size, amp)
        launches, micros = measured(step, options.steps)
        print(f"{name:18}{launches:9}{micros:11.0f}{micros / launches:13.2f}", flush=True)
        if options.profile:
            profile = cProfile.Profile()
            profile.enable()
            for _ in range(options.steps):
                step()
            profile.disable()
            pstats.Stats(profile).sort_stats(options.sort).print_stats(45)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # Without the end of the interpreter, in which CuPy would give back to a card what never was on one.
    os._exit(0)
