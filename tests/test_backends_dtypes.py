"""Element types and promotion; PyTorch is asked where it is installed."""

import copy
import importlib.util
import itertools
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from chainrule.backends import dtypes

NAMES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
ml_dtypes_missing = importlib.util.find_spec("ml_dtypes") is None


@pytest.fixture
def default_dtype():
    yield dtypes.set_default_dtype
    dtypes.set_default_dtype(dtypes.float32)


@pytest.mark.parametrize("name", NAMES)
def test_a_dtype_is_a_name_for_a_numpy_dtype(name):
    one = getattr(dtypes, name)
    assert one.name == name
    assert repr(one) == f"chainrule.{name}"
    assert np.dtype(one) is one.dtype is np.dtype(name)
    assert np.zeros(2, dtype=one).dtype == name
    assert dtypes.from_numpy(np.dtype(name)) is one
    assert one.itemsize == np.dtype(name).itemsize
    assert one.is_floating_point == (np.dtype(name).kind == "f")
    assert one.is_complex == (np.dtype(name).kind == "c")
    assert one.is_signed == (np.dtype(name).kind in "ifc")
    for spec in (one, np.dtype(name), name, np.dtype(name).type, name.encode().decode()):
        assert dtypes.as_numpy(spec) is np.dtype(name)
        assert dtypes.as_dtype(spec) is one


@pytest.mark.parametrize("name", [*NAMES, "bfloat16"])
def test_dtypes_are_singletons_under_copying_and_pickling(name):
    one = getattr(dtypes, name)
    assert pickle.loads(pickle.dumps(one)) is one
    assert copy.deepcopy(one) is copy.copy(one) is one


def test_aliases_and_python_types():
    assert (dtypes.half, dtypes.float, dtypes.double) == (dtypes.float16, dtypes.float32, dtypes.float64)
    assert (dtypes.short, dtypes.int, dtypes.long) == (dtypes.int16, dtypes.int32, dtypes.int64)
    assert (dtypes.cfloat, dtypes.cdouble) == (dtypes.complex64, dtypes.complex128)
    found = [dtypes.as_numpy(one).name for one in (bool, int, float, complex)]
    assert found == ["bool", "int64", "float64", "complex128"]
    assert dtypes.as_numpy("q") is dtypes.as_numpy("l") is np.dtype("int64")
    assert dtypes.float64.to_complex() is dtypes.complex128 and dtypes.complex64.to_real() is dtypes.float32
    assert dtypes.float16.to_complex() is dtypes.complex64 and dtypes.float16.to_real() is dtypes.float16


@pytest.mark.parametrize("spec", [None, "foo", [1], {}, 3, object, np.uint16, "U3", "M8[s]", np.longdouble])
def test_what_is_no_supported_dtype_is_refused_by_name(spec):
    with pytest.raises(TypeError, match=r"not supported|is not an element type") as caught:
        dtypes.as_numpy(spec)
    assert "float32" in str(caught.value)


def test_foreign_byte_order_is_refused_with_the_way_out():
    foreign = np.dtype("float32").newbyteorder()
    with pytest.raises(TypeError, match=r"byte order, array\.astype\('[<>]f4'\)"):
        dtypes.from_numpy(foreign)


@pytest.mark.skipif(ml_dtypes_missing, reason="bfloat16 needs ml_dtypes")
def test_bfloat16_through_ml_dtypes():
    numpy_dtype = dtypes.bfloat16.dtype
    assert numpy_dtype.name == "bfloat16" and numpy_dtype.itemsize == dtypes.bfloat16.itemsize == 2
    assert dtypes.from_numpy(numpy_dtype) is dtypes.bfloat16
    assert dtypes.as_numpy("bfloat16") is dtypes.as_numpy(numpy_dtype) is numpy_dtype
    x = np.zeros(2, dtype=numpy_dtype)
    assert dtypes.result_type(x, 2.0) is dtypes.bfloat16
    assert dtypes.result_type(x, np.zeros(2, np.float16)) is dtypes.float32
    assert dtypes.result_type(np.zeros(2, np.float32), x[0]) is dtypes.float32


def run(code):
    """Run code in a fresh interpreter; its output."""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_ml_dtypes_is_loaded_for_bfloat16_only_and_its_absence_is_explained():
    code = """
import sys
sys.modules["ml_dtypes"] = None
from chainrule.backends import dtypes
dtypes.result_type(dtypes.np.ones(2), 1.0)
assert repr(dtypes.bfloat16) == "chainrule.bfloat16" and dtypes.finfo(dtypes.bfloat16).bits == 16
try:
    dtypes.as_numpy(dtypes.bfloat16)
except TypeError as error:
    print(error)
"""
    assert "pip install ml_dtypes" in run(code)


@pytest.mark.skipif(ml_dtypes_missing, reason="bfloat16 needs ml_dtypes")
def test_an_array_of_ml_dtypes_is_recognised_before_bfloat16_was_used():
    code = """
import ml_dtypes, numpy
from chainrule.backends import dtypes
print(dtypes.from_numpy(numpy.zeros(1, ml_dtypes.bfloat16).dtype) is dtypes.bfloat16)
"""
    assert run(code) == "True"


# --- promotion ---


def operand(name, ndim):
    return np.ones((2,) * ndim, dtype=dtypes.as_numpy(name))


@pytest.mark.parametrize(
    "operands, expected",
    [
        ((operand("float32", 1), operand("int64", 1)), "float32"),
        ((operand("float16", 1), 1e300), "float16"),
        ((operand("float32", 1), operand("float64", 0)), "float32"),
        ((operand("int32", 1), operand("float64", 0)), "float64"),
        ((operand("int8", 1), 1000), "int8"),
        ((operand("bool", 1), 2), "int64"),
        ((operand("bool", 2), True), "bool"),
        ((operand("int64", 1), 0.5), "float32"),
        ((operand("int64", 0), 0.5), "float32"),
        ((operand("float64", 1), 1j), "complex128"),
        ((operand("float16", 1), 1j), "complex64"),
        ((operand("float32", 1), np.float64(2)), "float32"),
        ((operand("int8", 1), np.float16(2)), "float32"),
        ((operand("uint8", 1), np.int64(2)), "uint8"),
        ((operand("uint8", 1), np.bool_(True)), "uint8"),
        ((operand("uint8", 1), operand("int8", 1), 1), "int16"),
        ((1, 2.0), "float32"),
        ((True, 2), "int64"),
    ],
)
def test_result_type(operands, expected):
    assert dtypes.result_type(*operands) is getattr(dtypes, expected)
    assert dtypes.result_type(*operands[::-1]) is getattr(dtypes, expected)


def test_result_type_takes_subclasses_of_numbers_and_refuses_the_rest():
    assert dtypes.result_type(operand("int8", 1), type("Count", (int,), {})(3)) is dtypes.int8
    with pytest.raises(TypeError, match="result_type: str is not an array or a number"):
        dtypes.result_type(operand("int8", 1), "3")
    with pytest.raises(TypeError, match="at least one operand"):
        dtypes.result_type()


def test_the_default_dtype_is_that_of_python_floats(default_dtype):
    default_dtype(dtypes.float64)
    assert dtypes.get_default_dtype() is dtypes.float64
    assert dtypes.result_type(operand("int32", 1), 0.5) is dtypes.float64
    assert dtypes.result_type(operand("int32", 1), 1j) is dtypes.complex128
    assert dtypes.result_type(operand("float32", 1), 0.5) is dtypes.float32
    assert dtypes.finfo().dtype == "float64"
    default_dtype("float16")
    assert dtypes.result_type(operand("int32", 1), 0.5) is dtypes.float16
    assert dtypes.result_type(operand("int32", 1), 1j) is dtypes.complex64


def test_the_default_dtype_is_one_of_this_thread(default_dtype):
    default_dtype(dtypes.float64)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(dtypes.get_default_dtype()))
    thread.start()
    thread.join()
    assert seen == [dtypes.float32]


def test_only_floating_point_types_can_be_default():
    for wrong in (dtypes.int64, "complex64", bool):
        with pytest.raises(TypeError, match="only floating-point types"):
            dtypes.set_default_dtype(wrong)
    assert dtypes.get_default_dtype() is dtypes.float32


def test_promote_types_is_symmetric_and_has_a_join_with_itself():
    everything = [getattr(dtypes, name) for name in (*NAMES, "bfloat16")]
    for a, b in itertools.product(everything, repeat=2):
        joined = dtypes.promote_types(a, b)
        assert joined is dtypes.promote_types(b, a)
        assert dtypes.promote_types(joined, a) is joined
        assert dtypes.can_cast(a, joined)


def test_limits():
    for name in ("float16", "float32", "float64"):
        ours, theirs = dtypes.finfo(name), np.finfo(name)
        for fact in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution"):
            assert getattr(ours, fact) == pytest.approx(float(getattr(theirs, fact)), rel=1e-3), (name, fact)
        assert (ours.max, ours.eps, ours.tiny) == (theirs.max, theirs.eps, theirs.tiny)
    assert dtypes.finfo(dtypes.complex128).dtype == "float64"
    for name in ("uint8", "int8", "int16", "int32", "int64"):
        ours, theirs = dtypes.iinfo(name), np.iinfo(name)
        assert (ours.min, ours.max, ours.bits) == (theirs.min, theirs.max, theirs.bits)
    with pytest.raises(TypeError, match=r"finfo: chainrule\.int8 .* use iinfo"):
        dtypes.finfo("int8")
    for wrong in ("float32", "bool"):
        with pytest.raises(TypeError, match=r"iinfo: .* use finfo"):
            dtypes.iinfo(wrong)


# --- against PyTorch ---


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def theirs(torch, one):
    return getattr(torch, one.name)


@pytest.mark.torch
def test_promotion_and_casting_are_pytorchs(torch):
    everything = [getattr(dtypes, name) for name in (*NAMES, "bfloat16")]
    for a, b in itertools.product(everything, repeat=2):
        assert theirs(torch, dtypes.promote_types(a, b)) == torch.promote_types(
            theirs(torch, a), theirs(torch, b)
        )
        assert dtypes.can_cast(a, b) == torch.can_cast(theirs(torch, a), theirs(torch, b))


@pytest.mark.torch
@pytest.mark.parametrize("default", ["float32", "float64"])
def test_result_type_is_pytorchs(torch, default, default_dtype):
    default_dtype(default)
    torch.set_default_dtype(getattr(torch, default))
    try:
        scalars = [True, 3, 2.5, 1j]
        names = [*NAMES, *([] if ml_dtypes_missing else ["bfloat16"])]
        for name, ndim in itertools.product(names, (0, 1)):
            ours = operand(name, ndim)
            other = torch.ones((2,) * ndim, dtype=getattr(torch, name))
            for scalar in scalars:
                expected = torch.result_type(other, scalar)
                expected = torch.complex64 if expected == torch.complex32 else expected
                assert theirs(torch, dtypes.result_type(ours, scalar)) == expected, (name, ndim, scalar)
            for second, second_ndim in itertools.product(names, (0, 1)):
                found = dtypes.result_type(ours, operand(second, second_ndim))
                expected = torch.result_type(
                    other, torch.ones((2,) * second_ndim, dtype=getattr(torch, second))
                )
                expected = torch.complex64 if expected == torch.complex32 else expected
                assert theirs(torch, found) == expected, (name, ndim, second, second_ndim)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.torch
def test_limits_are_pytorchs(torch):
    for name in ("float16", "bfloat16", "float32", "float64", "complex64"):
        ours, other = dtypes.finfo(name), torch.finfo(getattr(torch, name))
        for fact in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
            assert getattr(ours, fact) == getattr(other, fact), (name, fact)
        assert repr(ours) == repr(other)
    for name in ("uint8", "int8", "int16", "int32", "int64"):
        ours, other = dtypes.iinfo(name), torch.iinfo(getattr(torch, name))
        assert (ours.bits, ours.min, ours.max, ours.dtype) == (other.bits, other.min, other.max, other.dtype)
        assert repr(ours) == f"iinfo(min={other.min}, max={other.max}, dtype={name})"
