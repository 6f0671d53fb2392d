"""Matrix products by cuBLASLt: how arrays become descriptors, on a library that computes on the host what they say.

The binding itself is tried on NVIDIA's library where it is installed: it makes descriptors without a card.
"""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.backends import cublaslt, gemm_layout, get
from chainrule.backends.cublaslt import Desc, Epilogue, LayoutPart, NotSupported, Pref
from chainrule.backends.cupy_namespace import Namespace
from chainrule.backends.fakegraph import FakeCapture
from chainrule.nn.functional.linear_activation import linear_activation
from tests.kernels import fake_cublaslt
from tests.kernels.fake_cublaslt import gelu, gelu_slope, gemm_on_host

DTYPES = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128")
TOLERANCE = {"float32": 2e-6, "float64": 1e-13, "float16": 2e-3, "bfloat16": 2e-2, "complex64": 2e-6, "complex128": 1e-13}  # fmt: skip


def numbers(shape, dtype="float64", seed=0):
    rng = np.random.default_rng([seed, *shape])
    found = rng.uniform(-1, 1, shape)
    if dtype.startswith("complex"):
        found = found + 1j * rng.uniform(-1, 1, shape)
    return found.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def wide(x):
    return np.asarray(x).astype("complex128" if x.dtype.kind == "c" else "float64")


def assert_close(found, expected, dtype):
    assert found.shape == expected.shape and str(found.dtype) == dtype, (found.shape, found.dtype)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(wide(found), expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def turned(x):
    """x with its last two axes' places in memory changed."""
    return np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)


def within(x):
    """x inside a larger array."""
    room = np.full([n + 3 for n in x.shape], np.nan, x.dtype)
    view = room[tuple(slice(1, n + 1) for n in x.shape)]
    view[...] = x
    return view


def heads_last(x):
    """x whose last but two axis lies after the rows, as heads of attention do."""
    return np.ascontiguousarray(x.swapaxes(-2, -3)).swapaxes(-2, -3) if x.ndim > 2 else x


LAYOUTS = {
    "plain": lambda x: x,
    "turned": turned,
    "within": within,
    "turned within": lambda x: within(x.swapaxes(-1, -2)).swapaxes(-1, -2),
    "heads last": heads_last,
    "backwards": lambda x: np.ascontiguousarray(x[..., ::-1, :])[..., ::-1, :],
    "every second": lambda x: np.repeat(np.repeat(x, 2, -1), 2, -2)[..., ::2, ::2],
}
SHAPES = [
    ((3, 4), (4, 5)),
    ((1, 4), (4, 5)),
    ((3, 4), (4, 1)),
    ((1, 1), (1, 1)),
    ((7, 1), (1, 9)),
    ((6, 3, 4), (6, 4, 5)),
    ((2, 3, 4, 5), (2, 3, 5, 6)),
    ((2, 3, 4, 5), (5, 6)),
    ((4, 5), (2, 3, 5, 6)),
    ((2, 1, 4, 5), (3, 5, 6)),
    ((9, 1, 4, 5), (1, 10, 5, 6)),
    ((3, 1, 4), (3, 4, 5)),
    ((2, 3, 1, 4), (4, 5)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_products_of_every_layout(shapes, layout):
    gemm = gemm_on_host()
    for i, dtype in enumerate(("float64", "bfloat16", "complex64")):
        a, b = (numbers(shape, dtype, i) for shape in shapes)
        for x, y in (
            (LAYOUTS[layout](a), b),
            (a, LAYOUTS[layout](b)),
            (LAYOUTS[layout](a), LAYOUTS[layout](b)),
        ):
            assert_close(gemm(x, y), wide(a) @ wide(b), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_every_dtype(dtype):
    gemm = gemm_on_host()
    a, b = numbers((5, 33), dtype), numbers((33, 6), dtype)
    assert_close(gemm(a, b), wide(a) @ wide(b), dtype)
    out = numbers((5, 6), dtype, 3)
    expected = wide(a) @ wide(b) + 0.5 * wide(out)
    assert gemm(a, b, out, beta=0.5) is out
    assert_close(out, expected, dtype)
    _, compute, scale = gemm._type(a.dtype)
    (found,) = {call.compute for call in gemm.library.entries.calls}
    assert found == compute and fake_cublaslt.NUMPY[scale].kind == ("c" if dtype.startswith("c") else "f")


def test_operands_are_not_copied_where_their_strides_allow_it():
    shapes = {
        # the operands as they lie -> (calls, products in each)
        "transposed": (numbers((4, 3)).T, numbers((5, 4)).T, 1, 1),
        "rows of a larger array": (numbers((3, 9))[:, 2:6], numbers((8, 5))[3:7], 1, 1),
        "a batch, one transposed": (numbers((6, 3, 4)), numbers((6, 5, 4)).swapaxes(1, 2), 1, 6),
        "two leading axes": (numbers((2, 3, 4, 5)), numbers((2, 3, 5, 6)), 1, 6),
        "a matrix for all of a batch: more rows": (numbers((2, 3, 4, 5)), numbers((5, 6)), 1, 1),
        "a matrix times a batch": (numbers((4, 5)), numbers((7, 5, 6)), 1, 7),
        "a broadcast axis": (np.broadcast_to(numbers((4, 5)), (7, 4, 5)), numbers((7, 5, 6)), 1, 7),
        "heads": (numbers((2, 9, 4, 5)).swapaxes(1, 2), numbers((2, 9, 4, 5)).transpose(0, 2, 3, 1), 2, 4),
        "vectors with gaps": (numbers((4, 3))[None, :, 1], numbers((4, 6)), 1, 1),
    }
    for name, (a, b, calls, batch) in shapes.items():
        gemm = gemm_on_host()
        assert_close(gemm(a, b), a @ b, "float64")
        made = gemm.library.entries.calls
        assert (len(made), {one.batch for one in made}) == (calls, {batch}), name
        assert made[0].a == a.ctypes.data and made[0].b == b.ctypes.data, name


def test_what_is_written_stays_within_the_output():
    gemm = gemm_on_host()
    for transposed in (False, True):
        room = np.full((9, 11), 7.0)
        out = room[2:6, 3:8]
        a, b = numbers((4, 3)), numbers((3, 5))
        if transposed:
            out, a, b = out.T, b.T, a.T
        assert gemm(a, b, out) is out
        np.testing.assert_allclose(out, a @ b)
        assert (room == 7).sum() == 99 - 20
    square = numbers((4, 4))
    expected = square @ square
    np.testing.assert_allclose(gemm(square, square, square), expected)  # over what it reads
    gaps = np.full((3, 4, 10), 7.0)
    out = gaps[:, :, ::2]
    np.testing.assert_allclose(gemm(square, numbers((3, 4, 5)), out), square @ numbers((3, 4, 5)))
    assert (gaps[:, :, 1::2] == 7).all()


def test_16_bit_operands_may_be_added_up_in_float32():
    gemm = gemm_on_host()
    a, b = numbers((4, 300), "bfloat16"), numbers((300, 5), "bfloat16")
    out = np.ones((4, 5), "float32")
    gemm(a, b, out, beta=1)
    np.testing.assert_allclose(out, 1 + wide(a) @ wide(b), rtol=1e-5)


def test_empty_operands_and_sums_of_no_terms():
    gemm = gemm_on_host()
    assert gemm(numbers((0, 3)), numbers((3, 2))).shape == (0, 2)
    assert gemm(numbers((2, 3)), numbers((3, 0))).shape == (2, 0)
    assert gemm(numbers((0, 2, 3)), numbers((3, 4))).shape == (0, 2, 4)
    none = numbers((2, 0)), numbers((0, 3))
    bias = numbers((3,))
    assert np.array_equal(gemm(*none), np.zeros((2, 3)))
    assert np.array_equal(gemm(*none, bias=bias), np.broadcast_to(bias, (2, 3)))
    assert np.array_equal(gemm(*none, np.ones((2, 3)), beta=0.5), np.full((2, 3), 0.5))
    y, sums = gemm(*none, bias_gradient="a")
    assert not y.any() and np.array_equal(sums, np.zeros(2))
    with pytest.raises(NotSupported, match="no terms"):
        gemm(*none, activation="relu")
    assert not gemm.library.entries.calls


# --- epilogues ---


@pytest.mark.parametrize("dtype", DTYPES[:4])
@pytest.mark.parametrize("columns", [5, 16, 130])
def test_epilogues(dtype, columns):
    gemm = gemm_on_host()
    a, b, bias = numbers((6, 7), dtype), numbers((7, columns), dtype), numbers((columns,), dtype)
    product = wide(a) @ wide(b)
    linear = product + wide(bias)
    assert_close(gemm(a, b, bias=bias), linear, dtype)
    for activation, value in (("relu", lambda x: np.maximum(x, 0)), ("gelu", gelu)):
        assert_close(gemm(a, b, activation=activation), value(product), dtype)
        assert_close(gemm(a, b, bias=bias, activation=activation), value(linear), dtype)
        aux = gemm.auxiliary(activation, 6, columns, a.dtype)
        assert_close(gemm(a, b, bias=bias, activation=activation, aux=aux), value(linear), dtype)
        # Backward: g times the transposed weights of the layer above, times the slope that aux tells, summed for the bias.
        g, above = numbers((6, 4), dtype, 1), numbers((columns, 4), dtype, 2)
        slope = (linear > 0) if activation == "relu" else gelu_slope(wide(aux))
        expected = (wide(g) @ wide(above).T) * slope
        assert_close(gemm(g, above.T, activation=f"{activation}_gradient", aux=aux), expected, dtype)
        y, sums = gemm(g, above.T, activation=f"{activation}_gradient", aux=aux, bias_gradient="out")
        assert_close(y, expected, dtype)
        assert_close(sums, expected.sum(0), dtype)
    y, sums = gemm(a, b, bias_gradient="a")
    assert_close(y, product, dtype)
    assert_close(sums, wide(a).sum(1), dtype)
    y, sums = gemm(a.T.copy().T, turned(b), bias_gradient="b")
    assert_close(sums, wide(b).sum(0), dtype)
    names = {call.epilogue.name for call in gemm.library.entries.calls}
    assert names == {
        "BIAS", "RELU", "GELU", "RELU_BIAS", "GELU_BIAS", "RELU_AUX_BIAS", "GELU_AUX_BIAS",
        "DRELU", "DGELU", "DRELU_BGRAD", "DGELU_BGRAD", "BGRADA", "BGRADB",
    }  # fmt: skip


def test_a_bias_is_added_to_batches_and_to_what_takes_several_calls():
    gemm = gemm_on_host()
    bias = numbers((6,))
    for a, b in (((2, 3, 4, 5), (5, 6)), ((3, 4, 5), (3, 5, 6)), ((2, 1, 4, 5), (3, 5, 6))):
        a, b = numbers(a), numbers(b)
        np.testing.assert_allclose(gemm(a, b, bias=bias), a @ b + bias)
    with pytest.raises(NotSupported, match="takes two matrices"):
        gemm(numbers((3, 4, 5)), numbers((3, 5, 6)), bias_gradient="a")


def test_what_the_library_has_no_algorithm_for():
    def refuse(description, layouts):
        return description[Desc.EPILOGUE] != Epilogue.DEFAULT

    gemm = gemm_on_host(refuse=refuse)
    a, b, bias = numbers((3, 4)), numbers((4, 5)), numbers((5,))
    for _ in range(2):  # the second time it is known
        np.testing.assert_allclose(gemm(a, b, bias=bias), a @ b + bias)  # added after the product
        with pytest.raises(
            NotSupported, match=r"no algorithm for float64 \(3, 4\) @ \(4, 5\).* epilogue RELU_BIAS"
        ):
            gemm(a, b, bias=bias, activation="relu")
        with pytest.raises(NotSupported, match="epilogue BGRADB"):
            gemm(a, b, bias_gradient="a")
    nothing = gemm_on_host(refuse=lambda description, layouts: True)
    with pytest.raises(NotSupported, match="cuBLASLt 13.10.0"):
        nothing(a, b)
    np.testing.assert_allclose(Namespace(np, nothing).matmul(a, b), a @ b)  # by the array library


# --- plans ---


def count_of_questions(gemm):
    return len(gemm.library.entries.algorithms)


def test_an_algorithm_is_chosen_once_for_each_kind_of_product():
    gemm = gemm_on_host()
    a, b = numbers((3, 4)), numbers((4, 5))
    gemm(a, b)
    gemm(a.copy(), b)
    assert count_of_questions(gemm) == 1
    gemm(a, b, bias=numbers((5,)))
    gemm(a, b, np.zeros((3, 5)), beta=1)
    gemm(turned(a), b)
    gemm(a.astype("float32"), b.astype("float32"))
    gemm(a.astype("float32"), b.astype("float32"), allow_tf32=True)
    gemm.place.now["device"] = 1
    gemm(a, b)
    assert count_of_questions(gemm) == 7 and len(gemm._handles) == 2


def test_less_aligned_operands_get_an_algorithm_of_their_own():
    gemm = gemm_on_host()
    room = numbers((40,), "float32")
    for start in range(6):  # the library that computes on the host checks what it was promised
        a, b = room[start : start + 12].reshape(3, 4), room[20 : 20 + 8].reshape(4, 2)
        assert_close(gemm(a, b), wide(a) @ wide(b), "float32")
    assert 1 < count_of_questions(gemm) < 6


def test_precision_switches():
    gemm, settings = gemm_on_host(), backends.cuda.matmul
    a, b = numbers((3, 4), "float32"), numbers((4, 5), "float32")
    half = a.astype("float16"), b.astype("float16")
    try:
        gemm(a, b)
        settings.allow_tf32 = True
        gemm(a, b)
        gemm(a, b, allow_tf32=False)
        gemm(a.astype("float64"), b.astype("float64"))
        gemm(*half)
        settings.allow_fp16_reduced_precision_reduction = False
        gemm(*half)
    finally:
        settings.fp32_precision, settings.allow_fp16_reduced_precision_reduction = "none", True
    types = [cublaslt.ComputeType(one.compute).name for one in gemm.library.entries.calls]
    assert types == ["F32", "F32_FAST_TF32", "F32", "F64", "F32", "F32"]
    masks = [told[5][Pref.REDUCTION_SCHEME_MASK] for told in gemm.library.entries.algorithms.values()]
    assert masks == [7, 7, 7, 7, 2]


def test_the_fastest_suggestion_is_kept_where_they_are_timed():
    gemm, settings = gemm_on_host(), backends.cuda.matmul
    gemm.place.times = iter([5, 4, 3, 2, 6, 7, 8, 9])
    a, b = numbers((3, 4)), numbers((4, 5))
    try:
        settings.benchmark = True
        np.testing.assert_allclose(gemm(a, b), a @ b)
    finally:
        settings.benchmark = False
    (product,) = gemm._plans.values()
    (plan,) = product.plans.values()
    assert plan.algorithm.data[0] == 4 and plan.workspace == fake_cublaslt.SCRATCH
    gemm(a, b)
    assert count_of_questions(gemm) == 8 and gemm.place.given == [(7, 0)]
    for where in ({"stream": 8}, {"stream": 7}, {"device": 1}):  # one workspace for each stream that needs it
        gemm.place.now |= where
        gemm(a, b)
    assert gemm.place.given == [
        (7, 0),
        (8, 0),
    ]  # the second device has the first suggestion, which needs none


def test_nothing_is_timed_where_every_run_must_give_the_same():
    gemm, settings = gemm_on_host(), backends.cuda.matmul
    try:
        settings.benchmark = True
        cr.use_deterministic_algorithms(True)
        gemm(numbers((3, 4)), numbers((4, 5)))
    finally:
        settings.benchmark = False
        cr.use_deterministic_algorithms(False)
    assert count_of_questions(gemm) == 1


def test_nothing_new_can_be_multiplied_while_a_graph_is_captured():
    gemm = gemm_on_host()
    a, b = numbers((3, 4)), numbers((4, 5))
    gemm(a, b)
    gemm.place.recording = True
    np.testing.assert_allclose(gemm(a, b), a @ b)
    with pytest.raises(RuntimeError, match=r"float64 \(4, 5\) @ \(5, 4\).*run the step once"):
        gemm(b, b.T)
    gemm.place.recording = False
    gemm(b, b.T)
    gemm.place.recording = True
    np.testing.assert_allclose(gemm(b, b.T), b @ b.T)


def test_threads_share_plans():
    gemm = gemm_on_host()
    a, b = numbers((3, 4)), numbers((4, 5))
    wrong = []

    def work(seed):
        for i in range(50):
            bias = numbers((5,), seed=100 * seed + i)
            if not np.allclose(gemm(a, b, bias=bias), a @ b + bias):
                wrong.append((seed, i))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong and len(gemm.library.entries.calls) == 200


@pytest.mark.parametrize(
    "kind, words, arguments, options",
    [
        (ValueError, r"\(3, 4\) and \(3, 4\) do not fit", [(3, 4), (3, 4)], {}),
        (ValueError, "do not fit", [(4,), (4, 5)], {}),
        (ValueError, "do not broadcast", [(2, 3, 4), (3, 4, 5)], {}),
        (ValueError, r"out must have shape \(3, 5\)", [(3, 4), (4, 5), (3, 4)], {}),
        (ValueError, "beta=1 needs", [(3, 4), (4, 5)], {"beta": 1}),
        (ValueError, r"bias must have shape \(5,\)", [(3, 4), (4, 5)], {"bias": numbers((3,))}),
        (ValueError, "exclude each other", [(3, 4), (4, 5)], {"bias": numbers((5,)), "bias_gradient": "a"}),
        (ValueError, "'relu_gradient' needs aux", [(3, 4), (4, 5)], {"activation": "relu_gradient"}),
        (ValueError, "None takes no aux", [(3, 4), (4, 5)], {"aux": numbers((3, 5))}),
        (ValueError, "no activation 'tanh'", [(3, 4), (4, 5)], {"activation": "tanh"}),
        (ValueError, "bias must be contiguous", [(3, 4), (4, 5)], {"bias": numbers((10,))[::2]}),
        (
            ValueError,
            "aux must be what `auxiliary` makes for 3 rows and 5 columns of float64",
            [(3, 4), (4, 5)],
            {"activation": "gelu", "aux": numbers((3, 5))},
        ),
        (ValueError, "goes with the gradient", [(3, 4), (4, 5)], {"bias_gradient": "out"}),
    ],
)
def test_bad_calls(kind, words, arguments, options):
    with pytest.raises(kind, match=words):
        gemm_on_host()(*map(numbers, arguments), **options)


def test_bad_dtypes_and_devices():
    gemm = gemm_on_host()
    with pytest.raises(TypeError, match="got float64 and float32"):
        gemm(numbers((3, 4)), numbers((4, 5), "float32"))
    with pytest.raises(TypeError, match="got int64 and int64"):
        gemm(np.ones((3, 4), "int64"), np.ones((4, 5), "int64"))
    gemm.place.several, gemm.place.now["device"] = True, 1
    with pytest.raises(RuntimeError, match="lies on device 0, but the current one is 1"):
        gemm(numbers((3, 4)), numbers((4, 5)))


# --- the namespace ---

PRODUCTS = [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)), ((2, 3, 4), (5, 4, 3))]  # fmt: skip
EQUATIONS = {
    "ij,jk->ik": [(2, 3), (3, 4)],
    "ij,jk->ki": [(2, 3), (3, 4)],
    "ij,jk": [(2, 3), (3, 4)],
    "bij,bkj->bik": [(2, 3, 4), (2, 5, 4)],
    "bhid,bhjd->bhij": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "bihd,bjhd->bhij": [(2, 4, 3, 5), (2, 6, 3, 5)],
    "ijk,jil->kl": [(2, 3, 4), (3, 2, 5)],
    "i,j->ij": [(3,), (4,)],
    "i,i->": [(3,), (3,)],
    "i,i->i": [(3,), (3,)],
    "iij,jk->k": [(3, 3, 2), (2, 4)],
    "ijx,jk->ik": [(2, 3, 2), (3, 4)],
    "abij,bj->abi": [(2, 1, 3, 4), (5, 4)],  # one axis b broadcasts
    "ij,jk->ki ": [(2, 1), (3, 4)],  # the summed one does
    "ij,ij,jk->i": [(2, 3), (2, 3), (3, 2)],
    "i,j,k->kij": [(2,), (3,), (4,)],
    "ij,jk,kl,lm->im": [(2, 3), (3, 4), (4, 5), (5, 6)],
    "a,b,c,d,abcd->": [(2,), (3,), (4,), (5,), (2, 3, 4, 5)],
    "ij,jk->k  ": [(0, 3), (3, 4)],
}


@pytest.fixture
def xp():
    return Namespace(np, gemm_on_host())


def test_the_functions_that_multiply(xp):
    for shapes in PRODUCTS:
        a, b = map(numbers, shapes)
        if shapes != ((2, 3, 4), (5, 4, 3)):
            assert_close(xp.matmul(a, b), np.matmul(a, b), "float64")
        assert_close(xp.dot(a, b), np.dot(a, b), "float64")
    a, b = numbers((2, 3, 4)), numbers((5, 3, 4))
    assert_close(xp.inner(a, b), np.inner(a, b), "float64")
    assert_close(xp.tensordot(a, b.reshape(3, 4, 5)), np.tensordot(a, b.reshape(3, 4, 5)), "float64")
    assert_close(
        xp.tensordot(a, b, axes=([1, 2], [1, -1])), np.tensordot(a, b, axes=([1, 2], [1, -1])), "float64"
    )
    assert_close(xp.tensordot(a, b, axes=0), np.tensordot(a, b, axes=0), "float64")
    z = numbers((3, 4), "complex128")
    assert_close(xp.vdot(z, z), np.vdot(z, z), "complex128")
    assert xp._gemm.library.entries.calls
    with pytest.raises(ValueError, match="matmul: the inner dimensions"):
        xp.matmul(numbers((3, 4)), numbers((3, 4)))
    with pytest.raises(ValueError, match=r"tensordot: axes 1 of shapes \(3, 4\)"):
        xp.tensordot(numbers((3, 4)), numbers((3, 4)), axes=1)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(xp, equation):
    operands = [numbers(shape, seed=i) for i, shape in enumerate(EQUATIONS[equation])]
    assert_close(xp.einsum(equation, *operands), np.einsum(equation, *operands), "float64")


def test_the_namespace_passes_on_the_rest(xp):
    assert xp.zeros is np.zeros and "zeros" in vars(xp) and xp.linalg is np.linalg and "einsum" in dir(xp)
    integers = np.arange(6).reshape(2, 3)
    assert np.array_equal(xp.matmul(integers, integers.T), integers @ integers.T)
    assert np.array_equal(xp.einsum("ij,ij->i", integers, integers), [5, 50])
    mixed = xp.matmul(numbers((2, 3), "float32"), numbers((3, 2)))
    assert mixed.dtype == "float64"
    out = np.zeros((2, 2), "float32")
    assert xp.matmul(numbers((2, 3)), numbers((3, 2)), out=out) is out and out.any()
    half, summed = numbers((2, 30), "float16"), np.zeros((2, 2), "float32")
    np.testing.assert_allclose(xp.matmul(half, half.T, out=summed), wide(half) @ wide(half).T, rtol=1e-6)
    plain = Namespace(np, None)
    for function in (
        plain.matmul,
        plain.dot,
        lambda a, b: plain.inner(a, b.T),
        lambda a, b: plain.tensordot(a, b, 1),
    ):
        np.testing.assert_allclose(
            function(numbers((2, 3)), numbers((3, 2))), numbers((2, 3)) @ numbers((3, 2))
        )
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = xp.no_such_thing


# --- operations ---


@pytest.fixture
def on_fake(monkeypatch):
    """The products of the fake device by the library that computes on the host; its `Gemm`."""
    backend, before = get("fake"), set(backends.kernels)
    monkeypatch.setattr(backend, "kernels", {})
    monkeypatch.setattr(backend, "xp", backend.xp, raising=False)
    monkeypatch.setitem(backends.namespaces, backend.array_type, backend.xp)
    yield fake_cublaslt.products_on_fake(backend, None)
    backends.kernels.intersection_update(before)


def gradients(function, *arrays, device):
    inputs = [cr.tensor(x, device=device, requires_grad=True) for x in arrays]
    y = function(*inputs)
    y.backward(
        cr.tensor(np.cos(np.arange(y.numel())).reshape(tuple(y.shape)).astype(arrays[0].dtype), device=device)
    )
    return [one.detach().cpu().numpy() for one in (y, *(x.grad for x in inputs))]


def test_a_linear_layer_takes_three_products_forward_and_backward(on_fake):
    arrays = numbers((2, 3, 4)), numbers((5, 4)), numbers((5,))
    for there, here in zip(
        gradients(cr.nn.functional.linear, *arrays, device="fake"),
        gradients(cr.nn.functional.linear, *arrays, device="cpu"), strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(there, here, rtol=1e-12)
    calls = on_fake.library.entries.calls
    assert [(one.epilogue.name, one.batch) for one in calls] == [("BIAS", 1), ("DEFAULT", 1), ("BGRADB", 1)]


@pytest.mark.parametrize("shape", [(3, 0), (0, 4), (2, 3, 0)])
def test_a_linear_layer_without_inputs_has_a_gradient_of_its_bias(on_fake, shape):
    arrays = numbers(shape), numbers((5, shape[-1])), numbers((5,))
    for there, here in zip(
        gradients(cr.nn.functional.linear, *arrays, device="fake"),
        gradients(cr.nn.functional.linear, *arrays, device="cpu"),
        strict=True,
    ):
        np.testing.assert_allclose(there, here, rtol=1e-5)


def test_a_linear_layer_where_the_library_adds_up_no_biases(on_fake):
    on_fake.library.entries.refuse = lambda description, layouts: (
        description[Desc.EPILOGUE] > Epilogue.DEFAULT
    )
    arrays = numbers((6, 4)), numbers((5, 4)), numbers((5,))
    for there, here in zip(
        gradients(cr.nn.functional.linear, *arrays, device="fake"),
        gradients(cr.nn.functional.linear, *arrays, device="cpu"), strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(there, here, rtol=1e-12)


def test_a_linear_map_and_relu_take_one_pass(on_fake):
    arrays = numbers((2, 3, 4)), numbers((5, 4)), numbers((5,))
    here = gradients(linear_activation, *arrays, device="cpu")
    for most, first in ((1 << 10, Epilogue.RELU_BIAS), (1, Epilogue.DEFAULT)):
        on_fake.library.entries.refuse = lambda description, layouts, most=most: (
            description[Desc.EPILOGUE] > most
        )
        on_fake._plans.clear()
        on_fake.library.entries.calls.clear()
        for there, one in zip(gradients(linear_activation, *arrays, device="fake"), here, strict=True):
            np.testing.assert_allclose(there, one, rtol=1e-12, atol=1e-15)
        assert on_fake.library.entries.calls[0].epilogue == first
    with pytest.raises(ValueError, match="kind must be"):
        linear_activation(cr.ones(2, 3), cr.ones(4, 3), kind="tanh")
    with pytest.raises(RuntimeError, match=r"linear_activation: an input of shape \(2, 3\)"):
        linear_activation(cr.ones(2, 3), cr.ones(4, 2))


def test_16_bit_floats_are_multiplied_as_they_are(on_fake):
    a, b = numbers((2, 4, 3), "float16"), numbers((2, 3, 5), "float16")
    for function in (cr.matmul, lambda a, b: cr.einsum("bij,bjk->bik", a, b)):
        for there, here in zip(gradients(function, a, b, device="fake"), gradients(function, a, b, device="cpu"), strict=True):  # fmt: skip
            np.testing.assert_allclose(there, here, atol=2e-2)
    told = {one[1][LayoutPart.TYPE] for one in on_fake.library.entries.algorithms.values()}
    assert told == {cublaslt.DataType.R_16F} and len(on_fake.library.entries.calls) == 6


def test_products_are_captured_and_replayed(on_fake):
    layers = (
        cr.nn.Sequential(cr.nn.Linear(4, 8), cr.nn.Tanh(), cr.nn.Linear(8, 3))
        .to("fake")
        .requires_grad_(False)
    )
    x = cr.tensor(numbers((5, 4), "float32"), device="fake")
    layers(x)
    with FakeCapture(get("fake")) as graph:
        y = layers(x)
    for seed in range(2):
        x.copy_(cr.tensor(numbers((5, 4), "float32", seed), device="fake"))
        expected = layers(x).cpu().numpy()
        graph.replay()
        np.testing.assert_array_equal(y.cpu().numpy(), expected)
    with pytest.raises(RuntimeError, match="run the step once"), FakeCapture(get("fake")):
        layers(x[:2])


# --- the binding, on NVIDIA's library ---


@pytest.fixture(scope="module")
def library():
    try:
        return cublaslt.load()
    except cublaslt.CublasError as error:
        pytest.skip(str(error))


def test_the_real_library_takes_the_descriptors(library):
    assert library.version >= cublaslt.OLDEST and len(library.version_text.split(".")) == 3
    made = cublaslt.Description(library, cublaslt.ComputeType.F32, cublaslt.DataType.R_32F)
    assert made[Desc.COMPUTE_TYPE] == cublaslt.ComputeType.F32 and made[Desc.EPILOGUE] == Epilogue.DEFAULT
    values = {
        Desc.SCALE_TYPE: cublaslt.DataType.R_32F, Desc.POINTER_MODE: 0, Desc.TRANSA: 1, Desc.TRANSB: 1,
        Desc.BIAS_POINTER: 1 << 40, Desc.BIAS_BATCH_STRIDE: 3, Desc.EPILOGUE_AUX_POINTER: 1 << 41, Desc.EPILOGUE_AUX_LD: 128,
        Desc.EPILOGUE_AUX_BATCH_STRIDE: 1 << 33, Desc.BIAS_DATA_TYPE: cublaslt.DataType.R_16BF,
    }  # fmt: skip
    for part, value in values.items():
        made[part] = value
        assert made[part] == value, part
    for epilogue in (
        "BIAS",
        "RELU",
        "RELU_AUX_BIAS",
        "GELU_AUX_BIAS",
        "DRELU_BGRAD",
        "DGELU_BGRAD",
        "DGELU",
        "DRELU",
        "BGRADA",
        "BGRADB",
    ):
        made[Desc.EPILOGUE] = Epilogue[epilogue]
        assert made[Desc.EPILOGUE] == Epilogue[epilogue]
    layout = cublaslt.Layout(library, cublaslt.DataType.R_16BF, 5, 7, 9, 3, 0)
    assert {part.name: layout[part] for part in LayoutPart} == {
        "TYPE": 14, "ORDER": 0, "ROWS": 5, "COLS": 7, "LD": 9, "BATCH_COUNT": 3, "STRIDED_BATCH_OFFSET": 0,
    }  # fmt: skip
    preference = cublaslt.Preference(library)
    for part in Pref:
        assert preference[part] == fake_cublaslt._DEFAULTS["MatmulPreference"][part]
        preference[part] = 1
        assert preference[part] == 1
    status = library.entries.cublasLtMatmulDescSetAttribute(
        made.pointer, Desc.EPILOGUE, ctypes.byref(ctypes.c_int64()), 8
    )
    with pytest.raises(cublaslt.CublasError, match=r"invalid value \(7\) for EPILOGUE"):
        library.check("cublasLtMatmulDescSetAttribute", status, "EPILOGUE")


def test_the_stand_in_has_the_real_librarys_defaults(library):
    fake = cublaslt.Library(fake_cublaslt.FakeCublasLt())
    for make in (
        lambda of: cublaslt.Description(of, cublaslt.ComputeType.F64, cublaslt.DataType.C_64F),
        lambda of: cublaslt.Layout(of, cublaslt.DataType.C_64F, 3, 4, 5),
        cublaslt.Preference,
    ):
        real, stand_in = make(library), make(fake)
        for part in fake.entries.objects[stand_in.pointer][1]:
            assert real[part] == stand_in[part], part


def test_without_a_card_the_real_library_says_so(library):
    try:
        library.handle()
    except cublaslt.CublasError as error:
        assert "cublasLtCreate: not initialized" in str(error) and error.status == 1
    else:
        pytest.skip("there is a card")


def test_a_library_that_is_too_old_is_refused():
    old = fake_cublaslt.FakeCublasLt()
    old.version = 111103
    with pytest.raises(cublaslt.CublasError, match=r"11\.11\.3 is too old; 12\.0"):
        cublaslt.Library(old)
    with pytest.raises(cublaslt.CublasError, match=r"cublasLtMatmul: execution failed \(13\) for a @ b"):
        cublaslt.Library(fake_cublaslt.FakeCublasLt()).check("cublasLtMatmul", 13, "a @ b")


def test_how_an_arrangement_is_found():
    assert gemm_layout.matrix(3, 4, 4, 1) == (4, False) and gemm_layout.matrix(3, 4, 1, 3) == (3, True)
    assert gemm_layout.matrix(3, 4, 0, 1) is None and gemm_layout.matrix(3, 4, 8, 2) is None
    assert gemm_layout.matrix(1, 4, 0, 1) == (4, False) and gemm_layout.matrix(1, 4, 0, 6) == (6, True)
    assert gemm_layout.matrix(3, 4, 2, 1) is None  # rows that overlap


# --- CuPy's own arrays and streams, in memory of the host ---

ON_CUPY = """
from tests.kernels import cupy_without_card
backend = cupy_without_card.connect()
import cupy, numpy as np
import chainrule as cr
from chainrule.backends import backend as backends, gemm, gemm_kernels, gemm_place, precision_settings
from chainrule.backends.cublaslt import Library
from chainrule.backends.cupy_namespace import Namespace
from tests.kernels.fake_cublaslt import FakeCublasLt

assert "cublasLtCreate: not initialized" in backend.why_no_gemm, backend.why_no_gemm
multiply = gemm.Gemm(Library(FakeCublasLt()), gemm_place.CupyPlace(cupy), precision_settings.matmul)
gemm_kernels.install(backend, multiply, None)
backend._xp = Namespace(cupy, multiply)
backends.adopt(backend)
x, w, b, g = (np.cos(np.arange(n * m) + n).reshape(n, m).astype("float32") for n, m in ((3, 4), (5, 4), (1, 5), (3, 5)))
inputs = [cr.tensor(one).to("cuda").requires_grad_() for one in (x, w, b[0])]
y = cr.nn.functional.linear(*inputs)
y.backward(cr.tensor(g).to("cuda"))
for there, here in zip((y.detach(), *(one.grad for one in inputs)), (x @ w.T + b, g @ w, g.T @ x, g.sum(0)), strict=True):
    np.testing.assert_allclose(there.cpu().numpy(), here, rtol=1e-5, atol=1e-6)
names = [one.epilogue.name for one in multiply.library.entries.calls]
assert names == ["BIAS", "DEFAULT", "BGRADB"], names
half = cr.tensor(x).to("cuda").bfloat16()
assert (half @ half.T).dtype == cr.bfloat16 and multiply.place.stream() == 0
with cupy.cuda.Stream(non_blocking=True) as stream:
    assert multiply.place.stream() == stream.ptr and not multiply.place.capturing()
    block, address = multiply.place.memory(1 << 20)
    assert address == block.ptr and address % 256 == 0
    matrix = cupy.asarray(x)
    stream.begin_capture()
    try:
        multiply(matrix.T, matrix)
    except RuntimeError as error:
        assert "run the step once" in str(error)
    else:
        raise AssertionError("multiplied")
    stream.end_capture()
assert multiply.place.time(lambda: None) >= 0
"""


@pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None or shutil.which("gcc") is None,
    reason="CuPy or gcc is not installed",
)
def test_what_is_asked_of_cupy_is_there():
    root = Path(__file__).parent.parent
    code = f"import sys; sys.path.insert(0, {str(root)!r})\n{ON_CUPY}"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
