"""`chainrule.numpy`: every name against NumPy's own, called in three ways, with its gradient."""

import inspect

import numpy as np
import pytest

import chainrule as cr
import chainrule.numpy as cnp

RNG = np.random.default_rng(3)
VALUES = {
    "A": RNG.permutation(12).reshape(3, 4) * 0.37 - 2.1,
    "B": RNG.permutation(12).reshape(3, 4) * 0.41 - 1.9,
    "P": RNG.uniform(0.5, 2, (3, 4)),
    "U": RNG.uniform(-0.8, 0.8, (3, 4)),
    "M": RNG.standard_normal((3, 3)) + 3 * np.eye(3),
    "N": RNG.standard_normal((4, 2)),
    "T": RNG.standard_normal((2, 3, 4)),
    "v": RNG.permutation(4) * 0.7 - 1.1,
    "w": RNG.standard_normal(3),
    "s": np.array(0.8),
    "W": np.array([[1.0, np.nan, 2.0], [4.0, -1.0, np.nan]]),
}
SYMMETRIC = VALUES["M"] @ VALUES["M"].T
CONSTANTS = {
    "S": SYMMETRIC,
    "I": np.arange(12).reshape(3, 4) - 4,
    "J": RNG.integers(1, 5, (3, 4)),
    "C": RNG.standard_normal((3, 3)) + 1j * RNG.standard_normal((3, 3)),
    "L": VALUES["A"] > 0,
    "infinite": np.array([1.0, -np.inf, np.inf, np.nan]),
    "index": np.array([[2, 0, 1, 1]]),
    "PI": np.pi,
}
SPECIAL = {"E": SYMMETRIC}  # constants by another letter, where a gradient is checked through S only

SMOOTH = """
array(A) | array([v, v]) | array(v, ndmin=2) | asarray(A) | asanyarray(A) | ascontiguousarray(A.T) | copy(A) | full((2, 3), s)
full_like(A, s) | linspace(s, v, 5) | linspace(s, 3.0, 4, endpoint=False) | logspace(s, 2.0, 4) | logspace(0, s, 3, base=2.0)
geomspace(P, 5.0, 3) | meshgrid(v, w) | meshgrid(v, w, indexing="ij") | diag(v) | diag(M, 1) | diag(v, -2) | diagflat(A, 1) | vander(w)
vander(w, 2, increasing=True)
abs(A) | absolute(A) | fabs(A) | negative(A) | positive(A) | square(A) | sign(A) | floor(A) | ceil(A) | trunc(A) | fix(A) | rint(A)
round(A) | round(P, 1) | around(A, decimals=2) | sqrt(P) | reciprocal(P) | exp(A) | exp2(A) | expm1(A) | log(P) | log2(P) | log10(P)
log1p(P) | sin(A) | cos(A) | tan(U) | sinh(A) | cosh(A) | tanh(A) | arcsin(U) | arccos(U) | arctan(A) | arcsinh(A) | arccosh(P + 1)
arctanh(U) | asin(U) | acos(U) | atan(A) | asinh(A) | acosh(P + 1) | atanh(U) | sin(A, dtype=float) | conj(A) | conjugate(A) | real(A)
imag(A) | angle(A + 1j * P) | angle(A + 1j * P, deg=True) | deg2rad(A) | rad2deg(A) | radians(A) | degrees(A) | sinc(A) | nan_to_num(A)
add(A, v) | add(A, 2) | add(2.5, A) | subtract(A, B) | multiply(A, v) | divide(A, P) | true_divide(1, P) | floor_divide(A, P)
remainder(A, P) | mod(A, P) | fmod(A, P) | power(P, B) | power(P, 3) | pow(P, 1.5) | float_power(P, 2) | maximum(A, B) | minimum(A, 0.1)
fmax(A, B) | fmin(A, B) | logaddexp(A, B) | logaddexp2(A, B) | arctan2(A, B) | atan2(A, P) | hypot(A, P) | copysign(A, B)
heaviside(A, 0.5) | clip(A, -1, 1.2) | clip(A, None, 0.7) | clip(A, v - 0.6, P + 0.5) | clip(A, min=-1.0) | where(L, A, v)
where(L, A, 0.0) | astype(A, float)
sum(A) | sum(A, 0) | sum(A, axis=(0, 1)) | sum(A, axis=-1, keepdims=True) | sum(T, axis=(0, 2)) | prod(A) | prod(A, 1) | prod(T, axis=(0, 2))
mean(A) | mean(A, 1, keepdims=True) | average(A) | average(A, 0) | average(A, axis=1, weights=[1, 2, 3, 4]) | average(A, weights=P)
var(A) | var(A, 0) | var(A, axis=(0, 1), ddof=1) | std(A) | std(A, axis=1, ddof=1, keepdims=True) | max(A) | max(A, axis=0) | min(A)
min(A, axis=(0, 1)) | amax(A, 1, keepdims=True) | amin(A) | ptp(A) | ptp(A, axis=1) | median(A) | median(A, axis=0) | median(T, axis=(0, 2))
median(A, axis=1, keepdims=True) | quantile(A, 0.3) | quantile(A, [0.1, 0.9], axis=1) | quantile(T, [0.2, 0.5], axis=(0, 1), keepdims=True)
percentile(A, 35, axis=0) | percentile(A, [5, 50]) | cumsum(A) | cumsum(A, axis=1) | cumprod(A, 0) | cumprod(A) | diff(A) | diff(A, 2, axis=0)
diff(A, prepend=1.0, append=v[None, :1] + A[:, :1]) | trapezoid(A) | trapezoid(A, dx=0.5, axis=0) | trapezoid(A, x=[0.0, 1.0, 1.5, 3.0])
trapezoid(A, A * 2.0, axis=0) | cov(A) | cov(A, B) | cov(A, rowvar=False, bias=True) | cov(A, ddof=0, aweights=[1.0, 2, 3, 4]) | corrcoef(A)
corrcoef(v, B[0]) | sort(A) | sort(A, axis=0) | sort(A, axis=None) | nansum(A) | nanmean(A, axis=0)
dot(A, N) | dot(v, v) | dot(T, N) | dot(s, A) | dot(A, 2.0) | vdot(A, B) | inner(A, B) | inner(v, A) | outer(A, w) | matmul(A, N) | matmul(T, N)
matmul(v, N) | vecdot(A, v) | matvec(T, v) | vecmat(w, M) | tensordot(A, N, axes=1) | tensordot(A, B) | tensordot(A, T, axes=([0, 1], [1, 2]))
tensordot(A, T, axes=(0, 1)) | einsum("ij,jk->ik", A, N) | einsum("ij,ij", A, B) | einsum("...i->...", T) | einsum("ii", M) | kron(M, N)
kron(v, A) | cross(M, flip(M, 0)) | cross(M, w, axis=0) | cross(M, M + A[:, :3], 0, 1, 1) | trace(M) | trace(T, 1, axis1=1, axis2=2)
reshape(A, (4, 3)) | reshape(A, -1) | ravel(T) | transpose(A) | transpose(T, (1, 2, 0)) | permute_dims(T, (2, 0, 1)) | matrix_transpose(T)
swapaxes(T, 0, -1) | moveaxis(T, 0, -1) | moveaxis(T, (0, 1), (2, 0)) | expand_dims(A, 1) | expand_dims(A, (0, -1)) | squeeze(A[:1])
squeeze(A[:1], axis=0) | broadcast_to(v, (2, 4)) | broadcast_arrays(A, v) | atleast_1d(s) | atleast_2d(v) | atleast_3d(A) | atleast_3d(v)
concatenate([A, B]) | concatenate((A, B), axis=1) | concatenate([A, v], axis=None) | concat([v, w]) | stack([A, B], axis=-1) | vstack([v, A])
hstack([v, w]) | hstack([A, B]) | dstack([A, B]) | column_stack([w, A]) | append(A, v) | append(A, B, axis=0) | split(A, 2, axis=1)
split(v, [1, 3]) | array_split(v, 3) | array_split(A, [1], axis=1) | hsplit(A, 2) | hsplit(v, 2) | vsplit(A, 3) | dsplit(T, 2) | tile(A, 2)
tile(v, (2, 3)) | repeat(A, 2) | repeat(A, 3, axis=1) | repeat(A, [1, 0, 2], axis=0) | roll(A, 2) | roll(A, 1, axis=0) | roll(A, (1, 2), axis=(0, 1))
flip(A) | flip(A, 0) | flip(A, (0, 1)) | fliplr(A) | flipud(A) | rot90(A) | rot90(A, 2) | rot90(A, 3) | rot90(T, -1, axes=(1, 2)) | rot90(A, 4)
pad(A, 1) | pad(A, ((1, 2), (0, 1))) | pad(A, (1, 2), constant_values=3.0) | pad(A, 2, mode="edge") | pad(A, 2, "reflect")
pad(A, 1, "symmetric") | pad(A, ((0, 0), (3, 1)), mode="wrap") | tril(A) | tril(A, -1) | triu(A, 1) | diagonal(A) | diagonal(T, 1, 1, 2)
take(A, [0, 3, -1]) | take(A, [[2, 0]], axis=0) | take_along_axis(A, index, axis=0) | take_along_axis(A, index - 2, axis=0)
take_along_axis(A, array([0, 5]), axis=None) | compress([True, False, True], A, axis=0) | extract(L, A)
linalg.inv(M) | linalg.det(M) | linalg.slogdet(M) | linalg.solve(M, w) | linalg.solve(M, A) | linalg.lstsq(A.T, v)[:2] | linalg.lstsq(A.T, N)[:2]
linalg.cholesky(M @ M.T) | linalg.cholesky(M @ M.T, upper=True) | linalg.qr(M, "r") | linalg.svd(A, compute_uv=False) | linalg.svdvals(A)
linalg.eigvalsh(M + M.T) | linalg.pinv(A) | linalg.cond(M) | linalg.matrix_power(M, 3) | linalg.matrix_power(M, -2) | linalg.norm(A) | linalg.norm(A, 1)
linalg.norm(A, axis=0) | linalg.norm(v, 3) | linalg.norm(A, "nuc") | linalg.norm(A, 2, axis=(0, 1), keepdims=True) | linalg.vector_norm(A, axis=1, ord=3)
linalg.matrix_norm(T) | linalg.multi_dot([A, N, N.T]) | linalg.tensorinv(M, ind=1) | linalg.tensorsolve(M, w) | linalg.diagonal(T, offset=1)
linalg.trace(T) | linalg.matmul(M, M) | linalg.outer(v, w) | linalg.cross(M, flip(M, 0)) | linalg.vecdot(A, B) | linalg.matrix_transpose(A)
linalg.tensordot(A, N, axes=1)
fft.fft(A) | fft.fft(A, 3, axis=0) | fft.ifft(A, norm="ortho") | fft.rfft(A) | fft.irfft(fft.rfft(A), 4) | fft.hfft(A, 5) | fft.ihfft(A) | fft.fft2(A)
fft.ifft2(A) | fft.rfft2(A) | fft.irfft2(A, s=(3, 4), axes=(0, 1)) | fft.fftn(T) | fft.fftn(T, axes=(0, 2)) | fft.ifftn(T, norm="forward") | fft.rfftn(T)
fft.irfftn(T, (2, 3, 5), (0, 1, 2)) | fft.fftshift(A) | fft.ifftshift(A, axes=1)
"""

# Without a gradient: integers, bools, NaNs, complex numbers, creation from nothing.
PLAIN = """
zeros(3) | zeros((2, 3), dtype=int) | ones((2,)) | full((2,), 7) | full((2, 4), [1.0, 2, 3, 4]) | zeros_like(I) | ones_like(A, dtype=int) | full_like(I, 2)
arange(5) | arange(1.0, 2.0, 0.25) | arange(3, dtype=float) | linspace(0, 1, 5) | linspace(0, 10, 4, endpoint=False, dtype=int) | logspace(0, 2, 3)
geomspace(1, 1000, 4) | eye(3) | eye(2, 4, 1) | eye(3, k=-1, dtype=int) | identity(3) | tri(3) | tri(2, 4, -1) | array([1, 2]) | array([[1.0, 2], [3, 4]])
array([True, False]) | array(2.5) | array([1, 2], dtype=float) | asarray([1j]) | asarray([1.0, 2], dtype="float32") | sin(I) | sin([1.0, 2.0]) | sqrt(J)
sum(I) | sum(L, axis=0) | sum([1, 2, 3]) | mean(I, axis=0) | std(I) | var(J, 1) | prod(J, 0) | cumsum(L) | median(I) | divide(I, J) | add(I, J) | add(I, 1.5)
add(1.0, 2) | multiply(I, 2) | floor_divide(I, J) | remainder(I, J) | power(J, J) | floor(A) | abs(I) | maximum(I, J) | average(I) | dot(I, J.T) | matmul(I, A.T)
argmax(A) | argmax(A, axis=1) | argmin(A, 0, keepdims=True) | argsort(A) | argsort(A, axis=0) | argsort(A, axis=None) | all(L) | all(L, axis=0)
any(L, axis=1, keepdims=True) | count_nonzero(L) | count_nonzero(I, axis=0) | equal(I, J) | not_equal(I, 0) | less(A, B) | less_equal(A, 0.5) | greater(A, B)
greater_equal(I, J) | logical_and(L, I) | logical_or(L, False) | logical_xor(L, L) | logical_not(I) | bitwise_and(I, J) | bitwise_or(I, 1)
bitwise_xor(I, J) | bitwise_not(I) | bitwise_invert(I) | invert(L) | isnan(infinite) | isinf(infinite) | isfinite(infinite) | isposinf(infinite)
isneginf(infinite) | signbit(A) | isclose(A, A + 1e-9) | isclose(infinite, infinite, equal_nan=True) | allclose(A, A) | allclose(A, B) | array_equal(A, A)
array_equal(A, v) | array_equal(infinite, infinite, equal_nan=True) | nan_to_num(infinite) | nan_to_num(infinite, nan=1.0, posinf=2.0, neginf=3.0)
iscomplexobj(C) | isrealobj(A) | ndim(T) | shape(T) | size(T) | size(T, 1) | nonzero(I) | argwhere(L) | flatnonzero(I) | where(L) | real(C) | imag(C)
conj(C) | angle(C) | abs(C) | exp(C) | maximum(infinite, 0.0) | fmax(infinite, 0.0) | fmin(infinite, [0.0, 1, 2, 3]) | nansum(W) | nansum(W, axis=0)
nanprod(W, 1) | nanmean(W) | nanmean(W, axis=0, keepdims=True) | nanvar(W, ddof=1) | nanstd(W, axis=1) | nanmax(W, axis=0) | nanmin(W) | clip(infinite, -1, 1)
clip(I, 0, 3) | clip(infinite, [0.0, 0, 0, 0], 1.0) | sort(infinite) | median(infinite) | diff(L) | round(I) | astype(I, float) | linalg.lstsq(A.T, v) | linalg.lstsq(S, S) | linalg.matrix_rank(S) | linalg.matrix_rank(A, tol=1e-3)
linalg.inv([[2, 0], [0, 4]]) | linalg.det(C) | linalg.norm(I) | linalg.cond(S, 1) | fft.fft(I) | fft.fft(C) | fft.fftfreq(5, 0.1) | fft.rfftfreq(6)
fft.fft(I, n=5) | einsum("ij,jk", C, C) | vdot(C, C) | kron(I, I[:1]) | trace(I) | outer(I, J) | cross([1, 0, 0], [0, 1, 0]) | stack([I, J]) | concatenate([I, A])
hstack([I, J]) | tile(L, 2) | pad(I, 1) | pad(I, 1, "edge") | roll(L, 1) | tril(I) | take(I, 3) | copysign(1.0, -2.0) | hypot(3, 4) | heaviside(infinite, 0.0)
logaddexp(-inf, -inf) | arctan2(0.0, -1.0) | multiply(C, 2) | rint(I)
"""

# Compared through what they rebuild, for they are not unique, or not compared at all.
APART = {"empty", "empty_like", "linalg.eigvals", "linalg.qr", "linalg.svd", "linalg.eigh", "linalg.eig"}
CONSTANT_NAMES = "bool_ complex64 complex128 e fft float16 float32 float64 inf int8 int16 int32 int64 linalg nan newaxis pi uint8"


def listed(text):
    return [one.strip() for line in text.strip().splitlines() for one in line.split(" | ")]


def evaluated(expression, library, values):
    """The expression with a library's names and these values."""
    names = {"inf": np.inf, **{name: getattr(library, name, None) for name in cnp.__all__ if name[0] != "_"}}
    return eval(expression, {**names, **values, "float": float, "int": int})


def tensors(arrays, requires_grad=False, device=None):
    return {
        name: cr.tensor(one, requires_grad=requires_grad, device=device)
        if isinstance(one, np.ndarray)
        else one
        for name, one in arrays.items()
    }


def parts(result):
    return [part for one in result for part in parts(one)] if isinstance(result, (tuple, list)) else [result]


def host(one):
    return one.detach().numpy() if isinstance(one, cr.Tensor) else np.asarray(one)


def same(ours, theirs, names_dtype=True):
    ours, theirs = parts(ours), parts(theirs)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert host(one).shape == np.shape(other)
        np.testing.assert_allclose(host(one), other, rtol=1e-11, atol=1e-12)
        if names_dtype and isinstance(other, (np.ndarray, np.generic)):
            # The sums and small counts that NumPy gives as int32 or uint64 are int64 here.
            assert host(one).dtype == other.dtype or {host(one).dtype.kind, other.dtype.kind} <= {"i", "u"}


@pytest.fixture(autouse=True)
def silent():
    with np.errstate(all="ignore"):
        yield


@pytest.mark.filterwarnings("ignore")  # NumPy's own
@pytest.mark.parametrize("expression", listed(SMOOTH) + listed(PLAIN))
def test_values_and_dtypes_are_numpys(expression):
    arrays = {**VALUES, **CONSTANTS}
    want = evaluated(expression, np, arrays)
    same(evaluated(expression, cnp, tensors(arrays)), want)
    same(evaluated(expression, cnp, arrays), want)  # array-likes are taken too
    if any(name in compile(expression, "", "eval").co_names for name in arrays):
        # NumPy's own functions, called on Tensors.
        name = expression.partition("(")[0]
        if name in ("array", "asarray", "asanyarray", "ascontiguousarray", "full", "logspace", "isrealobj"):
            return  # NumPy does not ask its arguments here; ndim, shape and size ask the Tensor
        same(evaluated(expression, np, tensors(arrays)), want)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("expression", listed(SMOOTH))
def test_gradients_flow(expression):
    """d/dx of a weighted sum of the outputs, against central differences along one direction."""
    names = [one for one in compile(expression, "", "eval").co_names if one in VALUES]
    rng = np.random.default_rng(0)
    directions = {name: rng.standard_normal(VALUES[name].shape) for name in names}

    def total(result):
        out = 0.0
        for one in parts(result):
            if not isinstance(one, cr.Tensor) or not (one.dtype.is_floating_point or one.dtype.is_complex):
                continue
            one = cnp.real(one) + 0.5 * cnp.imag(one)
            out = (
                out
                + (
                    one
                    * cr.tensor(
                        np.cos(1.0 + np.arange(one.numel())).reshape(tuple(one.shape)), device=one.device
                    )
                ).sum()
            )
        return out

    def value(shift):
        moved = {name: VALUES[name] + shift * directions[name] for name in names}
        return total(evaluated(expression, cnp, tensors({**VALUES, **CONSTANTS, **moved}))).item()

    leaves = tensors({name: VALUES[name] for name in names}, requires_grad=True)
    loss = total(evaluated(expression, cnp, {**tensors({**VALUES, **CONSTANTS}), **leaves}))
    assert loss.requires_grad or expression.startswith("imag"), "the graph was lost"
    grads = (
        cr.autograd.grad(loss, list(leaves.values()), materialize_grads=True) if loss.requires_grad else []
    )
    slope = sum((host(g) * directions[name]).sum() for name, g in zip(leaves, grads, strict=False))
    eps = 1e-6
    expected = (value(eps) - value(-eps)) / (2 * eps)
    assert abs(slope - expected) <= 1e-6 * max(1.0, abs(expected), abs(value(0.0)))


@pytest.mark.parametrize("expression", listed(SMOOTH))
def test_values_off_the_cpu(expression):
    """On a device that takes no host array by accident; array-likes among the arguments go there."""
    arrays = {**VALUES, **CONSTANTS}
    here = evaluated(expression, cnp, tensors(arrays))
    there = evaluated(expression, cnp, tensors(arrays, device="fake"))
    for one, other in zip(parts(here), parts(there), strict=True):
        if isinstance(one, cr.Tensor):
            assert other.device.type == "fake"
            np.testing.assert_allclose(host(other.cpu()), host(one), rtol=1e-12, atol=1e-13)


def test_every_name_is_tested():
    used = {name for one in listed(SMOOTH) + listed(PLAIN) for name in [one.partition("(")[0]]}
    used |= {f"linalg.{n}" for n in ("LinAlgError",)} | APART | set(CONSTANT_NAMES.split())
    every = {
        *cnp.__all__,
        *(f"linalg.{n}" for n in cnp.linalg.__all__),
        *(f"fft.{n}" for n in cnp.fft.__all__),
    }
    assert every - used == set()
    for name in every:  # and every name is NumPy's
        module, _, last = name.rpartition(".")
        assert hasattr(getattr(np, module) if module else np, last), name


def test_arguments_are_numpys_in_numpys_order():
    """What NumPy's signature has before an argument we lack may be given by position; the rest by keyword."""
    for part in ("", "linalg", "fft"):
        ours = getattr(cnp, part) if part else cnp
        theirs = getattr(np, part) if part else np
        for name in ours.__all__:
            function = getattr(theirs, name)
            if not inspect.isfunction(getattr(ours, name)) or isinstance(function, np.ufunc):
                continue
            try:
                signature = inspect.signature(function)
            except ValueError:
                continue
            known = ["start" if one == "start_or_stop" else one for one in signature.parameters]
            mine = list(inspect.signature(getattr(ours, name)).parameters.values())
            named = [one.name for one in mine if one.kind not in (one.VAR_POSITIONAL, one.POSITIONAL_ONLY)]
            only_ours = {"array_split": {"axis"}, "fftfreq": {"device"}, "rfftfreq": {"device"}}.get(
                name, set()
            )
            if name != "fix" and "args" not in known and "kwargs" not in known:
                assert set(named) <= {*known, *only_ours}, name
            places = [
                known.index(one.name)
                for one in mine
                if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.name in known
            ]
            assert places == list(range(len(places))), f"{name}: {named} against {known}"


def test_factorisations_rebuild_the_matrix():
    m, s = cr.tensor(VALUES["M"], requires_grad=True), cr.tensor(SYMMETRIC)
    q, r = np.linalg.qr(m)
    u, d, vh = np.linalg.svd(m)
    values, vectors = np.linalg.eigh(s)
    roots, sides = np.linalg.eig(s)
    for rebuilt in (q @ r, (u * d) @ vh):
        np.testing.assert_allclose(host(rebuilt), VALUES["M"], atol=1e-12)
        assert rebuilt.requires_grad
    np.testing.assert_allclose(host((vectors * values) @ vectors.T), SYMMETRIC, atol=1e-12)
    np.testing.assert_allclose(host(sides * roots), SYMMETRIC @ host(sides), atol=1e-12)
    assert cnp.empty((2, 3)).shape == (2, 3) and np.empty_like(s).shape == (3, 3)
    # NumPy's are real where all of them are; ours are complex always.
    np.testing.assert_allclose(np.sort(host(np.linalg.eigvals(s)).real), host(values), rtol=1e-12)
    assert issubclass(cnp.linalg.LinAlgError, Exception)
    with pytest.raises(cnp.linalg.LinAlgError):
        cnp.linalg.inv([[1.0, 2.0], [2.0, 4.0]])


def test_constants():
    assert (cnp.pi, cnp.e, cnp.inf, cnp.newaxis) == (np.pi, np.e, np.inf, None) and np.isnan(cnp.nan)
    assert cnp.zeros(2, dtype=cnp.int8).dtype is cr.int8 and cnp.zeros(1, bool).dtype is cr.bool
    assert cr.numpy is cnp


# NumPy called on Tensors


@pytest.mark.parametrize(
    "make", [np.ones(2), np.ones(2, np.float32), np.float64(2.0), np.float32(2), np.int64(2), np.array(2.0)]
)
@pytest.mark.cpu_only
def test_operators_with_arrays_and_numpy_scalars_on_both_sides(make):
    for operation in (
        lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b, lambda a, b: a**b, lambda a, b: a // b, lambda a, b: a % b,
    ):  # fmt: skip
        for dtype in (cr.float32, cr.float64):
            t = cr.tensor([3.0, 5.0], dtype=dtype, requires_grad=True)
            left, right = operation(make, t), operation(t, make)
            for found, want in ((left, operation(make, host(t))), (right, operation(host(t), make))):
                assert isinstance(found, cr.Tensor) and found.requires_grad
                np.testing.assert_allclose(host(found), want, rtol=1e-6)
            assert (
                left.dtype is right.dtype is (cr.float64 if make.ndim and make.dtype == np.float64 else dtype)
            )
    for compare in (lambda a, b: a < b, lambda a, b: a >= b, lambda a, b: a == b, lambda a, b: a != b):
        t = cr.tensor([1.0, 2.0])
        assert compare(make, t).tolist() == compare(make, host(t)).tolist()
    assert isinstance(np.ones((3, 2)) @ t, cr.Tensor) and (np.ones((3, 2)) @ t).shape == (3,)
    assert isinstance(np.array([True]) & cr.tensor([True]), cr.Tensor)


def test_an_array_is_not_changed_into_a_tensor_in_place():
    array = np.ones(2)
    with pytest.raises(TypeError, match=r"numpy.add: .*'out'.*in-place"):
        array += cr.tensor([1.0, 2.0], requires_grad=True)
    assert array.tolist() == [1.0, 1.0]


X = cr.tensor([1.0, 2.0, 3.0], requires_grad=True)
REFUSED = [
    (lambda: np.add(X, 1, out=np.ones(3)), "numpy.add: .*'out'.*chainrule.numpy.add"),
    (lambda: np.add(X, 1, where=[True, False, True]), "numpy.add: .*'where'"),
    (lambda: np.sum(X, out=np.ones(())), "numpy.sum: .*'out'.*chainrule.numpy.sum"),
    (lambda: np.sum(X, 0, None, np.ones(())), "numpy.sum: too many positional"),
    (lambda: np.sum(X, where=X > 1), "numpy.sum: .*'where'"),
    (lambda: np.add.reduce(X), "numpy.add.reduce .*chainrule.numpy.sum"),
    (lambda: np.multiply.reduce(X), "chainrule.numpy.prod"),
    (lambda: np.add.accumulate(X), "chainrule.numpy.cumsum"),
    (lambda: np.multiply.outer(X, X), "chainrule.numpy.outer"),
    (lambda: np.subtract.outer(X, X), r"subtract.outer.*detach\(\)"),
    (lambda: np.add.at(X, [0], 1), "numpy.add.at .*index_put.*accumulate=True"),
    (lambda: np.add.reduceat(X, [0, 1]), r"reduceat.*detach\(\)"),
    (lambda: np.spacing(X), r"numpy.spacing .*detach\(\)"),
    (lambda: np.convolve(X, X), r"numpy.convolve .*detach\(\)"),
    (lambda: np.linalg.qr(X, mode="raw"), "qr"),
    (lambda: np.meshgrid(X, sparse=True), "numpy.meshgrid: .*'sparse'"),
    (lambda: np.histogram(X), r"histogram.*detach\(\)"),
    (lambda: np.save("nowhere", X), r"detach\(\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_is_not_recorded_is_refused_by_name(call, message):
    with pytest.raises((TypeError, RuntimeError), match=message):
        call()


def test_uncovered_functions_name_chainrules_where_there_is_one():
    with pytest.raises(TypeError, match=r"numpy.block .*detach\(\)"):
        np.block([X, X])
    covered = {name for name in dir(np) if callable(getattr(np, name))}
    elsewhere = [
        name
        for name in ("unique", "bincount", "searchsorted", "nanmedian")
        if name in covered and callable(getattr(cr, name, None))
    ]
    for name in elsewhere:
        if name not in cnp.__all__:
            with pytest.raises(TypeError, match=f"numpy.{name} .*chainrule.{name}"):
                getattr(np, name)(*((X, X) if name == "searchsorted" else (X,)))


@pytest.mark.parametrize("call", [
    lambda: cnp.sum(X, axis=1), lambda: cnp.reshape(X, (2, 2)), lambda: cnp.concatenate([X, X[None]]), lambda: cnp.dot(X, cr.ones(2).double()),
    lambda: cnp.stack([X, X[:2]]), lambda: cnp.split(X, 2), lambda: cnp.array_split(X, 0), lambda: cnp.take(X, 7), lambda: cnp.sin("a"),
    lambda: cnp.array(["a"]), lambda: cnp.array([[1], [1, 2]]), lambda: cnp.zeros(-1), lambda: cnp.zeros("a"), lambda: cnp.pad(X, 1, "no"),
    lambda: cnp.quantile(X, 2.0), lambda: cnp.median(cnp.zeros(0)), lambda: cnp.where([True], X), lambda: cnp.moveaxis(X, (0,), (0, 0)),
    lambda: cnp.diff(X, -1), lambda: cnp.linalg.inv(X), lambda: cnp.fft.fft(X, 0), lambda: cnp.einsum("ij->z", X), lambda: cnp.cross(X, [1.0, 2.0]),
    lambda: cnp.average(X, weights=[1.0]), lambda: cnp.expand_dims(X, 5), lambda: cnp.max(cnp.zeros((0, 2))), lambda: cnp.rot90(X[None], axes=(0, 0)),
    lambda: cnp.arange(0, 5, 0), lambda: cnp.linspace(0, 1, -1), lambda: cnp.array(np.array(["2020-01-01"], "datetime64[D]")),
])  # fmt: skip
def test_bad_calls_are_refused(call):
    with pytest.raises((TypeError, ValueError, IndexError, RuntimeError)) as error:
        call()
    assert len(str(error.value)) > 15


# Arrays of every kind


@pytest.mark.cpu_only
def test_numpy_gets_no_array_from_a_tensor_that_requires_grad():
    with pytest.raises(RuntimeError, match=r"requires grad.*\.detach\(\)"):
        np.asarray(X)
    with pytest.raises(RuntimeError, match=r"\.detach\(\)"):
        np.array([X, X])
    assert np.asarray(X.detach()) is X.detach().numpy() or np.shares_memory(np.asarray(X.detach()), X.array)
    assert np.asarray(X.detach(), dtype=np.float32).dtype == np.float32
    copied = np.array(X.detach(), copy=True)
    assert not np.shares_memory(copied, X.array)


@pytest.mark.parametrize("make", [cr.tensor, cr.as_tensor, cr.asarray, cr.from_numpy, cnp.array, cnp.asarray])
def test_arrays_of_every_layout(make):
    base = np.arange(12.0).reshape(3, 4)
    for array in (
        base[::2, 1::2],
        base[::-1],
        base.T,
        base[:, ::-1][1:],
        np.asfortranarray(base),
        np.broadcast_to(base[0], (2, 4)),
        base[:0],
        base[1, 1:2],
    ):
        t = make(array)
        np.testing.assert_array_equal(t.numpy(), array)
        x = t.clone().requires_grad_()
        (x * make(array)).sum().backward()
        np.testing.assert_array_equal(x.grad.numpy(), array)
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    t = make(frozen)
    assert (t + 1).tolist() == [1.0, 2.0, 3.0]
    try:
        t.add_(1)
    except (ValueError, RuntimeError) as error:
        assert "read-only" in str(error)
    assert frozen.tolist() == [0.0, 1.0, 2.0]


SWAPPED = np.array([1.0, 2.0]).astype(np.dtype("f8").newbyteorder())


@pytest.mark.parametrize("make", [cr.tensor, cr.as_tensor, cr.asarray, cr.from_numpy, cnp.array, cnp.asarray])
def test_foreign_byte_order_is_right_or_refused(make):
    try:
        t = make(SWAPPED)
    except TypeError as error:
        assert "byte" in str(error)
        return
    assert t.dtype is cr.float64 and t.array.dtype.isnative and (t + 1).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("make", [cr.tensor, cr.as_tensor, cr.asarray, cr.from_numpy, cnp.array, cnp.asarray])
@pytest.mark.parametrize("array", [
    np.array(["a", "b"]), np.array([b"a"]), np.array([1, "a", None], dtype=object), np.array(["2020-01-01"], "datetime64[D]"),
    np.array([1], "timedelta64[s]"), np.zeros(2, [("x", float), ("y", int)]), np.array([1], np.uint64), np.array([1], np.uint16),
    np.array([1.0], np.longdouble), np.zeros(2, "V4"), np.ma.masked_array([1.0, 2.0], mask=[True, False]),
], ids=lambda a: type(a).__name__ + str(a.dtype))  # fmt: skip
def test_what_is_no_number_is_refused_by_name(make, array):
    with pytest.raises(TypeError) as error:
        make(array)
    text = str(error.value)
    assert str(array.dtype) in text or "mask" in text or array.dtype.name in text


# DLPack


@pytest.mark.parametrize("array", [
    np.arange(6.0), np.arange(12.0).reshape(3, 4)[::2, 1:], np.arange(12.0).reshape(3, 4).T, np.array(2.5), np.zeros((0, 3)), np.array([True, False]),
    np.arange(3, dtype=np.int8), np.arange(3, dtype=np.complex64), np.arange(5.0)[::-1],
], ids=["plain", "strided", "transposed", "0-d", "empty", "bool", "int8", "complex", "reversed"])  # fmt: skip
def test_dlpack_both_ways(array):
    t = cr.from_dlpack(array)
    np.testing.assert_array_equal(t.numpy(), array)
    assert t.array.dtype == array.dtype and (not array.size or np.shares_memory(t.numpy(), array))
    back = np.from_dlpack(t)
    np.testing.assert_array_equal(back, array)


def test_dlpack_with_pytorch(torch):
    for array in (
        np.arange(12.0).reshape(3, 4)[::2, 1:],
        np.array(2.5),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.arange(3, dtype=np.int16),
    ):
        array = array.copy(order="K") if not array.flags.writeable else array
        ours = cr.from_dlpack(torch.from_numpy(array))
        np.testing.assert_array_equal(ours.numpy(), array)
        theirs = torch.from_dlpack(cr.from_numpy(array))
        np.testing.assert_array_equal(theirs.numpy(), array)
        if array.size and array.dtype.kind == "f":
            ours.fill_(7.0)
            assert (array == 7.0).all() and (theirs == 7.0).all()
    with pytest.raises((RuntimeError, TypeError, BufferError)):
        cr.from_dlpack(torch.ones(2, requires_grad=True))


def test_dlpack_refusals():
    with pytest.raises(RuntimeError, match=r"requires grad.*\.detach\(\)"):
        np.from_dlpack(X)
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    try:
        t = cr.from_dlpack(frozen)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        assert "readonly" in str(error) or "read-only" in str(error)
    else:
        with pytest.raises((ValueError, RuntimeError), match="read-only"):
            t.add_(1)
        assert frozen.tolist() == [0.0, 1.0, 2.0]
    with pytest.raises(TypeError, match="from_dlpack"):
        cr.from_dlpack([1.0])


@pytest.mark.cpu_only
def test_dlpack_of_bfloat16_is_right_or_refused(torch):
    pytest.importorskip("ml_dtypes")
    try:
        t = cr.from_dlpack(torch.tensor([1.5, 2.0], dtype=torch.bfloat16))
    except (TypeError, RuntimeError, BufferError) as error:
        assert "bfloat16" in str(error)
    else:
        assert t.dtype is cr.bfloat16 and t.float().tolist() == [1.5, 2.0]
    try:
        back = torch.from_dlpack(cr.tensor([1.5, 2.0], dtype=cr.bfloat16))
    except (TypeError, RuntimeError, BufferError) as error:
        assert "bfloat16" in str(error)
    else:
        assert back.tolist() == [1.5, 2.0]
