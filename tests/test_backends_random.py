"""Random numbers: the published vectors, the same stream on every backend, and the laws they are drawn from."""

import copy
import pickle
import threading

import numpy as np
import pytest

from chainrule.backends import Generator, OutOfMemoryError, default_generator, fake, manual_seed, random

FLOATS = ["float16", "float32", "float64", "complex64", "complex128"]


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        # Known answers for philox4x32-10, distributed with the authors' Random123 library.
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
@pytest.mark.parametrize("xp", [np, fake], ids=["numpy", "fake"])
def test_known_answers(xp, counter, key, expected):
    words = random.philox([xp.asarray([word], dtype=xp.uint64) for word in counter], key)
    assert [int(word[0]) for word in words] == list(expected)


def host(array):
    return array.get() if isinstance(array, fake.ndarray) else array


@pytest.mark.parametrize("shape", [(), (0,), (3,), (5, 7), (2, 0, 3), (17000, 3)])
def test_every_backend_draws_the_same_numbers(shape):
    here, there = Generator().manual_seed(5), Generator(device="fake").manual_seed(5)
    for dtype in FLOATS:
        ours, theirs = here.uniform(shape, dtype, np), there.uniform(shape, dtype, fake)
        assert (
            isinstance(theirs, fake.ndarray) and ours.shape == theirs.shape == shape and ours.dtype == dtype
        )
        assert np.array_equal(ours, host(theirs))
        ours, theirs = here.normal(shape, dtype, np), host(there.normal(shape, dtype, fake))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6 if ours.itemsize > 2 else 1e-3)
    for low, high, dtype in (
        (0, 10, "int64"),
        (-7, 2**40, "int64"),
        (-(2**63), 2**63, "int64"),
        (0, 256, "uint8"),
    ):
        ours, theirs = (one.integers(low, high, shape, dtype, xp) for one, xp in ((here, np), (there, fake)))
        assert ours.dtype == dtype and np.array_equal(ours, host(theirs))
    n = shape[0] if shape else 1
    assert np.array_equal(here.permutation(n, np), host(there.permutation(n, fake)))
    assert np.array_equal(here.get_state(), there.get_state())


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 3])
def test_small_draws_read_the_same_stream_as_one_large_draw(seed):
    """Draws of whole blocks can be glued together, whether or not words were computed ahead."""
    whole = Generator().manual_seed(seed).uniform((8000,), "float32", np)
    generator = Generator().manual_seed(seed)
    parts, left = [], 8000
    for size in (4, 40, 128, 256, 2000, 4, 4, 1024, 12):
        parts.append(generator.uniform((size,), "float32", np))
        left -= size
    parts.append(generator.uniform((left,), "float32", np))
    assert np.array_equal(np.concatenate(parts), whole)


def test_the_stream_depends_on_every_bit_of_the_seed_and_goes_on_for_64_bits():
    seeds = [0, 1, 2**31, 2**32, 2**63, 2**64 - 1]
    first = [Generator().manual_seed(seed).uniform((4,), "float64", np).tobytes() for seed in seeds]
    assert len(set(first)) == len(seeds)
    assert Generator().manual_seed(-1).initial_seed() == 2**64 - 1
    late = random._restore("cpu", 7, 2**32 - 1)
    again = random._restore("cpu", 7, 2**32)
    assert np.array_equal(late.uniform((8,), "float32", np)[4:], again.uniform((4,), "float32", np))
    end = random._restore("cpu", 7, 2**64 - 1)
    assert np.array_equal(
        end.uniform((8,), "float32", np)[4:], Generator().manual_seed(7).uniform((4,), "float32", np)
    )


def test_state_is_saved_and_restored():
    generator = Generator().manual_seed(3)
    generator.normal((11,), "float32", np)
    state = generator.get_state()
    assert state.dtype == np.uint8 and state.shape == (24,)
    copies = [
        generator.clone_state(),
        copy.deepcopy(generator),
        pickle.loads(pickle.dumps(generator)),
        Generator(),
    ]
    assert copies[3].set_state(state) is copies[3]
    expected = generator.integers(0, 1000, (20,), "int64", np)
    for one in copies:
        assert one.initial_seed() == 3 and repr(one) == "Generator(device='cpu', seed=3, block=3)"
        assert np.array_equal(one.integers(0, 1000, (20,), "int64", np), expected)
    for wrong in (state[:-1], state.astype("int32"), np.zeros(24, np.uint8), None):
        with pytest.raises(ValueError, match=r"Generator\.set_state: expected the uint8 array of 24 bytes"):
            generator.set_state(wrong)


def test_seeds():
    assert manual_seed(11) is default_generator and default_generator.initial_seed() == 11
    first = default_generator.uniform((3,), "float32", np)
    manual_seed(np.int64(11))
    assert np.array_equal(default_generator.uniform((3,), "float32", np), first)
    assert Generator().seed() != Generator().seed()
    assert np.array_equal(Generator().uniform((3,), "float32", np), Generator().uniform((3,), "float32", np))
    for wrong in (1.5, "1", None, 2**64, -(2**63) - 1, True):
        with pytest.raises(ValueError, match="manual_seed: expected an integer"):
            manual_seed(wrong)


def test_threads_share_a_generator_without_drawing_a_number_twice():
    generator, drawn = Generator().manual_seed(1), []

    def work():
        for _ in range(200):
            drawn.append(generator.uniform((4,), "float64", np))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = Generator().manual_seed(1).uniform((6400,), "float64", np)
    assert sorted(np.concatenate(drawn)) == sorted(expected)


def test_a_failed_allocation_leaves_the_generator_as_it_was():
    generator = Generator().manual_seed(1)
    state = generator.get_state()
    fake.fail_allocation(1)
    with pytest.raises(OutOfMemoryError):
        generator.uniform((100,), "float32", fake)
    assert np.array_equal(generator.get_state(), state)


# --- laws ---


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_numbers(dtype):
    x = Generator().manual_seed(2).uniform((400_000,), dtype, np).astype("float64")
    assert 0 <= x.min() < 1e-3 and 0.999 < x.max() < 1
    counts, _ = np.histogram(x, bins=64, range=(0, 1))
    expected = x.size / 64
    assert (
        (counts - expected) ** 2 / expected
    ).sum() < 120  # chi-squared of 63 degrees of freedom: 1 in 10,000
    bits = {"float16": 11, "float32": 24, "float64": 53}[dtype]
    assert np.array_equal(x * 2.0**bits, np.floor(x * 2.0**bits))


def test_bfloat16_numbers():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = Generator().manual_seed(2).uniform((10_000,), ml_dtypes.bfloat16, np)
    assert x.dtype == ml_dtypes.bfloat16 and float(x.max()) == 1 - 2**-8
    y = Generator().manual_seed(2).normal((10_000,), ml_dtypes.bfloat16, np).astype("float32")
    assert abs(y.mean()) < 0.05 and abs(y.std() - 1) < 0.05


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_normal_numbers(dtype):
    x = Generator().manual_seed(4).normal((400_000,), dtype, np).astype("float64")
    moments = [np.mean(x**k) for k in range(1, 5)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.04)
    for bound, share in ((1, 0.682689), (2, 0.954500), (3, 0.997300)):
        assert np.mean(np.abs(x) < bound) == pytest.approx(share, abs=0.003)
    pairs = x.reshape(-1, 2)
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.01 and abs(np.corrcoef((pairs**2).T)[0, 1]) < 0.01


def test_normal_numbers_are_finite_at_the_ends_of_the_range():
    for word in (0, 0xFFFFFFFF):
        words = np.full((4, 3), word, dtype=np.uint64)
        for kind in (random.as_dtype("float32"), random.as_dtype("float64")):
            numbers = random._to_normal(words, kind, np)
            assert np.isfinite(numbers).all() and np.abs(numbers).max() < 10


def test_complex_numbers_have_variance_one():
    z = Generator().manual_seed(4).normal((200_000,), "complex64", np)
    assert np.mean(np.abs(z) ** 2) == pytest.approx(1, abs=0.01) and abs(np.mean(z**2)) < 0.01
    u = Generator().manual_seed(4).uniform((1000,), "complex128", np)
    assert u.real.min() >= 0 and u.imag.max() < 1 and abs(np.corrcoef(u.real, u.imag)[0, 1]) < 0.1


@pytest.mark.parametrize("low, high", [(0, 2), (-3, 4), (0, 1000), (5, 6)])
def test_integers_are_uniform(low, high):
    x = Generator().manual_seed(6).integers(low, high, (200_000,), "int64", np)
    assert low <= x.min() and x.max() < high
    counts = np.bincount(x - low, minlength=high - low)
    expected = x.size / (high - low)
    degrees = high - low - 1
    assert ((counts - expected) ** 2 / expected).sum() <= degrees + 5 * np.sqrt(2 * degrees)


def test_integers_scale_by_the_exact_high_product():
    words = np.array([0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 0x9E3779B97F4A7C15], dtype=np.uint64)
    for size in (1, 3, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1, 2**64 - 1, 2**64):
        assert [int(one) for one in random._scale(words, size)] == [int(word) * size >> 64 for word in words]


def test_integers_of_other_dtypes():
    generator = Generator().manual_seed(6)
    assert set(generator.integers(0, 2, (100,), bool, np).tolist()) == {False, True}
    x = generator.integers(-5, 5, (100,), "float32", np)
    assert x.dtype == "float32" and set(x) <= set(range(-5, 5))
    x = generator.integers(-(2**63), 2**63, (1000,), "int64", np)
    assert x.min() < -(2**62) and x.max() > 2**62


@pytest.mark.parametrize("n", [0, 1, 2, 3, 64, 1000])
def test_permutations_hold_every_number_once(n):
    x = Generator().manual_seed(8).permutation(n, np)
    assert x.dtype == "int64" and np.array_equal(np.sort(x), np.arange(n))


def test_permutations_are_equally_likely():
    generator = Generator().manual_seed(8)
    counts = {}
    for _ in range(6000):
        one = tuple(generator.permutation(3, np))
        counts[one] = counts.get(one, 0) + 1
    assert len(counts) == 6 and sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 26


# --- errors ---


@pytest.mark.parametrize(
    "draw, kind, message",
    [
        (
            lambda g: g.uniform((3,), "int64", np),
            TypeError,
            "uniform: give a floating point or complex dtype",
        ),
        (lambda g: g.normal((3,), "bool", np), TypeError, "normal: give a floating point or complex dtype"),
        (
            lambda g: g.normal((-3,), "float32", np),
            ValueError,
            r"normal: negative dimension in shape \(-3,\)",
        ),
        (lambda g: g.integers(3, 3, (2,), "int64", np), ValueError, "low must be less than high, got low=3"),
        (lambda g: g.integers(0, 300, (2,), "int8", np), ValueError, r"\[0, 300\) does not fit int8"),
        (lambda g: g.integers(0, 3, (2,), "bool", np), ValueError, r"\[0, 3\) does not fit bool"),
        (lambda g: g.integers(0, 2**64, (2,), "int64", np), ValueError, "does not fit int64"),
        (lambda g: g.integers(0, 2.5, (2,), "int64", np), TypeError, r"high must be an integer, got 2\.5"),
        (lambda g: g.integers(0, 2, (2,), "complex64", np), TypeError, "integer or floating point dtype"),
        (lambda g: g.integers(0, 2, (2,), "uint64", np), TypeError, "uint64 is not supported"),
        (lambda g: g.permutation(-1, np), ValueError, "permutation: n must be an integer of at least 0"),
    ],
)
def test_bad_arguments_are_refused_and_draw_nothing(draw, kind, message):
    generator = Generator()
    state = generator.get_state()
    with pytest.raises(kind, match=message):
        draw(generator)
    assert np.array_equal(generator.get_state(), state)
