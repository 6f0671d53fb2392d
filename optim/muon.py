"""Muon."""

import math

from chainrule.backends import namespaces

from .moments import average
from .optimizer import Optimizer


class Muon(Optimizer):
    """Momentum whose step, a matrix, is replaced by the nearest semi-orthogonal one: all its singular values near 1.

    With theta the n x m parameter, g its gradient, eta = lr, mu = momentum, lambda = weight_decay:

        b     <- mu b + (1 - mu) g
        x     <- b, or with nesterov  mu b + (1 - mu) g;       x <- x / max(|x|, eps)
        x     <- a x + (b' A + c A A) x  with A = x x^T        (ns_steps times; (a, b', c) = ns_coefficients)
        theta <- (1 - eta lambda) theta - eta s x

    The third line is a Newton-Schulz iteration: an odd polynomial drives every singular value of x to between about 0.7
    and 1.2, which costs matrix products only. s is sqrt(max(1, n/m)), or with adjust_lr_fn="match_rms_adamw"
    0.2 sqrt(max(n, m)), which makes steps of Adam's size. For the matrices between hidden layers; vectors, embeddings and
    the last layer are for another optimizer.

    The iteration runs in the parameter's dtype (PyTorch's in bfloat16, so that results agree to its two to three digits).

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Liu et al. 2025, "Muon is scalable for
    LLM training". Defaults: lr 1e-3, weight_decay 0.1, momentum 0.95, nesterov, 5 steps.
    """

    scalars = ()
    arrays = ("momentum_buffer",)
    elementwise = False

    def __init__(
        self,
        params,
        lr=1e-3,
        weight_decay=0.1,
        momentum=0.95,
        nesterov=True,
        ns_coefficients=(3.4445, -4.7750, 2.0315),
        eps=1e-7,
        ns_steps=5,
        adjust_lr_fn=None,
    ):
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                f"Muon: adjust_lr_fn must be None, 'original' or 'match_rms_adamw', got {group['adjust_lr_fn']!r}"
            )
        if len(group["ns_coefficients"]) != 3:
            raise ValueError(
                f"Muon: ns_coefficients must be three numbers (a, b, c), got {group['ns_coefficients']}"
            )
        self.check_real(group)
        for param in group.get("params", ()):
            if param.ndim != 2:
                raise ValueError(
                    f"Muon: parameters must be matrices, got one of shape {tuple(param.shape)}; give others to AdamW or SGD"
                )

    def init_state(self, param, group):
        return {"momentum_buffer": namespaces[param.__class__].zeros_like(param)}

    def update(self, param, grad, state, group):
        lr, mu, (n, m) = group["lr"], group["momentum"], param.shape
        b, work, x = state["momentum_buffer"], self.scratch(param, "work"), self.scratch(param, "x")
        average(b, grad, mu, work)
        x[...] = b
        if group["nesterov"]:
            average(x, grad, mu, work)
        self._orthogonalize(x, work, group)
        scale = (
            0.2 * math.sqrt(max(n, m)) if group["adjust_lr_fn"] == "match_rms_adamw" else max(1, n / m) ** 0.5
        )
        param *= 1 - lr * group["weight_decay"]
        x *= lr * scale
        param -= x

    def _orthogonalize(self, x, work, group):
        """Newton-Schulz on x, in place; on its transpose if that makes A = x x^T the smaller."""
        xp = namespaces[x.__class__]
        if x.shape[0] > x.shape[1]:
            x, work = x.T, work.T
        a, b, c = group["ns_coefficients"]
        n = len(x)
        square = self.scratch(x, "square", (n, n))
        polynomial = self.scratch(x, "polynomial", (n, n))
        xp.multiply(x, x, out=work)
        x /= xp.maximum(xp.sqrt(xp.sum(work)), group["eps"])
        for _ in range(group["ns_steps"]):
            xp.matmul(x, x.T, out=square)
            xp.matmul(square, square, out=polynomial)
            polynomial *= c
            square *= b
            polynomial += square
            xp.matmul(polynomial, x, out=work)
            x *= a
            x += work
