"""Folding time steps and repeated blocks: what was computed T times over is drawn once, "× T".

An unrolled loop is a graph that, shifted by one step, lies on itself. So take two nodes of one kind, one computed from the
other, and call the earlier the later's predecessor. Then whatever is an input of the one corresponds to the same input of the
other, and the same holds for what uses them: from one pair the correspondence spreads over the whole step, and from step to
step. Chains of corresponding nodes become one box each. No module and no loop need be known for this, and a shared parameter,
which corresponds to itself, stays what it is.

The edge to the next step is the one that the first step does not have: there the value comes from elsewhere.
"""

import itertools
import re
from collections import Counter, defaultdict, deque
from dataclasses import replace

from .data import CONSTANT, REPEAT, Graph
from .order import in_turn
from .stats import pooled
from .text import operations

_LEAST = 3  # times from which on something is a repetition


def fold_repeats(graph, share=1.0):
    """`graph` with its repetitions drawn once, or None if it has none, or if more than this share of its nodes would be left."""
    before = _Correspondence(graph).find()
    chains = _chains(graph, before)
    left = len(graph.nodes) - sum(len(chain) - 1 for chain in chains)
    if not chains or left > share * len(graph.nodes):
        return None
    return _Quotient(graph, chains).fold()


class _Correspondence:
    """`before` maps the id of a node to that of the same node one step earlier."""

    def __init__(self, graph):
        self.nodes = graph.nodes
        self.before, self.after = {}, {}
        self._unique_uses = {}
        self.inputs = defaultdict(dict)  # id -> {input: edge}
        self.uses = defaultdict(list)  # id -> edges
        for edge in graph.edges:
            if not edge.recurrent:
                self.inputs[edge.target][edge.input, edge.output] = edge
                self.uses[edge.source].append(edge)
        numbers = {}
        self.labels = [numbers.setdefault(_label(node), len(numbers)) for node in graph.nodes]
        self.work = 10 * len(graph.nodes) + 10_000  # what is tried at most, in pairs

    def find(self):
        """Kinds that occur least often first: a kind that occurs once in a step gives the right shift, others may not."""
        kinds = defaultdict(list)
        for node in self.nodes:
            if node.operation is not None:
                kinds[self.surroundings(node.id)].append(node.id)
        for members in sorted(kinds.values(), key=len):
            if len(members) >= _LEAST:
                for earlier, later in itertools.pairwise(members):
                    if later not in self.before and earlier not in self.after:
                        self.try_pair(later, earlier)
        return self.before

    def surroundings(self, i):
        """A node's label, with those of its inputs and of what uses it."""
        inputs = sorted((name, self.labels[edge.source]) for (name, _), edge in self.inputs[i].items())
        uses = sorted({(edge.input, self.labels[edge.target]) for edge in self.uses[i]})
        return self.labels[i], tuple(inputs), tuple(uses)

    def try_pair(self, later, earlier):
        """Spread from one pair of operations; keep what was found if the later was computed from the earlier."""
        found, taken, linked = {later: earlier}, {earlier}, False
        queue = deque(found.items())
        while queue and self.work > 0:
            n, m = queue.popleft()
            self.work -= 1
            for a, b in self.neighbours(n, m):
                linked = linked or a == earlier
                if a != b and a not in found and b not in taken and self.match(a, b):
                    found[a] = b
                    taken.add(b)
                    queue.append((a, b))
        if linked:
            self.before |= found
            self.after |= {m: n for n, m in found.items()}

    def neighbours(self, n, m):
        """Pairs of nodes that stand in the same place to `n` and to `m`: as its inputs, and as what uses it alone in its way."""
        others = self.inputs[m]
        for key, edge in self.inputs[n].items():
            if key in others:
                yield edge.source, others[key].source
        if self.nodes[n].operation is not None:
            mine, theirs = self.unique_uses(n), self.unique_uses(m)
            for key, target in mine.items():
                if key in theirs:
                    yield target, theirs[key]

    def unique_uses(self, i):
        """{way of use: the only node that uses it so}."""
        if i in self._unique_uses:
            return self._unique_uses[i]
        found = {}
        for edge in self.uses[i]:
            key = edge.input, edge.output, self.labels[edge.target]
            found[key] = None if key in found else edge.target
        found = self._unique_uses[i] = {key: target for key, target in found.items() if target is not None}
        return found

    def match(self, a, b):
        """Whether `a` may be `b` one step later: nodes of one kind that are in no other pair, with inputs of the same shapes."""
        if a in self.before or b in self.after or self.labels[a] != self.labels[b]:
            return False
        others = self.inputs[b]
        return all(edge.shape == others[key].shape for key, edge in self.inputs[a].items() if key in others)


def _label(node):
    """What two nodes must share to be the same at different times."""
    paths = tuple(template(path) for path, _ in node.calls)
    name = template(node.name or "") if node.operation is None and node.kind != CONSTANT else None
    return (
        node.kind, node.operation, node.backward, tuple(node.shapes), tuple(node.dtypes), node.source, paths, name, node.times,
        node.layer,
    )  # fmt: skip


def template(path):
    """A path with its numbers left open: `layers.*.weight`."""
    return re.sub(r"\d+", "*", path)


def _chains(graph, before):
    """Lists of corresponding nodes, first step first."""
    later = {m: n for n, m in before.items()}
    chains = []
    for node in graph.nodes:
        if node.id in later and node.id not in before:
            chain = [node.id]
            while chain[-1] in later:
                chain.append(later[chain[-1]])
            if len(chain) >= _LEAST:
                chains.append(chain)
    return chains


class _Quotient:
    """The graph with each chain as one node."""

    def __init__(self, graph, chains):
        self.graph = graph
        inside = {i for chain in chains for i in chain}
        self.groups = chains + [[i] for i in range(len(graph.nodes)) if i not in inside]
        self.group_of = {i: g for g, members in enumerate(self.groups) for i in members}
        self.chained = len(chains)
        self.edges = defaultdict(list)  # (group, group, input, output, backward) -> edges
        for edge in graph.edges:
            # An operation of many inputs (a stack of all steps) takes them all in one way.
            way = re.sub(r"\[\d+\]", "", edge.input)
            key = self.group_of[edge.source], self.group_of[edge.target], way, edge.output, edge.backward
            self.edges[key].append(edge)

    def fold(self):
        loops = self.loops()
        self.times = {}
        for group, loop in loops.items():
            self.times[loop] = max(len(self.groups[group]), self.times.get(loop, 0))
        recurrent = {key for key in self.edges if self.is_recurrent(key, loops)}
        first = [min(members) for members in self.groups]
        order = in_turn(first, [(*key[:2], key) for key in self.edges], recurrent)
        place = {group: i for i, group in enumerate(order)}
        graph = self.graph
        folded = Graph(
            subject=graph.subject, modules=dict(graph.modules), notes=list(graph.notes), saved_bytes=graph.saved_bytes
        )  # fmt: skip
        folded.nodes = [self.node(group, place[group], loops, folded.modules) for group in order]
        for node in folded.nodes:
            node.of = None if node.of is None else place[self.group_of[node.of]]
        for key, edges in self.edges.items():
            one = replace(
                edges[0],
                source=place[key[0]],
                target=place[key[1]],
                input=key[2] if len(edges) > 1 else edges[0].input,
            )
            one.recurrent, one.times = one.recurrent or key in recurrent, sum(edge.times for edge in edges)
            if len(edges) > 1:
                one.gradient = one.factor = None
            folded.edges.append(one)
        if graph.first_bad is not None:
            folded.first_bad = place[self.group_of[graph.first_bad]]
        times = max(len(chain) for chain in self.groups[: self.chained])
        folded.notes.append(
            f"{operations(graph.operations)} drawn as {sum(one.operation is not None for one in folded.nodes)}: what is computed up to "
            f"{times:,} times over stands here once; draw with fold=False to see it unrolled"
        )
        return folded

    def loops(self):
        """{group: loop}: chains that are joined in most of their steps belong to one loop."""
        joined = Counter()
        for (a, b, *_), edges in self.edges.items():
            if a < self.chained and b < self.chained and a != b:
                joined[a, b] += len(edges)
        root = list(range(self.chained))

        def find(a):
            while root[a] != a:
                root[a] = a = root[root[a]]
            return a

        for (a, b), count in joined.items():
            if 2 * count >= min(len(self.groups[a]), len(self.groups[b])):
                root[find(a)] = find(b)
        numbers = {}
        return {a: numbers.setdefault(find(a), len(numbers)) for a in range(self.chained)}

    def is_recurrent(self, key, loops):
        """Whether these edges lead to the next step: from the same loop, and the first step goes without."""
        source, target = key[:2]
        if source == target and target < self.chained:
            return True
        known = source in loops and loops[source] == loops.get(target)
        return known and len(self.edges[key]) < len(self.groups[target])

    def node(self, group, number, loops, modules):
        members = [self.graph.nodes[i] for i in self.groups[group]]
        one = replace(members[0], id=number)
        if len(members) == 1:
            one.calls = self.calls_of_one(one, group)
            return one
        every = zip(*(node.values for node in members), strict=True)
        one.values = [
            several[0] if all(value == several[0] for value in several) else None for several in every
        ]
        one.gradients, one.second = [None] * len(one.shapes), []
        one.stats = [pooled(several) for several in zip(*(node.stats for node in members), strict=True)]
        one.gradient_stats = [
            pooled(several) for several in zip(*(node.gradient_stats for node in members), strict=True)
        ]
        one.saved = [entry for node in members for entry in node.saved]
        one.count = sum(node.count for node in members)
        one.times = len(members) * one.times
        one.name = spanned(members[0].name, members[-1].name)
        one.code = one.code if all(node.code == one.code for node in members) else None
        one.target, one.freed = any(node.target for node in members), any(node.freed for node in members)
        one.error = next((node.error for node in members if node.error), None)
        one.bad = next((node.bad for node in members if node.bad), None)
        one.time, one.backward_time = (
            total([getattr(node, what) for node in members]) for what in ("time", "backward_time")
        )
        one.calls = self.calls(members, loops[group], modules)
        return one

    def calls_of_one(self, node, group):
        """What the first step alone was given lies outside of the step."""
        users = (
            [key[1] for key in self.edges if key[0] == group] if node.operation is None and node.calls else []
        )
        if not users or any(user >= self.chained for user in users):
            return node.calls
        first = [self.graph.nodes[self.groups[user][-1]].calls for user in users]
        shared = 0
        while all(calls[shared : shared + 1] == node.calls[shared : shared + 1] != () for calls in first):
            shared += 1
        return node.calls[:shared]

    def calls(self, members, loop, modules):
        """The modules around all steps, then the loop, then the modules within a step."""
        first, last = members[0].calls, members[-1].calls
        shared = 0
        while shared < min(len(first), len(last)) and first[shared] == last[shared]:
            shared += 1
        inner = []
        for (path, _), (other, _) in zip(first[shared:], last[shared:], strict=False):
            name = spanned(path, other)
            modules.setdefault(name, modules.get(path, ""))
            inner.append((name, 0))
        times = self.times[loop]
        return (*first[:shared], (f"{REPEAT}{loop}", times), *inner)


def total(numbers):
    """The sum of those that are known; None if none is."""
    known = [one for one in numbers if one is not None]
    return sum(known) if known else None


def spanned(first, last):
    """Two names as one: `layers.0…5.weight`."""
    if first == last or first is None or last is None:
        return first if first == last else None
    parts, others = re.split(r"(\d+)", first), re.split(r"(\d+)", last)
    if len(parts) != len(others) or parts[::2] != others[::2]:
        return None
    return "".join(a if a == b else f"{a}…{b}" for a, b in zip(parts, others, strict=True))
