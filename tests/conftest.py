"""What all tests share: the devices they run on, the seed they start from, PyTorch as an oracle where it is installed."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr

# "fake" is a NumPy-backed device as strict as CUDA. CHAINRULE_TEST_DEVICES=cuda runs the same tests on a GPU.
DEVICES = os.environ.get("CHAINRULE_TEST_DEVICES", "cpu,fake").split(",")
# CHAINRULE_TEST_DEFAULT_DEVICE=fake runs the tests that name no device on that one: what they make lies there.
DEFAULT_DEVICE = os.environ.get("CHAINRULE_TEST_DEFAULT_DEVICE")


# Files that name their devices themselves, or are not about Tensors.
NOT_ON_ANOTHER = tuple(
    f"test_{name}"
    for name in "attention_paths autocast backends bad_input captur cu drawing float32_error gemm gpu graph kept_code no_transfer onnx packaging "
    "printing random_places resume steps_without train_digits".split()
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Tests that use the `torch` fixture are marked: `pytest -m torch` runs them alone. On another default device those that
    name their device themselves, and those about the CPU, are left out."""
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.torch)
    if DEFAULT_DEVICE:
        chosen, left_out = [], []
        for item in items:
            own = "device" in getattr(item, "fixturenames", ()) or item.get_closest_marker("cpu_only")
            (left_out if own or item.path.name.startswith(NOT_ON_ANOTHER) else chosen).append(item)
        items[:] = chosen
        config.hook.pytest_deselected(items=left_out)


if DEFAULT_DEVICE:
    cr.set_default_device(DEFAULT_DEVICE)  # for what test files make when they are imported, too

    def _looked_at(method):
        """A test may look at values by `.numpy()` as if they were on the host; the library may not."""

        def look(tensor, *args, **kwargs):
            caller = sys._getframe(1).f_globals.get("__name__", "chainrule")
            if (
                tensor.device.type != "cpu"
                and not tensor.requires_grad
                and caller.partition(".")[0] != "chainrule"
            ):
                tensor = tensor.cpu()
            return method(tensor, *args, **kwargs)

        return look

    cr.Tensor.numpy, cr.Tensor.__array__ = _looked_at(cr.Tensor.numpy), _looked_at(cr.Tensor.__array__)


@pytest.fixture(params=DEVICES)
def device(request):
    """The name of a device to make tensors on; the test runs once for each."""
    return request.param


@pytest.fixture(autouse=True)
def fresh_state():
    """Every test starts from the same seeds, on the default dtype and device, and leaves no setting behind."""
    cr.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    dtype, place = cr.get_default_dtype(), cr.get_default_device()
    yield
    left_off = not cr.is_grad_enabled()
    cr.set_grad_enabled(True)
    assert not left_off, "the test left recording switched off"
    cr.set_default_dtype(dtype)
    cr.set_default_device(place)


@pytest.fixture
def emulated():
    """The CUDA kernels on the fake device, run by the emulator; the launcher, whose `launched` names what ran."""
    from tests.kernels.recorder import recording

    with recording() as launcher:
        yield launcher


@pytest.fixture
def environment():
    """Environment variables for a subprocess that is to import this chainrule, installed or not."""
    folder = str(Path(cr.__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))}


@pytest.fixture
def torch():
    """PyTorch; a test that asks for it is skipped where it is not installed."""
    return pytest.importorskip("torch")


@pytest.fixture
def as_torch(torch):
    """A function from a Tensor to a PyTorch leaf with the same values, on the CPU, that requires grad if the Tensor does."""

    def convert(tensor):
        return torch.tensor(tensor.detach().cpu().numpy()).requires_grad_(tensor.requires_grad)

    return convert
