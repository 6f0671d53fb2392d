"""Where a run of `fit` stands, written to a folder and read back: a run that is resumed goes on bit for bit."""

import os
import random
from collections import Counter
from pathlib import Path

import numpy

from chainrule import io
from chainrule.backends.random import default_generator

_SOURCES = ("sampler", "batch_sampler")


def random_state(loader=None):
    """The state of all generators a run may draw from: chainrule's, NumPy's, Python's, and those that `loader` was given."""
    return {
        "chainrule": [one.get_state() for one in _generators(loader)],
        "numpy": list(numpy.random.get_state()),
        "python": random.getstate(),
    }


def set_random_state(state, loader=None):
    """Back to what `random_state(loader)` gave."""
    for one, saved in zip(_generators(loader), state["chainrule"], strict=True):
        one.set_state(saved)
    numpy.random.set_state(tuple(state["numpy"]))
    random.setstate(state["python"])


def _generators(loader):
    """The default generator, and those of a loader and its samplers, each once."""
    found, waiting = [default_generator], [loader]
    while waiting:
        one = waiting.pop()
        generator = getattr(one, "generator", None)
        if generator is not None and all(generator is not other for other in found):
            found.append(generator)
        waiting += [getattr(one, name) for name in _SOURCES if getattr(one, name, None) is not None]
    return found


class Checkpoints:
    """The files of a run in a folder, which is made if need be; with the folder None nothing is written.

    best.safetensors is the model's state dict at its best epoch; last.safetensors holds all that is needed to go on.
    parts: {name: anything with `state_dict` and `load_state_dict`}.
    """

    def __init__(self, folder, parts):
        self.folder = None if folder is None else Path(os.fsdecode(folder))
        self.parts = parts
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def last(self):
        return self.folder / "last.safetensors"

    def write(self, history, randomness, place=None, best=False):
        """Write last.safetensors and, if this was the best epoch, best.safetensors. place: where in an epoch, or None."""
        if self.folder is None:
            return
        if best:
            io.save(self.parts["model"].state_dict(), self.folder / "best.safetensors")
        states = {name: _plain(part.state_dict()) for name, part in self.parts.items()}
        io.save({"parts": states, "history": history, "random": randomness, "place": place}, self.last)

    def read(self):
        """What `write` wrote, its parts loaded; None if nothing was written yet."""
        if self.folder is None:
            raise ValueError("fit: resume=True needs the folder that is to be resumed: checkpoint=...")
        if not self.last.exists():
            return None
        saved = io.load(self.last, map_location="cpu")
        if saved["parts"].keys() != self.parts.keys():
            raise ValueError(
                f"fit: {self.last} has the state of {sorted(saved['parts'])}, this run has {sorted(self.parts)}; resume "
                f"with the same arguments, or choose another folder"
            )
        for name, part in self.parts.items():
            part.load_state_dict(saved["parts"][name])
        return saved


def _plain(state):
    """A state dict as a checkpoint can hold it: counters, of which schedules make use, as dicts."""
    return {key: dict(value) if type(value) is Counter else value for key, value in state.items()}
