"""Running the user's function to be drawn, and noting at each operation what the graph does not keep.

The engine calls `ThreadState.on_record(node, out)` for every operation it records. At that moment the output is at hand,
and the call stack tells the rest: the line of the user's code, the modules whose `forward` is running, the variables that
hold earlier results, and the constants that went into the operation.
"""

import contextlib
import linecache
import os
import sys
import time

from chainrule.autograd import engine, inplace, late
from chainrule.autograd.graph import Node
from chainrule.autograd.modes import local
from chainrule.backends import backend_of, namespaces
from chainrule.backends.random import default_generator

from .backward import Walk
from .data import plain
from .names import edge_of, is_module
from .stats import statistics
from .text import crop

# Where an operation is called as an in-place one, and where one is called by a backward pass, with the variable that holds the
# node whose gradient is computed.
_IN_PLACE = inplace.apply.__code__
_PASSES = {Node.gradients.__code__: "self", engine._Pass.run.__code__: "node", Walk.run.__code__: "place"}


class Fact:
    """What was seen of one operation while it ran."""

    __slots__ = (
        "alias", "calls", "code", "constants", "name", "of", "operation", "source", "stats", "time", "values",
    )  # fmt: skip

    def __init__(self):
        self.constants = {}  # place among the inputs -> (Tensor, array or number, its variable or None)
        self.values = self.stats = ()
        self.calls = ()
        self.name = self.source = self.code = self.time = None
        self.alias = self.operation = None  # "view" or "in-place", and then what the user called
        self.of = None  # the node whose rules recorded it


class Recorder:
    """`facts` maps each node to its Fact; `modules` each module path to what the module is."""

    def __init__(self, limit, root=None, variables=None, stats=True):
        self.limit = limit
        self.stats = stats
        self._variables = variables or {}  # id of module -> the variable that holds it
        self.facts = {}
        self.modules = {}
        self._paths = {}  # id of module -> path
        self._stack = []  # (frame, (path, number of the call)) of the modules that were running last, outermost first
        self._counts = {}  # path -> calls so far
        self._alive = []
        self._previous = None
        self._write = None  # (frame, Fact) of the in-place operation that came last
        self._seconds = None  # what the array code of the last operation took
        self._own = {}  # code object -> whether it is chainrule's
        self._kinds = {}  # class -> whether it is a module's
        self._positions = {}  # code object -> where in the source each of its instructions comes from
        if root is not None:
            self._add_tree(root, "")

    def call(self, function, inputs):
        """Run `function(*inputs)` with recording on; the thread's state is as before afterwards, whatever happens."""
        state = local.state
        before = state.grad, state.inference, state.on_record, state.run
        self._previous = state.on_record
        state.grad, state.inference, state.on_record, state.run = True, False, self, self._timed(state.run)
        try:
            return function(*inputs)
        finally:
            state.grad, state.inference, state.on_record, state.run = before
            self._stack.clear()
            self._write = None

    def _timed(self, run):
        """`ThreadState.run`, noting how long the array code takes."""

        def timed(*args, **static):
            start = time.perf_counter()
            try:
                return run(*args, **static)
            finally:
                self._seconds = time.perf_counter() - start

        return timed

    def __call__(self, node, out):
        if self._previous is not None:
            self._previous(node, out)
        fact = self.facts[node] = Fact()
        outputs = out if isinstance(out, tuple) else (out,)
        # Lists of Python numbers: a later in-place write must not reach them.
        fact.values = tuple(plain(one._array, self.limit) for one in outputs)
        if self.stats:
            fact.stats = tuple(statistics(one._array) for one in outputs)
        fact.time, self._seconds = self._seconds, None
        operation = sys._getframe(1)
        user, modules = self._look_up(operation.f_back, fact, node)
        if getattr(node.op, "view", False) and operation.f_code.co_name == node.op.name:
            self._note_view(fact, outputs[0], operation.f_locals.get(node.op.parameters[0]))
        fact.calls = self._calls(modules)
        variables = {}
        if user is not None:
            variables = user.f_locals
            fact.source = _place(user.f_code.co_filename, user.f_lineno)
            fact.code = self._expression(user)
            self._note_variables(variables)
        if None in node.edges and operation.f_code.co_name == node.op.name:
            self._note_constants(fact, node, operation.f_locals, variables)

    def _look_up(self, frame, fact, node):
        """The innermost frame of the user's own code, and (frame, module) of the running modules, innermost first."""
        user, modules = None, []
        stop = Recorder.call.__code__
        while frame is not None and frame.f_code is not stop:
            code = frame.f_code
            if code is _IN_PLACE and user is None:
                self._note_write(fact, frame)
            elif fact.of is None and code in _PASSES:
                fact.of = frame.f_locals[_PASSES[code]]
            own = self._own.get(code)
            if own is None:
                name = frame.f_globals.get("__name__", "")
                own = (
                    name == "chainrule"
                    or name.startswith("chainrule.")
                    or code.co_filename.startswith("<chainrule")
                )
                self._own[code] = own
            if user is None and not own:
                user = frame
            if code.co_argcount and code.co_varnames[0] == "self":
                value = frame.f_locals.get("self")
                kind = self._kinds.get(type(value))
                if kind is None:
                    kind = self._kinds[type(value)] = is_module(value)
                if kind and modules and modules[-1][1] is value:
                    modules[-1] = frame, value  # `__call__` and `forward` are one call
                elif kind:
                    modules.append((frame, value))
            frame = frame.f_back
        return user, modules

    def _note_write(self, fact, frame):
        """The last operation of those that an in-place one is made of is the one that is written."""
        if self._write is not None and self._write[0] is frame:
            self._write[1].alias = self._write[1].operation = None
        self._write = frame, fact
        fact.alias, fact.operation = "in-place", frame.f_locals["name"]

    def _note_view(self, fact, out, source):
        """Whether what may be a view is one."""
        comparable = isinstance(source, late.Tensor) and type(source._array) is type(out._array)
        if comparable and backend_of(out._array).shares_memory(out._array, source._array):
            fact.alias = fact.alias or "view"

    def _expression(self, frame):
        """The very expression that `frame` is computing, `t1 * x1` of a longer line; the line where it takes several."""
        code = frame.f_code
        if code not in self._positions:
            self._positions[code] = list(code.co_positions())
        line, end_line, start, end = self._positions[code][frame.f_lasti // 2]
        text = linecache.getline(code.co_filename, frame.f_lineno)
        if start is None or line != end_line or line != frame.f_lineno:
            return text.strip() or None
        # Columns count bytes of UTF-8.
        return text.encode()[start:end].decode(errors="replace") or None

    def _calls(self, modules):
        """The running calls as (path, number of the call), outermost first. A call that goes on is the same frame."""
        stack = []
        for frame, module in reversed(modules):
            if id(module) not in self._paths:
                self._add_tree(module, self._variables.get(id(module), type(module).__name__))
            path = self._paths[id(module)]
            before = self._stack[len(stack)] if len(stack) < len(self._stack) else (None, None)
            if before[0] is frame:
                stack.append(before)
            else:
                number = self._counts[path] = self._counts.get(path, -1) + 1
                stack.append((frame, (path, number)))
        self._stack = stack
        return tuple([call for _, call in stack if call[0]])

    def _add_tree(self, root, path):
        """Give `root`, at `path`, and all modules in it their paths."""
        for name, module in root.named_modules(prefix=path):
            self._alive.append(module)
            self._paths.setdefault(id(module), name)
            if name:
                self.modules[name] = _describe(module)

    def _note_variables(self, variables):
        """Results of earlier operations that have a name by now."""
        for name, value in variables.items():
            if isinstance(value, late.Tensor) and value._edge is not None:
                edge = edge_of(value)
                fact = self.facts.get(edge) if isinstance(edge, Node) else None
                if fact is not None and fact.name is None:
                    fact.name = name

    def _note_constants(self, fact, node, inputs, variables):
        operation = node.op
        given = [inputs.get(name) for name in operation.parameters]
        if operation.variadic:
            given += inputs.get(operation.variadic, ())
        for i, (edge, value) in enumerate(zip(node.edges, given, strict=False)):
            if edge is None and (
                isinstance(value, (bool, int, float, complex, late.Tensor)) or type(value) in namespaces
            ):
                name = next(
                    (n for n, v in variables.items() if v is value and isinstance(v, late.Tensor)), None
                )
                fact.constants[i] = value, name


def _place(filename, line):
    """`train.py:12`; a notebook's cells have file names that mean nothing to the reader."""
    name = "cell" if "ipykernel" in filename else os.path.basename(filename)
    return f"{name}:{line}"


def _describe(module):
    """`Linear(64, 10)`: class and, for a module without modules in it, its settings."""
    name = type(module).__name__
    text = module.extra_repr() if next(iter(module.children()), None) is None else ""
    return f"{name}({crop(text, 40)})" if text and "\n" not in text else name


@contextlib.contextmanager
def unchanged(modules):
    """Random numbers and the buffers of `modules` are after the block what they were before, to the version."""
    state = default_generator.get_state()
    tables = {id(one._buffers): one._buffers for root in modules for one in root.modules()}
    before = [(table, dict(table)) for table in tables.values()]
    arrays = [
        (buffer, buffer._array, buffer._edge)
        for _, table in before
        for buffer in table.values()
        if buffer is not None
    ]
    for buffer, array, _ in arrays:
        buffer._array = array.copy()
    try:
        yield
    finally:
        for table, buffers in before:
            table.clear()
            table.update(buffers)
        for buffer, array, edge in arrays:
            buffer._array, buffer._edge = array, edge
        default_generator.set_state(state)
