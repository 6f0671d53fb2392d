"""Places in a stream of random numbers, and how a captured graph moves along the stream.

A place is what an operation needs to compute its random numbers, now or again in its gradient: a seed and a block. The launches of a
captured graph always have the arguments they were captured with, so there a place counts from two numbers on the device, the
seed and the block of the replay, which a last launch of the graph moves on. The host counts along: a replay draws what the
same step would have drawn without a graph, and the host writes the two numbers again only where they are not what it knows
the device to hold (after `manual_seed`, after other draws).
"""

import threading

import numpy as np

from .backend import kernel_for


class Place:
    """Block `first` of the stream of `seed`; with `moving`, the draws of a capture, both are added to its numbers on the device."""

    __slots__ = ("first", "moving", "seed")

    def __init__(self, seed, first, moving=None):
        self.seed = seed
        self.first = first
        self.moving = moving

    def __repr__(self):
        return f"<block {self.first} of the stream of {self.seed}{' from a captured place' if self.moving else ''}>"

    def after(self, blocks):
        """The place so many blocks later."""
        return Place(self.seed, (self.first + blocks) % 2**64, self.moving) if blocks else self

    @property
    def base(self):
        """The device array (seed, block) to add, or None."""
        return None if self.moving is None else self.moving.base


class CapturedDraws:
    """What a generator draws during one capture, on the arrays of `backend`; made by `Generator.begin_capture`."""

    def __init__(self, generator, backend):
        self.generator = generator
        self.xp = backend.xp
        self.thread = threading.get_ident()
        self.used = 0  # blocks
        # Seed and first block of the running replay, and behind them those of the last one that is done: a gradient that is
        # computed after the graph, or by a graph of its own, reads these. What is written first is written by `before_replay`.
        self.numbers = backend.xp.empty(4, dtype="uint64")
        self._capturing = True
        self._held = None  # what the device holds in front, as far as it is known

    @property
    def base(self):
        """Where kernels find the seed and the block that their places count from."""
        return self.numbers[:2] if self._capturing else self.numbers[2:]

    def take(self, blocks):
        """A place in the part of the stream that this capture draws."""
        first, self.used = self.used, self.used + blocks
        return Place(0, first, self)

    def end(self):
        """The capture's last launch: remember the place, and move it on."""
        if self.used:
            found = kernel_for(self.xp, "move_place")
            if found is not None:
                found(self.xp, self.numbers, self.used)
            else:
                self.numbers[2:] = self.numbers[:2]
                self.numbers[1:2] += self.used
        self._capturing = False

    def before_replay(self):
        """Bring the device's place to that of the host, on the current stream; nothing is sent where they agree."""
        if not self.used:
            return
        here = self.generator.position()
        if here != self._held:
            found = kernel_for(self.xp, "set_place")
            if found is not None:
                found(self.xp, self.numbers, *here)
            else:
                self.numbers[:2] = self.xp.asarray(np.array(here, dtype="uint64"))
            self._held = here

    def after_replay(self):
        """Move the host's place on, as the same draws outside a graph would have."""
        if self.used:
            self._held = self.generator.skip(self.used)
