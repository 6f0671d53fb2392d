"""Integers behave as PyTorch's: they wrap around, divide as documented, and no warning of NumPy reaches the user."""

import warnings

import numpy as np
import pytest

import chainrule as cr

KINDS = ["uint8", "int8", "int16", "int32", "int64"]
OPERATIONS = {
    "add": lambda m, a, b: a + b, "sub": lambda m, a, b: a - b, "mul": lambda m, a, b: a * b, "neg": lambda m, a, b: -a, "abs": lambda m, a, b: a.abs(),
    "square": lambda m, a, b: m.square(a), "pow": lambda m, a, b: a**3, "cumsum": lambda m, a, b: a.cumsum(0), "cumprod": lambda m, a, b: a.cumprod(0),
    "sum": lambda m, a, b: a.sum(), "prod": lambda m, a, b: a.prod(), "and": lambda m, a, b: a & b, "or": lambda m, a, b: a | b, "xor": lambda m, a, b: a ^ b,
    "not": lambda m, a, b: ~a, "max": lambda m, a, b: m.maximum(a, b), "dot": lambda m, a, b: m.dot(a, b), "scalar": lambda m, a, b: a + 200 - 3 * b,
}  # fmt: skip
DIVISIONS = {
    "floor_divide": lambda m, a, b: m.floor_divide(a, b), "floor": lambda m, a, b: m.div(a, b, rounding_mode="floor"), "remainder": lambda m, a, b: m.remainder(a, b),
    "fmod": lambda m, a, b: m.fmod(a, b), "%": lambda m, a, b: a % b, "//": lambda m, a, b: a // b, "true": lambda m, a, b: a / b,
    "trunc": lambda m, a, b: m.div(a, b, rounding_mode="trunc"),
}  # fmt: skip


def pair(library, kind):
    """Numbers up to the ends of the type's range."""
    info = np.iinfo(kind)
    a = np.array([info.min, info.min + 1, -7 if info.min else 7, 0, 3, 7, info.max - 1, info.max]).astype(
        kind
    )
    return library.tensor(a), library.tensor(np.roll(a, 3).copy())


def equal(ours, theirs):
    assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_integers_wrap_around_as_pytorchs(name, kind, torch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = OPERATIONS[name](cr, *pair(cr, kind))
    equal(found, OPERATIONS[name](torch, *pair(torch, kind)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DIVISIONS)
def test_integers_divide_as_pytorchs(name, kind, torch):
    def operands(library):
        a, _ = pair(library, kind)
        divisors = np.array([2, 3, 2, 5, 2, 3, 3, 2]).astype(kind)
        if kind != "uint8":
            divisors[::2] *= -1
        return a, library.tensor(divisors)

    if name == "trunc" and kind == "int64":
        return  # the quotient of the largest numbers: see below
    equal(DIVISIONS[name](cr, *operands(cr)), DIVISIONS[name](torch, *operands(torch)))


def test_truncated_division_of_large_integers_is_exact():
    big = 2**62 + 1
    assert cr.div(cr.tensor([big, -big]), 1, rounding_mode="trunc").tolist() == [big, -big]
    assert cr.div(cr.tensor([-7, 7]), cr.tensor([2, -2]), rounding_mode="trunc").tolist() == [-3, -3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["floor_divide", "floor", "trunc", "remainder", "fmod"])
@pytest.mark.cpu_only
def test_an_integer_divided_by_zero_is_refused_on_the_cpu(name, kind, torch):
    a = cr.tensor([1, 2], dtype=getattr(cr, kind))
    for zero in (cr.zeros_like(a), 0, cr.tensor([3, 0], dtype=a.dtype)):
        with pytest.raises(RuntimeError, match="^(floor_divide|remainder|fmod): an integer divided by zero"):
            DIVISIONS[name](cr, a, zero)
    with pytest.raises(RuntimeError, match="divided by zero"):
        cr.vmap(lambda one: DIVISIONS[name](cr, one, one - 1))(a)
    with warnings.catch_warnings():
        # On a GPU, asking would cost a synchronisation.
        warnings.simplefilter("error")
        assert not DIVISIONS[name](cr, a.to("fake"), 0).is_floating_point()
    b = torch.tensor([1, 2], dtype=getattr(torch, kind))
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        DIVISIONS[name](torch, b, torch.zeros_like(b))


def test_true_division_by_zero_is_infinite():
    assert (cr.tensor([1, -1, 0]) / 0).tolist()[:2] == [float("inf"), float("-inf")]
    assert (cr.tensor([1, -1, 0]) / 0)[2].isnan()


def test_integers_out_of_range_are_refused():
    for call in (
        lambda: cr.tensor([300], dtype=cr.uint8),
        lambda: cr.tensor([-1], dtype=cr.uint8),
        lambda: cr.tensor(2**70),
    ):
        with pytest.raises((RuntimeError, OverflowError, ValueError, TypeError)):
            call()


def test_numbers_that_no_integer_holds_are_cast_without_a_warning():
    x = cr.tensor([float("nan"), float("inf"), 1e30], requires_grad=True)
    assert x.long().dtype is cr.int64 and not x.int().requires_grad and x.to(cr.uint8).shape == (3,)
