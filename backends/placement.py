"""Several cards: what is computed runs on the card where its arrays lie, whichever is current, as in PyTorch.

CuPy computes on the current card, also with arrays of another, so the current card is changed around an operation. Where
there is one card nothing is in the way: `begin` is called by the CUDA backend when it finds more than one.
"""

import functools
from contextlib import nullcontext

from . import backend as backends

cards = None  # the `Cards`, once there are several
_NO_MATTER = nullcontext()
_waiting = []  # functions to call when there are


class Cards:
    """The current card, and where arrays lie."""

    def __init__(self, cupy):
        self._array = cupy.ndarray
        self._device = cupy.cuda.Device
        self._current = cupy.cuda.runtime.getDevice

    def card_of(self, name, arrays):
        """The number of the card on which all arrays among `arrays` lie, None if none does. RuntimeError where they differ."""
        found = None
        for one in arrays:
            if one.__class__ is not self._array:
                if isinstance(one, (list, tuple)):
                    index = self.card_of(name, one)
                elif one.__class__ in backends.namespaces:
                    stored = backends.backend_of(one).stored(one)
                    index = None if stored is one else self.card_of(name, (stored,))
                else:
                    continue
            else:
                index = one.device.id
            if found is None:
                found = index
            elif index is not None and index != found:
                raise RuntimeError(
                    f"{name}: expected all tensors on the same device, got cuda:{found} and cuda:{index}; "
                    f"move them with .to(device)"
                )
        return found

    def around(self, name, arrays):
        """A context in which the card of `arrays` is current."""
        index = self.card_of(name, arrays)
        return nullcontext() if index is None or index == self._current() else self._device(index)

    def around_first(self, values):
        """As `around`, for the first Tensor or array there is; others may lie elsewhere."""
        for one in _flat(values):
            array = getattr(one, "_array", one)
            if array.__class__ is self._array:
                index = array.device.id
                return nullcontext() if index == self._current() else self._device(index)
        return nullcontext()

    def kept(self):
        """A context after which the card is current that was before."""
        return self._device(self._current())

    def follow(self, array):
        """Make the card of an array current, until something else is made so."""
        if array.__class__ is self._array and array.device.id != self._current():
            array.device.use()


def _flat(values):
    for one in values:
        if isinstance(one, (list, tuple)):
            yield from _flat(one)
        elif isinstance(one, dict):
            yield from _flat(one.values())
        else:
            yield one


def begin(cupy):
    """There are several cards from here on."""
    global cards
    cards = Cards(cupy)
    for function in _waiting:
        function()


def when_several(function):
    """Decorator: call `function` as soon as there are several cards; at once if there are."""
    _waiting.append(function)
    if cards is not None:
        function()
    return function


def placed(run):
    """`run(function, xp, *arrays, **static)` on the card of its arrays; `run` itself where there are not several."""
    here = cards
    if here is None:
        return run

    def on_their_card(function, xp, *arrays, **static):
        with here.around(getattr(function, "__name__", "operation"), arrays):
            return run(function, xp, *arrays, **static)

    return on_their_card


def follow(array):
    """Make the card of an array current, where there are several; `kept` goes back."""
    if cards is not None:
        cards.follow(array)


def kept():
    """A context after which the card is current that was before."""
    return _NO_MATTER if cards is None else cards.kept()


def around_tensors(*values):
    """A context in which the card is current on which the first tensor among `values`, that lies on one, lies."""
    return _NO_MATTER if cards is None else cards.around_first(values)


def on_their_card(function):
    """Decorator: what `function` computes beside operations is computed on the card of the first tensor among its arguments."""

    @functools.wraps(function)
    def there(*args, **kwargs):
        if cards is None:
            return function(*args, **kwargs)
        with cards.around_first((args, kwargs)):
            return function(*args, **kwargs)

    return there


def around(name, arrays):
    """A context in which arrays of one card are computed with there."""
    return _NO_MATTER if cards is None else cards.around(name, arrays)
