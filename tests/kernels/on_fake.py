"""A pytest plugin, `-p tests.kernels.on_fake`: the stand-in for a GPU with the CUDA kernels, run by the emulator,
and its matrix products through the binding of cuBLASLt to a library that computes on the host.

With CHAINRULE_TEST_DEVICES=fake any test then goes through the kernels, the code that launches them and their guards; with
CHAINRULE_SANITIZE=1 too, `sanitizer.py` watches what the kernels do to memory.
"""

import os

from chainrule.backends import cuda_kernels, get
from tests.kernels import fake_cublaslt
from tests.kernels.emulator import Emulator
from tests.kernels.sanitizer import Sanitizer

LAUNCHER = Sanitizer if os.environ.get("CHAINRULE_SANITIZE") else Emulator


def installed():
    """Register all kernels with the fake device; returns the launcher."""
    fake = get("fake")
    launch = LAUNCHER(fake.xp, lambda array: array._host)
    cuda_kernels.install(fake, launch)
    return launch


def pytest_configure(config):
    config.launch = installed()
    config.gemm = fake_cublaslt.products_on_fake(get("fake"), config.launch)


def pytest_terminal_summary(terminalreporter, config):
    products = config.gemm.library.entries.calls
    names = sorted({one.epilogue.name for one in products})
    terminalreporter.write_line(f"matrix products: {len(products)}, with epilogues {' '.join(names)}")
    terminalreporter.write_line(f"kernels launched: {' '.join(sorted(set(config.launch.launched)))}")
