"""Weight, spectral and orthogonal normalization as parametrizations (see `parametrize.py`): functions that register one."""

from chainrule.autograd.functions.arithmetic import where
from chainrule.autograd.functions.creation import eye, zeros_like
from chainrule.autograd.functions.draws import randn
from chainrule.autograd.functions.linalg import qr, solve
from chainrule.autograd.functions.linalg_factor import geqrf, householder_product
from chainrule.autograd.functions.linalg_products import matrix_exp
from chainrule.autograd.functions.reduction import norm
from chainrule.autograd.functions.shape import cat
from chainrule.autograd.modes import no_grad

from .. import functional as F
from ..module import Module
from .parametrize import register_parametrization


def norm_except(weight, dim):
    """The norms of the slices of `weight` along `dim`, which keeps its length; of all of it if dim is None or -1."""
    if dim is None or dim == -1:
        return norm(weight)
    return norm(weight, 2, [i for i in range(weight.ndim) if i != dim % weight.ndim], keepdim=True)


class _WeightNorm(Module):
    """w = g v / |v|, one length g for each slice along `dim`; from the pair (g, v). Salimans & Kingma (2016)."""

    def __init__(self, dim=0):
        super().__init__()
        self.dim = dim

    def forward(self, weight_g, weight_v):
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight):
        """w -> (|w|, w)"""
        return norm_except(weight, self.dim), weight


def weight_norm(module, name="weight", dim=0):
    """Train the length and the direction of a weight's slices along `dim` (None: of all of it) apart. Salimans & Kingma (2016).

    >>> sorted(dict(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)).named_parameters()))
    ['bias', 'parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    return register_parametrization(module, name, _WeightNorm(dim))


# The largest singular value sigma of a matrix W by power iteration: u = W v / |.|, v = W^T u / |.|, sigma = u^T W v, with unit vectors
# kept from step to step. Gradients go through W only, so that of sigma is u v^T. Miyato et al. (2018), algorithm 1.


def unit_vectors(matrix, eps):
    """Random u and v."""
    return [F.normalize(matrix.new_zeros(n).normal_(), dim=0, eps=eps) for n in matrix.shape]


@no_grad()
def power_steps(matrix, u, v, steps, eps):
    """Improve u and v in place."""
    for _ in range(steps):
        u.copy_(F.normalize(matrix @ v, dim=0, eps=eps))
        v.copy_(F.normalize(matrix.mT @ u, dim=0, eps=eps))


def largest(matrix, u, v):
    """u^T W v, with u and v as they are now."""
    return (u.clone() * (matrix @ v.clone())).sum()


def as_matrix(weight, dim):
    """The weight as a matrix with `dim` for its rows."""
    return weight.movedim(dim, 0).flatten(1)


class _SpectralNorm(Module):
    """w / sigma, sigma the largest singular value of w. Miyato et al. (2018)."""

    def __init__(self, weight, n_power_iterations=1, dim=0, eps=1e-12):
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(
                f"spectral_norm: dim must be from {-weight.ndim} to {weight.ndim - 1}, got {dim}"
            )
        if n_power_iterations <= 0:
            raise ValueError(f"spectral_norm: n_power_iterations must be positive, got {n_power_iterations}")
        self.dim, self.eps, self.n_power_iterations = dim % weight.ndim, eps, n_power_iterations
        if weight.ndim > 1:
            matrix = as_matrix(weight.detach(), self.dim)
            u, v = unit_vectors(matrix, eps)
            power_steps(matrix, u, v, 15, eps)
            self.register_buffer("_u", u)
            self.register_buffer("_v", v)

    def forward(self, weight):
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            power_steps(matrix, self._u, self._v, self.n_power_iterations, self.eps)
        return weight / largest(matrix, self._u, self._v)

    def right_inverse(self, value):
        """Any value: its own spectral norm will be divided out."""
        return value


def default_dim(module):
    """Which dimension of a layer's weight counts its outputs."""
    return 1 if getattr(module, "_transposed", False) else 0


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divide a weight by its largest singular value, found by power iteration while training. Miyato et al. (2018).

    dim: the dimension of the outputs; by default 0, and 1 for transposed convolutions. The weight is read as a matrix of its rows.

    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3), n_power_iterations=50)
    >>> round(cr.linalg.svdvals(layer.weight.detach())[0].item(), 3)
    1.0
    """
    weight = getattr(module, name, None)
    if weight is None:
        raise ValueError(f"spectral_norm: {type(module).__name__} has no parameter or buffer {name!r}")
    dim = default_dim(module) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


class _Orthogonal(Module):
    """An orthogonal matrix made from any; see `orthogonal`. `base` is the matrix that X = -1 (on the diagonal) stands for."""

    def __init__(self, weight, orthogonal_map, use_trivialization=True):
        super().__init__()
        self.orthogonal_map, self.shape = orthogonal_map, weight.shape
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X):
        wide = X.shape[-2] < X.shape[-1]
        X = X.mT if wide else X
        Q = _reflections(X) if self.orthogonal_map == "householder" else self._rotation(X)
        if "base" in self._buffers:
            Q = self.base @ Q
        return Q.mT if wide else Q

    def _rotation(self, X):
        """exp(A), or (1 - A/2)^-1 (1 + A/2), of the skew-symmetric A = L - L^H: L is X's lower triangle, beside it zeros."""
        n, k = X.shape[-2:]
        lower = F.pad(X.tril(), (0, n - k))
        A = lower - lower.mH
        if self.orthogonal_map == "matrix_exp":
            return matrix_exp(A)[..., :k]
        one = eye(n, dtype=A.dtype, device=A.device)
        return solve(one - A / 2, one + A / 2)[..., :k]

    def right_inverse(self, Q):
        """Start at `Q`, or at the orthogonal factor of its QR decomposition if it is not orthogonal."""
        if Q.shape != self.shape:
            raise ValueError(f"orthogonal: expected shape {tuple(self.shape)}, got {tuple(Q.shape)}")
        if "base" not in self._buffers:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    f"orthogonal: nothing can be assigned to {self.orthogonal_map!r} with use_trivialization=False"
                )
            return _reflectors_of(Q)
        tall = Q.mT if Q.shape[-2] < Q.shape[-1] else Q
        n, k = tall.shape[-2:]
        rest = randn(*tall.shape[:-2], n, n - k, dtype=Q.dtype, device=Q.device)
        self.base = _orthonormal(cat([tall, rest], -1))
        start = zeros_like(Q)
        start.diagonal(dim1=-2, dim2=-1).fill_(-1)
        return start


def _orthonormal(A):
    """Q of A = Q R with a positive diagonal of R: A itself where it is orthogonal."""
    Q, R = qr(A)
    return Q * R.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


def _reflections(X):
    """The product of Householder's reflections, whose vectors stand below the diagonal of X, times the signs on it."""
    A = X.tril(-1)
    tau = 2 / (1 + (A * A).sum(-2))
    return householder_product(A, tau) * X.diagonal(dim1=-2, dim2=-1).detach().unsqueeze(-2)


def _reflectors_of(Q):
    """X with `_reflections(X)` = the orthogonal factor of Q."""
    tall = Q.mT if Q.shape[-2] < Q.shape[-1] else Q
    A, tau = geqrf(tall)
    diagonal = A.diagonal(dim1=-2, dim2=-1)
    # Where LAPACK does without a reflection (tau = 0), -1 undoes the one that `_reflections` makes of a vector of zeros.
    diagonal.copy_(where(tau == 0, -diagonal.sign(), diagonal.sign()))
    return A.mT if Q.shape[-2] < Q.shape[-1] else A


def orthogonal(module, name="weight", orthogonal_map=None, *, use_trivialization=True):
    """Keep a weight (or each of a batch of matrices) orthogonal: its columns, or if there are fewer of them its rows, orthonormal.

    orthogonal_map: "matrix_exp" or "cayley" of a skew-symmetric matrix, or "householder", a product of reflections; by default the
    first for square and complex weights, the last otherwise. use_trivialization: the map is taken around the present weight (made
    orthogonal), which any weight then can be assigned to. Lezcano-Casado (2019); Householder: Golub & Van Loan, ch. 5.

    >>> q = nn.utils.parametrizations.orthogonal(nn.Linear(3, 5)).weight
    >>> bool(cr.allclose(q.mT @ q, cr.eye(3), atol=1e-5))
    True
    """
    weight = getattr(module, name, None)
    if weight is None or weight.ndim < 2:
        found = "nothing" if weight is None else f"shape {tuple(weight.shape)}"
        raise ValueError(f"orthogonal: expected a matrix or a batch of them as {name!r}, got {found}")
    if orthogonal_map is None:
        plain = weight.shape[-2] == weight.shape[-1] or weight.is_complex()
        orthogonal_map = "matrix_exp" if plain else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f"orthogonal: orthogonal_map must be 'matrix_exp', 'cayley' or 'householder', got {orthogonal_map!r}"
        )
    if orthogonal_map == "householder" and weight.is_complex():
        raise ValueError("orthogonal: 'householder' is for real weights; use 'matrix_exp' or 'cayley'")
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)
