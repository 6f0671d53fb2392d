"""Adafactor."""

from chainrule.backends import dtypes, namespaces

from .optimizer import Optimizer


class Adafactor(Optimizer):
    """Adam's second moment of an n x m matrix from n + m numbers, and no first moment.

    With theta the parameter, g its gradient, lambda = weight_decay, beta_t = 1 - t^beta2_decay, RMS the root of the mean
    square of all elements, t = 1, 2, ...:

        alpha <- max(eps2, RMS(theta)) min(lr, 1/sqrt(t))
        theta <- (1 - lr lambda) theta
        R     <- beta_t R + (1 - beta_t) mean of g^2 over each row
        C     <- beta_t C + (1 - beta_t) mean of g^2 over each column
        v     <- R C / max(mean of R, eps1)               (for vectors v <- beta_t v + (1 - beta_t) g^2)
        u     <- g / max(sqrt(v), eps1)
        theta <- theta - alpha u / max(1, RMS(u) / d)

    Of more than two dimensions the last two are the matrix. eps = (eps1, eps2), eps1=None being the machine
    epsilon of the dtype it computes in. Like PyTorch's this puts eps1 where v is used, the paper into R and C. Real parameters only.

    Shazeer & Stern 2018, "Adafactor: adaptive learning rates with sublinear memory cost", Algorithms 4 and 5. Defaults:
    lr 1e-2, beta2_decay -0.8, eps (None, 1e-3), d 1.
    """

    arrays = ("row_var", "col_var", "variance")
    elementwise = False

    def __init__(
        self,
        params,
        lr=1e-2,
        beta2_decay=-0.8,
        eps=(None, 1e-3),
        d=1.0,
        weight_decay=0.0,
        *,
        foreach=None,
        maximize=False,
    ):
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group | {"eps": 0})
        if not group["beta2_decay"] <= 0:
            raise ValueError(f"Adafactor: beta2_decay must be at most 0, got {group['beta2_decay']}")
        if not all(eps is None or eps >= 0 for eps in group["eps"]) or group["eps"][1] is None:
            raise ValueError(
                f"Adafactor: eps must be (eps1 or None, eps2), both at least 0, got {group['eps']}"
            )
        if not group["d"] >= 1:
            raise ValueError(f"Adafactor: d must be at least 1, got {group['d']}")
        self.check_real(group)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        if param.ndim < 2:
            return {"step": 0, "variance": xp.zeros_like(param)}
        *batch, n, m = param.shape
        return {
            "step": 0,
            "row_var": xp.zeros((*batch, n, 1), dtype=param.dtype),
            "col_var": xp.zeros((*batch, 1, m), dtype=param.dtype),
        }

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        work = self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        eps1, eps2 = group["eps"]
        eps1 = dtypes.finfo(param.dtype).eps if eps1 is None else eps1
        alpha = xp.maximum(self._rms(param, work), eps2) * min(group["lr"], t**-0.5)
        if group["weight_decay"]:
            param *= 1 - group["lr"] * group["weight_decay"]
        new = t ** group["beta2_decay"]  # 1 - beta_t
        xp.multiply(grad, grad, out=work)
        if param.ndim < 2:
            v = state["variance"]
            self._average(v, work, new)
            v = xp.maximum(v, eps1 * eps1, out=work)
        else:
            rows, columns = state["row_var"], state["col_var"]
            self._average(rows, xp.mean(work, axis=-1, keepdims=True), new)
            mean = self.scratch(columns, "columns")
            xp.mean(work, axis=-2, keepdims=True, out=mean)
            self._average(columns, mean, new)
            # The mean of all rows is divided out of the rows, so that no array of the parameter's size is read for it.
            least = xp.maximum(xp.mean(rows, axis=-2, keepdims=True), eps1)
            v = xp.multiply(rows / least, columns, out=work)
            xp.maximum(v, eps1 * eps1, out=v)
        u = xp.sqrt(v, out=work)
        xp.divide(grad, u, out=u)
        u *= alpha / xp.maximum(self._rms(u, self.scratch(param, "squares")) / group["d"], 1)
        param -= u

    @staticmethod
    def _average(average, new, part):
        """average = (1 - part) average + part new; `new` is overwritten."""
        new *= part
        average *= 1 - part
        average += new

    @staticmethod
    def _rms(array, work):
        """The root of the mean square, left on the device."""
        xp = namespaces[array.__class__]
        return xp.sqrt(xp.mean(xp.multiply(array, array, out=work)))
