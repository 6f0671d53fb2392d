"""Training steps as CUDA graphs: a function that does forward, backward and the optimizer's step, launched as a whole.

The first calls run as they are, on a stream aside, for everything that happens only once; they are steps of the training like all others.
Then the function is captured on Tensors that stay in place; a call copies its arguments there and launches the graph. What Python
moves on in a step is moved on for each replay: step counts, learning rates, the loss scale, the place in the stream of random numbers.
"""

from chainrule.autograd import Tensor
from chainrule.autograd.modes import local as modes
from chainrule.autograd.writes import log
from chainrule.backends import devices, namespaces
from chainrule.backends.capturing import CaptureError, local

from .reliance import Reliance

_NAME = "cuda.make_graphed_step"


def make_graphed_step(step, *, warmup=3, device="cuda", max_graphs=4, generators=()):
    """`step`, a function that does a training step, as one that does it by a CUDA graph.

        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        step = cr.cuda.make_graphed_step(step)
        for x, y in loader:                  # drop_last=True: a batch of another size needs a graph of its own
            loss = step(x, y)
            scheduler.step()

    Arguments: Tensors and NumPy arrays, in tuples, lists and dicts too; they are copied to `device`. Other values belong to what was
    captured: with another value, as with other shapes or dtypes, `warmup` calls run without a graph and the next one is captured
    anew, up to `max_graphs` times. Every call is one step of the training, whether it is replayed or not.

    It returns what `step` returns: Tensors, in tuples, lists and dicts too, without a graph behind them. **They are overwritten by the
    next call**: `loss.item()` or `loss.clone()` keeps a value.

    The step may use Adam, AdamW, SGD, GradScaler, clip_grad_norm_, autocast, dropout and schedulers outside. It may not read values
    (`item()`, `if loss > 1:`), convert data of the host, or have Python count or choose: that is done in the capture only. What can be
    noticed is refused (`CaptureError`); `check_step` finds it without a card. generators: those it draws random numbers from, besides the
    default one.
    """
    if not callable(step):
        raise TypeError(f"{_NAME}: expected a function, got {type(step).__name__}")
    for name, value in (("warmup", warmup), ("max_graphs", max_graphs)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{_NAME}: {name} must be an integer of at least 1, got {value!r}")
    return GraphedStep(step, warmup, devices.device(device), max_graphs, generators)


class GraphedStep:
    """What `make_graphed_step` gives: the function, its graphs by the kind of arguments, and what they run on."""

    def __init__(self, step, warmup, device, most, generators):
        from .runners import runner

        self.step, self.warmup, self.most = step, warmup, most
        self._runner = runner(_NAME, device, generators)
        self._kinds = {}
        self.__doc__ = step.__doc__

    def __call__(self, *args):
        if modes.state.autocast is not None:
            raise RuntimeError(f"{_NAME}: called inside autocast; put the autocast block into the step")
        if local.capture is not None:
            raise CaptureError(
                f"{_NAME}: called while another graph is being captured, in which its step counts and random numbers would stand still; "
                f"call the function that it was made of there"
            )
        kind = _kind(args), modes.state.grad
        one = self._kinds.get(kind)
        if one is None:
            if len(self._kinds) == self.most:
                raise CaptureError(
                    f"{_NAME}: this is the call with a kind of arguments that is number {self.most + 1}, {_words(args)}, and each needs a "
                    f"graph of its own; let the loader drop the smaller last batch (drop_last=True), pass numbers as 0-d Tensors, or raise "
                    f"max_graphs"
                )
            one = self._kinds[kind] = _Captured(self, args)
        return one(args)

    def graphs(self):
        """How many graphs were captured."""
        return sum(one.recording is not None for one in self._kinds.values())


class _Captured:
    """The step for one kind of arguments."""

    def __init__(self, owner, args):
        self.step, self.warmup, self.runner = owner.step, owner.warmup, owner._runner.another()
        self.args = _mapped(args, lambda one: self.runner.static(_array(one)))
        self.inputs = _leaves(self.args)
        self.calls = 0
        self.recording = None

    def __call__(self, args):
        for static, given in zip(self.inputs, _leaves(args), strict=True):
            log.wrote(static._array)
            self.runner.copy(static._array, _array(given))
        if self.recording is None:
            if self.calls < self.warmup:
                with self.runner.aside():
                    result = _handed_out(self.step(*self.args))
                self.calls += 1  # one that failed has not done everything that is done once
                return result
            self.capture()
        else:
            self.reliance.check()
        self.recording.replay()
        self.reliance.restore()
        log.wrote_again(self.written)
        return _mapped(self.outputs, lambda one: one.detach())

    def capture(self):
        """Capture the step on the arguments in place."""
        epoch = log.epoch
        recording = self.runner.recording()
        with recording, Reliance(recording.capture) as reliance:
            self.outputs = _handed_out(self.step(*self.args))
            reliance.capture.keep(self.args)
        kept = [
            one
            for one in (*_leaves(self.outputs), *(leaf._grad for leaf, *_ in reliance.gradients))
            if one is not None
        ]
        for one in kept:
            log.wrote(one._array)
        self.written = log.written_since(epoch)
        self.reliance, self.recording = reliance, recording


# --- nested arguments and results ---


def _is_array(value):
    return isinstance(value, Tensor) or value.__class__ in namespaces


def _parts(value):
    return value.values() if isinstance(value, dict) else value


def _leaves(value):
    """The Tensors and arrays in nested arguments."""
    if _is_array(value):
        return [value]
    nested = isinstance(value, (tuple, list, dict))
    return [one for part in _parts(value) for one in _leaves(part)] if nested else []


def _mapped(value, function):
    """The same nest with `function(leaf)` in the place of each Tensor or array."""
    if _is_array(value):
        return function(value)
    if isinstance(value, dict):
        return {key: _mapped(one, function) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        parts = [_mapped(one, function) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _kind(value):
    """What of an argument a graph is captured for: shapes and dtypes of arrays, the rest as it is."""
    if _is_array(value):
        array = value._array if isinstance(value, Tensor) else value
        return array.shape, str(array.dtype)
    if isinstance(value, dict):
        return "dict", *((key, _kind(one)) for key, one in value.items())
    if isinstance(value, (tuple, list)):
        return type(value), *map(_kind, value)
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"{_NAME}: arguments are Tensors, arrays, tuples, lists, dicts and values that can be hashed, got {type(value).__name__}"
        ) from None
    return type(value), value


def _words(args):
    arrays = [one._array if isinstance(one, Tensor) else one for one in _leaves(args)]
    found = [f"{one.dtype} {one.shape}" for one in arrays]
    return f"({', '.join(found)})"


def _array(one):
    if isinstance(one, Tensor):
        if one.requires_grad:
            raise ValueError(
                f"{_NAME}: an argument of shape {tuple(one.shape)} requires a gradient; its values are copied, so call requires_grad_() on the "
                f"Tensor that the step is given, or detach() it"
            )
        return one._array
    return one


def _handed_out(result):
    """What a step returned, its Tensors without the graph behind them; TypeError for what no replay could renew."""
    for one in others(result):
        raise TypeError(
            f"{_NAME}: a step returns Tensors, or tuples, lists and dicts of them, got {type(one).__name__}; it would be the same after "
            f"every replay. Return the Tensor it is computed from"
        )
    return _mapped(result, lambda one: one.detach() if isinstance(one, Tensor) else _refuse_array(one))


def _refuse_array(one):
    raise TypeError(f"{_NAME}: a step returns Tensors, got a {type(one).__name__}")


def others(value):
    """What is no Tensor in nested results."""
    if _is_array(value) or value is None:
        return []
    if isinstance(value, (tuple, list, dict)):
        return [one for part in _parts(value) for one in others(part)]
    return [value]


def without_others(value):
    """Nested results with None for what is no Tensor."""
    if others(value) and not isinstance(value, (tuple, list, dict)):
        return None
    if isinstance(value, dict):
        return {key: without_others(one) for key, one in value.items()}
    return tuple(map(without_others, value)) if isinstance(value, (tuple, list)) else value
