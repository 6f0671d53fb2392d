"""`watch`: what happens inside a model while it is trained, layer by layer and step by step.

Activations are measured by forward hooks, on raw arrays: nothing is recorded in a graph, no random number drawn. Gradients
and updates are read after the optimizer's step. All results of a step stay on the device until the step's end, and
cross to the host together. A `Watch` refers to model and optimizer weakly.
"""

import collections
import math
import weakref

import numpy

from chainrule.autograd.modes import local
from chainrule.autograd.tensor import Tensor
from chainrule.backends import backend_of, namespaces

from . import watch_plots, watch_words

_GENERAL = ("mean", "std", "norm", "zeros", "nan", "inf")
# The decimal logarithm of a gradient's elements is counted in bins of a quarter.
EDGES = numpy.linspace(-12.0, 4.0, 65)


def watch(model, every=10, histograms=False, keep=1000):
    """Collect statistics of the activations, gradients and updates of `model` while it is trained; returns a `Watch`.

        watch = cr.watch(model, every=10)
        for x, y in batches:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step()                   # or once: watch.attach(optimizer)
        print(watch.table())
        print(*watch.problems(), sep="\\n")
        watch.plot("gradients", "flow.png")

    every: measure in every how many steps. histograms: also count the gradients by size, for which they are copied to the
    host. keep: how many measured steps are remembered, the last ones.
    """
    return Watch(model, every, histograms, keep)


class Watch:
    """See `watch`. `records` has a dict for each measured step:

        {"step": 40,
         "activations": {layer: {"mean", "std", "norm", "zeros", "nan", "inf", "dead", "calls"}},
         "gradients": {parameter: {"mean", "std", "norm", "zeros", "nan", "inf"}, or None where there was no gradient},
         "updates": {parameter: |change| / |parameter before|},
         "histograms": {parameter: counts of log10|gradient| between `EDGES`}}

    "zeros", "nan" and "inf" are shares from 0 to 1. Layers are the modules without modules in them and those with parameters of
    their own; of an output with several Tensors the first is measured, and of several calls in one step the mean is taken.
    "dead" is the share of units that are exactly 0 for the whole batch: of channels, in outputs of 4 or more dimensions, else of
    elements. Only forward passes in training mode with recording switched on, and outside of `vmap`, count.
    """

    def __init__(self, model, every=10, histograms=False, keep=1000):
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"watch: every must be a positive integer, got {every!r}")
        if not hasattr(model, "named_modules"):
            raise TypeError(f"watch: expected a Module, got {type(model).__name__}")
        self.every, self.histograms = every, histograms
        self.records = collections.deque(maxlen=keep)
        self.steps = 0
        self.layers = {}  # name -> name of its class
        self.shapes = {}  # name of a parameter -> its shape
        self._model = weakref.ref(model)
        self._due, self._seen, self._before, self._closed = True, [], None, False
        self._observers = []  # pairs (weak reference to a module, its hook)
        self._numbers = []  # of the hooks, while they are on
        self._optimizers = []  # pairs (weak reference to an optimizer, number of the hook)
        for name, module in model.named_modules():
            if not module._modules or module._parameters:
                name = name or type(module).__name__
                self.layers[name] = type(module).__name__
                owner = weakref.ref(module)
                self._observers.append((owner, _observer(self, owner, name)))
        self._listen(True)

    def attach(self, optimizer):
        """Call `step` after each step of the optimizer; returns self."""
        handle = optimizer.register_step_post_hook(lambda *_: self.step())
        self._optimizers.append((weakref.ref(optimizer), handle.id))
        return self

    def close(self):
        """Take all hooks off and measure no more. What was measured stays."""
        self._listen(False)
        for owner, number in self._optimizers:
            if owner() is not None:
                owner()._post_hooks.pop(number, None)
        self._observers, self._optimizers, self._before, self._seen = [], [], None, []
        self._closed = True

    def _listen(self, on):
        """Put the hooks on the modules, or take them off: outside of the steps that are measured there are none."""
        if on:
            self._numbers = [
                None if owner() is None else owner().register_forward_hook(observer).id
                for owner, observer in self._observers
            ]
            return
        # Not by their handles, which would hold on to what else is hooked to the modules.
        for (owner, _), number in zip(self._observers, self._numbers, strict=False):
            module = owner()
            if module is not None and module._hooks is not None:
                module._hooks.get("forward", {}).pop(number, None)
                if not any(module._hooks.values()):
                    module.__dict__.pop("_hooks", None)  # calls are as quick as before
        self._numbers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"Watch({len(self.layers)} layers, {len(self.records)} of {self.steps} steps measured)"

    # Measuring

    def _see(self, name, output):
        """The output of a layer, in a step that is measured."""
        model = self._model()
        if model is None or not model.training or not local.state.grad or local.state.vmap:
            return
        if self._before is None:
            self._before = {key: param._array.copy() for key, param in _trained(model)}
        array = _first_array(output)
        if array is not None:
            with numpy.errstate(all="ignore"):
                self._seen.append((name, _statistics(array, units=True)))

    def step(self):
        """One step of training is over: call it after `optimizer.step()`, while the gradients are still there."""
        if self._closed:
            return
        model = self._model()
        if self._due and model is not None:
            with numpy.errstate(all="ignore"):
                self.records.append(self._measured(model))
        self.steps += 1
        due, self._seen, self._before = self.steps % self.every == 0, [], None
        if due != self._due:
            self._listen(due)
        self._due = due

    def _measured(self, model):
        """The record of this step."""
        found = [("activations", name, values) for name, values in self._seen]
        gradients, histograms = {}, {}
        for name, param in _trained(model):
            self.shapes[name] = tuple(param.shape)
            gradients[name] = None
            if param.grad is not None and param.numel():
                gradient = param.grad._array
                found.append(("gradients", name, _statistics(gradient)))
                if self.histograms:
                    histograms[name] = _histogram(backend_of(gradient).to_host(gradient))
            before = None if self._before is None else self._before.get(name)
            if before is not None and before.shape == param._array.shape and before.size:
                found.append(("updates", name, _change(before, param._array)))
        activations, updates = {}, {}
        values = _on_host([one for _, _, one in found])
        for (kind, name, _), numbers in zip(found, values, strict=True):
            if kind == "activations":
                activations.setdefault(name, []).append(numbers)
            elif kind == "gradients":
                gradients[name] = dict(zip(_GENERAL, numbers, strict=True))
            else:
                updates[name] = numbers[0]
        for name, calls in activations.items():
            means = numpy.mean(calls, axis=0).tolist()
            activations[name] = {**dict(zip((*_GENERAL, "dead"), means, strict=True)), "calls": len(calls)}
        record = {"step": self.steps, "activations": activations, "gradients": gradients, "updates": updates}
        return {**record, "histograms": histograms} if self.histograms else record

    # Reading

    def series(self, kind, statistic=None):
        """{name: list with a number for each record} of "activations", "gradients" (and a statistic of them) or "updates"."""
        names = dict.fromkeys(name for record in self.records for name in record[kind])
        return {
            name: [_number(record[kind].get(name), statistic) for record in self.records] for name in names
        }

    def table(self):
        """The last record as text: a line for each layer, and one for each parameter."""
        return watch_words.table(self)

    def problems(self):
        """What looks wrong, in words with numbers, a list: NaN, vanishing, exploding, missing gradients, dead units, steps."""
        return watch_words.problems(self)

    def plot(self, kind="gradients", path=None):
        """A picture of "gradients" (norms), "updates", "dead" (shares), "activations" (standard deviations) or "histograms".

        Saved to `path`, by its ending, if there is one. Returns the Matplotlib figure, or text where there is no Matplotlib.
        """
        return watch_plots.plot(self, kind, path)


def _observer(watch, owner, name):
    # A function, not a method: a copy of the module then shares it, and is told from the module by `owner`.
    def observe(module, args, output):
        if module is owner():
            watch._see(name, output)

    return observe


def _trained(model):
    return [(name, param) for name, param in model.named_parameters() if param.requires_grad]


def _first_array(output):
    """The array of the first Tensor of numbers with a fraction in an output, however nested; None if there is none."""
    waiting = [output]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            array = one._array
            if array.__class__ in namespaces and array.size and (one.is_floating_point() or one.is_complex()):
                return array
        elif isinstance(one, dict):
            waiting += reversed(one.values())
        elif isinstance(one, (tuple, list)):
            waiting += reversed(one)
    return None


def _statistics(array, units=False):
    """Mean, std, norm, and the shares of zeros, NaN and Inf; with `units` the share of dead ones too. On the device."""
    xp = namespaces[array.__class__]
    if array.dtype.kind == "c":
        array = xp.abs(array)
    # Gradients may be so small that their squares are 0 in single precision; activations are large arrays.
    array = array.astype("float32" if units and array.dtype.itemsize < 8 else "float64", copy=False)
    mean, size = xp.mean(array), array.size
    apart, found = array - mean, array != 0
    variance = xp.vdot(apart, apart) / size
    values = [
        mean,
        xp.sqrt(variance),
        xp.sqrt((mean * mean + variance) * size),
        1 - xp.count_nonzero(found) / size,
        xp.count_nonzero(xp.isnan(array)) / size,
        xp.count_nonzero(xp.isinf(array)) / size,
    ]
    if units:
        # Images have channels for units, a vector has elements.
        over = (0, *range(2, array.ndim)) if array.ndim > 3 else 0
        values.append(1 - xp.mean(xp.any(found, axis=over) if array.ndim > 1 else found))
    return xp.stack(values)


def _change(before, after):
    """|after - before| / |before| as an array of one element; NaN where `before` is all zeros."""
    xp, dtype = namespaces[before.__class__], "complex128" if before.dtype.kind == "c" else "float64"
    before = before.astype(dtype, copy=False)
    change, size = (xp.sqrt(xp.vdot(one, one).real) for one in (after.astype(dtype) - before, before))
    return xp.where(size > 0, change / xp.where(size > 0, size, 1), math.nan).reshape(1)


def _on_host(pieces):
    """Short arrays as lists of floats, with one copy from each device."""
    places = collections.defaultdict(list)
    for i, piece in enumerate(pieces):
        places[piece.__class__, backend_of(piece).device_of(piece)].append(i)
    lists = [None] * len(pieces)
    for (kind, _), numbers in places.items():
        joined = namespaces[kind].concatenate([pieces[i] for i in numbers])
        values = iter(backend_of(joined).to_host(joined).tolist())
        for i in numbers:
            lists[i] = [next(values) for _ in range(pieces[i].size)]
    return lists


def _histogram(gradient):
    """How many elements lie in each bin of their logarithm; those beyond the ends are counted there, zeros and NaN nowhere."""
    sizes = numpy.abs(gradient[numpy.isfinite(gradient) & (gradient != 0)]).astype("float64")
    middle = 0.5 * (EDGES[1] - EDGES[0])
    return numpy.histogram(numpy.log10(sizes).clip(EDGES[0] + middle, EDGES[-1] - middle), EDGES)[0]


def _number(value, statistic):
    if value is None:
        return math.nan
    return value if statistic is None else value[statistic]
