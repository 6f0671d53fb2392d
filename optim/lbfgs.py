"""L-BFGS."""

from chainrule.autograd.tensor import Tensor
from chainrule.backends import namespaces

from .line_search import Point, strong_wolfe
from .loading import as_number
from .whole import WholeOptimizer, dot, largest


class LBFGS(WholeOptimizer):
    """BFGS that does not keep the inverse Hessian, but the last few changes it could be computed from.

    With g the gradient at x, and s_i, y_i the changes of x and g in step i, of which the last `history_size` are kept:

        q <- -g;     for i from the newest to the oldest:  a_i <- (s_i . q) / (y_i . s_i),  q <- q - a_i y_i
        d <- h q;    for i from the oldest to the newest:  d <- d + s_i (a_i - (y_i . d) / (y_i . s_i))
        x <- x + t d

    h = (y . s) / (y . y) of the newest. t is lr (in the very first step lr min(1, 1/|g|_1)), or with
    line_search_fn="strong_wolfe" found by a search that begins there.

    `step(closure)` makes up to `max_iter` such steps with up to `max_eval` (default 1.25 max_iter) calls of the closure,
    which computes the loss anew, with gradients; it returns the first loss. It ends early once the largest |g_i| is at
    most `tolerance_grad`, or x or the loss change by less than `tolerance_change`. The state is that of PyTorch's class.

    Nocedal 1980, "Updating quasi-Newton matrices with limited storage"; Nocedal & Wright 2006, Algorithm 7.4.
    """

    def __init__(
        self,
        params,
        lr=1,
        max_iter=20,
        max_eval=None,
        tolerance_grad=1e-7,
        tolerance_change=1e-9,
        history_size=100,
        line_search_fn=None,
    ):
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(
                f"LBFGS: line_search_fn must be None or 'strong_wolfe', got {group['line_search_fn']!r}"
            )

    def step(self, closure):
        """Up to `max_iter` iterations. closure: zeroes the gradients, computes the loss, calls backward, returns the loss."""
        group = self.param_groups[0]
        with self._computing():
            state, change = self.memory, group["tolerance_change"]
            first_loss = closure()
            f, g = float(first_loss), self.gradient()
            evaluations, iterations = 1, 0
            state["func_evals"] = state.get("func_evals", 0) + 1
            state.setdefault("n_iter", 0)
            while iterations < group["max_iter"] and largest(g) > group["tolerance_grad"]:
                iterations += 1
                state["n_iter"] += 1
                d, t = self._direction(state, g, group)
                slope = dot(g, d)
                if slope > -change:
                    break
                before, calls = f, evaluations
                if group["line_search_fn"] is not None:
                    f, g, t, evaluations = self._search(closure, Point(0.0, f, g, slope), d, t, group, calls)
                else:
                    self.move_to(self.position() + t * d)
                    if (
                        iterations < group["max_iter"]
                    ):  # the last is not evaluated: the next step begins with it
                        f, g, evaluations = float(closure()), self.gradient(), calls + 1
                state["t"], state["prev_loss"] = t, before
                state["func_evals"] += evaluations - calls
                if evaluations >= group["max_eval"] or t * largest(d) <= change or abs(f - before) < change:
                    break
        return first_loss

    def _search(self, closure, start, d, t, group, calls):
        """Go to where the strong Wolfe conditions hold along d: (f, g, t, number of closure calls so far)."""
        x = self.position()
        along = self.along(closure, x, d)

        def evaluate(t):
            nonlocal calls
            calls += 1
            return along(t)

        end = strong_wolfe(evaluate, start, t, largest(d), most=max(group["max_eval"] - calls, 0))
        self.move_to(x + end.t * d)
        return end.f, end.g, end.t, calls

    def _direction(self, state, g, group):
        """The direction d, and the step to try first; takes the last step into the memory."""
        lr = as_number(group["lr"])
        if state["n_iter"] == 1:
            d, t = -g, min(1.0, 1.0 / float(abs(g).sum())) * lr
            state |= {"old_dirs": [], "old_stps": [], "ro": [], "H_diag": 1}
        else:
            y = g - state["prev_flat_grad"]._array
            s = state["d"]._array * as_number(state["t"])
            self._remember(state, y, s, group["history_size"])
            d, t = self._two_loops(state, g), lr
        state |= {"d": Tensor._wrap(d), "t": t, "prev_flat_grad": Tensor._wrap(g)}
        return d, t

    @staticmethod
    def _remember(state, y, s, most):
        product = dot(y, s)
        if (
            product <= 1e-10
        ):  # the curvature along s is not positive: nothing to learn for a positive definite H
            return
        for name, new in (
            ("old_dirs", Tensor._wrap(y)),
            ("old_stps", Tensor._wrap(s)),
            ("ro", float(1 / product)),
        ):
            state[name] = [*state[name], new][-most:]
        state["H_diag"] = float(product / dot(y, y))

    @staticmethod
    def _two_loops(state, g):
        """-H g, H being the inverse Hessian that the remembered changes make of h times the identity."""
        history = [
            (y._array, s._array, as_number(ro))
            for y, s, ro in zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True)
        ]
        xp = namespaces[g.__class__]
        q, factors = -g, []
        for y, s, ro in reversed(history):
            a = float(dot(s, q) * ro)
            factors.append(a)
            xp.subtract(q, y * a, out=q)
        q *= as_number(state["H_diag"])
        for (y, s, ro), a in zip(history, reversed(factors), strict=True):
            q += s * (a - float(dot(y, q) * ro))
        return q
