"""A stack machine for pickles that hold data.

A pickle is a program. Python's own machine imports what the program names and calls what it imports; this one knows only
the instructions that make data, looks names up in a table it is given, and calls nothing but what stands there.
"""

import struct
from collections import Counter, OrderedDict, defaultdict

from chainrule.backends import devices, dtypes


class Refused(Exception):
    """What is wrong with a file; its text is the reason that `CheckpointError` gives."""


class Function:
    """What a name of the table stands for if it may be called: `call(world, *arguments of the program)`."""

    def __init__(self, name, call):
        self.name, self.call = name, call

    def __repr__(self):
        return f"<{self.name}>"


def checked_key(key, depth=0):
    """Keys are hashed: only what is hashed at once is one (nested tuples can take for ever)."""
    if key is None or isinstance(key, (bool, int, float, complex, str, bytes, dtypes.dtype, devices.device)):
        return key
    if type(key) is tuple and depth < 3:
        return tuple([checked_key(one, depth + 1) for one in key])
    raise Refused(
        f"a {type(key).__name__} is the key of a dict or in a set; only numbers, text and tuples of them may be"
    )


# --- the machine ---

_MARK = object()


class Machine:
    """Runs one pickle in `data` from `position` on. See `pickletools` in Python's library for the instructions.

    What is not in the pickle comes from `world`: `look_up(module, name)` gives what a name stands for, `storage(...)` what
    lies outside the pickle, and `set_state(object, state)` completes an object that the world made.
    """

    def __init__(self, data, world, position=0):
        self.data, self.world, self.position = data, world, position
        self._stack, self._memo = [], {}
        self._budget = 1_000_000 + 4 * len(data)

    def run(self):
        """The object that the program leaves."""
        while True:
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                raise Refused(
                    f"its pickle uses the instruction {chr(code)!r}, which data does not need, or is damaged"
                )
            step(self)

    # What the instructions are made of.

    def take(self, count):
        """The next bytes of the program."""
        end = self.position + count
        if end > len(self.data):
            raise Refused("its pickle is truncated")
        found = bytes(self.data[self.position : end])
        self.position = end
        return found

    def number(self, size, signed=False):
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self):
        end = self.data.find(b"\n", self.position, self.position + 1000)
        if end < 0:
            raise Refused("its pickle has a name without an end")
        text = self.take(end - self.position).decode()
        self.position += 1
        return text

    def push(self, value):
        self._stack.append(value)

    def pop(self):
        if not self._stack or self._stack[-1] is _MARK:
            raise Refused("its pickle is damaged: a value is missing")
        return self._stack.pop()

    def top(self, *kinds):
        """The uppermost value, which must be of one of these types."""
        found = self.pop()
        self.push(found)
        if kinds and type(found) not in kinds:
            raise Refused(f"its pickle puts entries into a {type(found).__name__}")
        return found

    def since_mark(self):
        """Everything above the last mark, which is taken away."""
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                found = self._stack[place + 1 :]
                del self._stack[place:]
                return found
        raise Refused("its pickle is damaged: a mark is missing")

    # The instructions that do more than push a constant.

    def memoize(self, index):
        self._memo[index] = self.top()

    def recall(self, index):
        if index not in self._memo:
            raise Refused("its pickle is damaged: it refers to something that was not yet made")
        self.push(self._memo[index])

    def append(self, items):
        self.top(list).extend(items)

    def update(self, flat):
        if len(flat) % 2:
            raise Refused("its pickle is damaged: a key has no value")
        target = self.top(dict, OrderedDict, Counter, defaultdict)
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            target[checked_key(key)] = value

    def _spend(self, args):
        """A short program can copy one long text many times; no more is made than a few times what the file holds."""
        self._budget -= sum(len(one) for one in args if isinstance(one, (str, bytes, list, tuple, dict, set)))
        if self._budget < 0:
            raise Refused("it asks for far more memory than it has bytes")

    def call(self):
        args, function = self.pop(), self.pop()
        if not isinstance(function, Function) or type(args) is not tuple:
            raise Refused(f"its pickle calls a {type(function).__name__}")
        self._spend(args)
        self.push(function.call(self.world, *args))

    def name(self):
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise Refused("its pickle is damaged: a name is not text")
        self.push(self.world.look_up(module, name))

    def build(self):
        """Give an object its state."""
        state, target = self.pop(), self.pop()
        self.push(target)
        if type(target) is not OrderedDict:
            if type(state) is tuple:
                self._spend(state)
            self.world.set_state(target, state)
        elif isinstance(state, dict) and set(state) <= {"_metadata"}:  # a module's versions
            vars(target).update(state)
        else:
            raise Refused("it gives an OrderedDict attributes of its own")

    def persistent(self):
        """A storage, the only thing that stands outside the pickle."""
        ident = self.pop()
        if type(ident) is not tuple or len(ident) not in (5, 6) or ident[0] != "storage":
            raise Refused("its pickle refers to something that is no storage")
        self.push(self.world.storage(*ident[1:]))


def _text(machine, size):
    machine.push(machine.take(machine.number(size)).decode("utf-8", "surrogatepass"))


def _float(machine):
    machine.push(struct.unpack(">d", machine.take(8))[0])


_PICKLE = {
    # constants
    "N": lambda m: m.push(None),
    "\x88": lambda m: m.push(True),
    "\x89": lambda m: m.push(False),
    "K": lambda m: m.push(m.number(1)),
    "M": lambda m: m.push(m.number(2)),
    "J": lambda m: m.push(m.number(4, signed=True)),
    "\x8a": lambda m: m.push(m.number(m.number(1), signed=True)),
    "\x8b": lambda m: m.push(m.number(m.number(4), signed=True)),
    "G": _float,
    "X": lambda m: _text(m, 4),
    "\x8c": lambda m: _text(m, 1),
    "\x8d": lambda m: _text(m, 8),
    "C": lambda m: m.push(m.take(m.number(1))),
    "B": lambda m: m.push(m.take(m.number(4))),
    "\x8e": lambda m: m.push(m.take(m.number(8))),
    "\x96": lambda m: m.push(bytearray(m.take(m.number(8)))),
    # containers
    "(": lambda m: m.push(_MARK),
    ")": lambda m: m.push(()),
    "]": lambda m: m.push([]),
    "}": lambda m: m.push({}),
    "\x8f": lambda m: m.push(set()),
    "t": lambda m: m.push(tuple(m.since_mark())),
    "\x85": lambda m: m.push((m.pop(),)),
    "\x86": lambda m: m.push((m.pop(), m.pop())[::-1]),
    "\x87": lambda m: m.push((m.pop(), m.pop(), m.pop())[::-1]),
    "l": lambda m: m.push(m.since_mark()),
    "\x91": lambda m: m.push(frozenset([checked_key(one) for one in m.since_mark()])),
    "a": lambda m: m.append([m.pop()]),
    "e": lambda m: m.append(m.since_mark()),
    "s": lambda m: m.update([m.pop(), m.pop()][::-1]),
    "u": lambda m: m.update(m.since_mark()),
    "\x90": lambda m: (lambda items: m.top(set).update(map(checked_key, items)))(m.since_mark()),
    # things said once and referred to later
    "q": lambda m: m.memoize(m.number(1)),
    "r": lambda m: m.memoize(m.number(4)),
    "\x94": lambda m: m.memoize(len(m._memo)),
    "h": lambda m: m.recall(m.number(1)),
    "j": lambda m: m.recall(m.number(4)),
    # names and what is made with them
    "c": lambda m: m.push(m.world.look_up(m.line(), m.line())),
    "\x93": lambda m: m.name(),
    "R": lambda m: m.call(),
    "\x81": lambda m: m.call(),
    "b": lambda m: m.build(),
    "Q": lambda m: m.persistent(),
    # marks of the format
    "\x80": lambda m: m.take(1),
    "\x95": lambda m: m.take(8),
}
_STEPS = {ord(code): step for code, step in _PICKLE.items()}
