"""Rprop."""

from chainrule.backends import namespaces

from .moments import filled
from .optimizer import Optimizer, pair


class Rprop(Optimizer):
    """Steps of a length of their own for each element, grown while its gradient keeps its sign; for full batches.

    With theta the parameter, g its gradient, (eta-, eta+) = etas, (low, high) = step_sizes, h = lr at first:

        h     <- min(h eta+, high)               where g g_before > 0
        h     <- max(h eta-, low),   g <- 0      where g g_before < 0
        theta <- theta - h sign(g)
        g_before <- g

    Riedmiller & Braun 1993, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm", without
    weight backtracking (iRprop-: Igel & Huesken 2000). Defaults: lr 1e-2, etas (0.5, 1.2), step_sizes (1e-6, 50).
    """

    arrays = ("prev", "step_size")

    def __init__(
        self,
        params,
        lr=1e-2,
        etas=(0.5, 1.2),
        step_sizes=(1e-6, 50),
        *,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        minus, plus = pair("Rprop", "etas", group["etas"])
        low, high = pair("Rprop", "step_sizes", group["step_sizes"])
        if not 0 <= low <= high:
            raise ValueError(
                f"Rprop: step_sizes must be (low, high) with 0 <= low <= high, got {group['step_sizes']}"
            )
        if not 0 < minus < 1 < plus:
            raise ValueError(
                f"Rprop: etas must be (eta-, eta+) with 0 < eta- < 1 < eta+, got {group['etas']}"
            )

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"step": 0, "prev": xp.zeros_like(param), "step_size": filled(param, group["lr"])}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        before, h = state["prev"], state["step_size"]
        (minus, plus), (low, high) = group["etas"], group["step_sizes"]
        up, down = self.scratch(param, "up"), self.scratch(param, "down")
        state["step"] += 1
        xp.multiply(grad, before, out=up)
        xp.less(up, 0, out=down)  # 1 where true, 0 elsewhere
        xp.greater(up, 0, out=up)
        up *= plus - 1
        up += 1
        h *= up
        xp.multiply(down, minus - 1, out=up)
        up += 1
        h *= up
        xp.clip(h, low, high, out=h)
        xp.subtract(1, down, out=down)
        xp.multiply(grad, down, out=before)
        xp.sign(before, out=up)
        up *= h
        param -= up
