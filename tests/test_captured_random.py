"""Random numbers in captured graphs: a replay draws what the same step would have drawn, and the host keeps count.

A captured graph is that of the stand-in for a GPU, with kernels and without.
"""

import copy
import threading

import numpy as np
import pytest

from chainrule.backends import Generator, get, random, random_places
from tests.kernels.recorder import capture


@pytest.fixture
def xp():
    return get("fake").xp


def step(generator, xp):
    """Draws of several kinds and sizes, none a multiple of a block."""
    return [
        generator.uniform((7,), "float32", xp),
        generator.normal((1025,), "float32", xp),
        generator.uniform((3, 5), "float64", xp),
        generator.normal((2,), "float16", xp),
    ]


def host(array):
    return array.get() if hasattr(array, "get") else array


def test_replays_draw_what_eager_steps_draw(emulated, xp):
    here, there = Generator().manual_seed(2**64 - 5), Generator().manual_seed(2**64 - 5)
    drawn, replay = capture(there, lambda: step(there, xp))
    assert emulated.launched[-1] == "move_place" and "set_place" not in emulated.launched
    assert there.position() == here.position()  # a capture draws nothing
    for between in ("begin", None, "seed", None, "draw", None):
        if between == "seed":
            here.manual_seed(9), there.manual_seed(9)
        if between == "draw":
            assert np.array_equal(here.uniform((3,), "float32", np), there.uniform((3,), "float32", np))
        sent = emulated.launched.count("set_place")
        replay()
        # The two numbers go to the device at first, and where something else moved the host's place.
        assert emulated.launched.count("set_place") - sent == (between is not None)
        for ours, right in zip(drawn, step(here, np), strict=True):
            rtol = 0 if ours is drawn[0] or ours is drawn[2] else 1e-3 if ours.itemsize == 2 else 1e-6
            np.testing.assert_allclose(host(ours), right, rtol=rtol)
        assert here.position() == there.position()


def test_two_graphs_of_one_generator_take_turns(emulated, xp):
    here, there = Generator().manual_seed(3), Generator().manual_seed(3)
    graphs = []
    for size in (5, 11):
        graphs.append(capture(there, lambda size=size: there.uniform((size,), "float32", xp)))
    for drawn, replay in (graphs[0], graphs[1], graphs[1], graphs[0]):
        replay()
        assert np.array_equal(host(drawn), here.uniform(drawn.shape, "float32", np))


def test_a_place_of_a_capture_is_found_again_after_it(emulated, xp):
    """A gradient may be computed by another graph or none, when the graph's own place has moved on."""
    generator = Generator().manual_seed(3)
    (_, place), replay = capture(generator, lambda: (generator.take(2, xp), generator.take(5, xp)))
    for _ in range(2):
        right = random_places.Place(3, generator.position()[1] + 2)
        replay()
        assert np.array_equal(host(random.kept(place, (20,), 0.4, xp)), random.kept(right, (20,), 0.4, np))


def test_without_kernels_array_code_counts_from_the_device(xp):
    generator = Generator().manual_seed(2**64 - 5).set_state(_state(2**64 - 5, 2**64 - 3))
    generator.begin_capture(get("fake"))
    generator.take(1, xp)
    place = generator.take(9, xp)
    draws = generator.end_capture()
    draws.before_replay()
    draws._capturing = True  # as the launches in the graph see it
    right = random_places.Place(2**64 - 5, 2**64 - 2)
    assert np.array_equal(host(random._words(place, 9, xp)), random._words(right, 9, np))
    draws.end()
    assert host(draws.numbers).tolist() == [2**64 - 5, 7, 2**64 - 5, 2**64 - 3]
    draws.after_replay()
    assert generator.position() == (2**64 - 5, 7)


def _state(seed, block):
    generator = Generator()
    generator._seed, generator._next = seed, block
    return generator.get_state()


def test_states_within_a_capture_and_outside(xp):
    """Checkpoints go back to a state and forward again."""
    generator = Generator().manual_seed(1)
    outside = generator.get_state()
    generator.begin_capture(get("fake"))
    generator.take(3, xp)
    inside = generator.get_state()
    first = generator.take(4, xp).first
    generator.set_state(inside)
    assert generator.take(4, xp).first == first == 3
    with pytest.raises(RuntimeError, match="only states from the same capture"):
        generator.set_state(outside)
    with pytest.raises(RuntimeError, match="manual_seed: a graph is being captured"):
        generator.manual_seed(3)
    draws = generator.end_capture()
    assert draws.used == 7 and np.array_equal(generator.get_state(), outside)
    with pytest.raises(RuntimeError, match="only states from the same capture"):
        generator.set_state(inside)


def test_what_a_capture_cannot_draw_is_refused(xp):
    generator, other = Generator().manual_seed(1), Generator()
    generator.begin_capture(get("fake"))
    try:
        with pytest.raises(RuntimeError, match="random numbers for numpy were drawn while"):
            generator.uniform((3,), "float32", np)
        with pytest.raises(RuntimeError, match="register_generator_state"):
            other.uniform((3,), "float32", xp)
        other.uniform((3,), "float32", np)  # of the host, and not of the graph
        with pytest.raises(RuntimeError, match="another graph that draws from it is being captured"):
            generator.begin_capture(get("fake"))
        drawn = []
        thread = threading.Thread(target=lambda: drawn.append(generator.uniform((3,), "float32", np)))
        thread.start()
        thread.join()
        assert np.array_equal(drawn[0], Generator().manual_seed(1).uniform((3,), "float32", np))
    finally:
        generator.abandon_capture()
    other.uniform((3,), "float32", xp)
    assert generator.position() == (1, 1)


def test_a_capture_that_draws_nothing_costs_nothing(emulated):
    generator = Generator()
    _, replay = capture(generator, lambda: None)
    replay()
    assert not emulated.launched and generator.position() == Generator().position()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_a_tensor_drawn_by_a_kernel_is_that_of_the_cpu(emulated, xp, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    here, there = Generator().manual_seed(4), Generator().manual_seed(4)
    for shape in ((), (0,), (3,), (129, 3)):
        ours, right = (copy.copy(g).uniform(shape, dtype, s) for g, s in ((there, xp), (here, np)))
        assert np.array_equal(host(ours), right) and ours.dtype == right.dtype and ours.shape == shape
        ours, right = (g.normal(shape, dtype, s) for g, s in ((there, xp), (here, np)))
        ours, right = (host(one).astype("complex128") for one in (ours, right))
        rtol = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 1e-6)
        np.testing.assert_allclose(ours, right, rtol=rtol, atol=1e-7)
    assert here.position() == there.position()
    assert {"uniform_numbers", "normal_numbers"} <= set(emulated.launched)
