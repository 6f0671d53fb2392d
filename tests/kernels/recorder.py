"""The kernels on the stand-in for a GPU, for the tests of what they are hooked to."""

import contextlib

import pytest

from chainrule import backends
from chainrule.backends import get
from chainrule.backends.fakegraph import FakeCapture
from tests.kernels import emulator, on_fake


def capture(generator, step):
    """What `step` returns, and the function that replays it as a captured graph that draws from the generator."""
    with FakeCapture(get("fake"), generators=(generator,)) as graph:
        result = step()
    return result, graph.replay


@contextlib.contextmanager
def recording():
    """The kernels are installed inside; gives the launcher, whose `launched` names what ran."""
    if emulator.COMPILER is None:
        pytest.skip("g++ is not installed (CXX names another compiler)")
    fake, before, names = get("fake"), get("fake").kernels, set(backends.kernels)
    fake.kernels = {}
    try:
        yield on_fake.installed()
    finally:
        fake.kernels = before
        backends.kernels.intersection_update(names)
