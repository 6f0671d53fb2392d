"""Folding a large graph: all operations of a module become one box; and if that does not help, all of one kind."""

import functools
from dataclasses import replace

from .data import MODULE, REPEAT, SUMMARY, Graph, GraphNode
from .order import in_turn
from .repeat import fold_repeats, total
from .text import operations

_REPEATS_FROM = 100  # nodes from which on repetitions are drawn once


def small(graph, depth, fold, max_nodes):
    """`graph` as it is drawn: repetitions once, modules to `depth`, and no more than `max_nodes` nodes."""
    if fold or (fold is None and len(graph.nodes) > _REPEATS_FROM):
        graph = fold_repeats(graph, 1.0 if fold else 0.5) or graph
    if depth is not None:
        graph = fold_modules(graph, depth, each_call=True)
    if len(graph.nodes) <= max_nodes:
        return graph
    deepest = max((len(_modules(node.calls)) for node in graph.nodes), default=0)
    for level in range(deepest, 0, -1):
        folded = fold_modules(graph, level)
        if len(folded.nodes) <= max_nodes:
            shown = sum(node.kind == MODULE for node in folded.nodes)
            what = f"{shown} module{'s' if shown != 1 else ''}"
            return _noted(
                folded, graph, f"folded into {what}; draw with max_nodes={len(graph.nodes)} to see them all"
            )
    for by_line in (True, False):
        folded = _merge(graph, functools.partial(_kind, by_line=by_line))
        if len(folded.nodes) <= max_nodes:
            break
    return _noted(
        folded, graph, f"drawn by kind, those of one {'line' if by_line else 'name'} in one box; draw a part of it, or save it as .dot"
    )  # fmt: skip


def fold_modules(graph, depth, each_call=False):
    """`graph` with each module at the given level, and each above it that holds no other, as one box; or one for each call."""
    holders = {path.rpartition(".")[0] for path in graph.modules}
    return _merge(graph, lambda node: _around(node.calls, depth, holders), each_call)


def _noted(folded, graph, what):
    folded.notes = [*graph.notes, f"{operations(graph.operations)} {what}"]
    return folded


def _modules(calls):
    return [call for call in calls if not call[0].startswith(REPEAT)]


def _around(calls, depth, holders):
    """`calls` up to the module at this level (1 is the outermost) that is folded; None if there is none."""
    for i, (path, _) in enumerate(calls):
        module = not path.startswith(REPEAT)
        depth -= module
        if module and (depth <= 0 or path not in holders):
            return calls[: i + 1]
    return None


def _kind(node, by_line):
    """What stands for a node's kind where `calls` of a module would."""
    if node.operation is None:
        return None
    return node.operation, node.layer, (node.source if by_line else None)


def _merge(graph, group, each_call=False):
    """The graph with one box for all nodes that `group` puts together; None from it leaves a node by itself."""
    boxes, moved, groups = {}, [], []
    for node in graph.nodes:
        calls = group(node)
        summary = calls is not None and not isinstance(calls[0], tuple)
        key = (calls if summary or each_call else calls[-1][0]) if calls else _alike(node, each_call)
        box = boxes.get(key)
        if box is None:
            box = boxes[key] = _box(node, len(boxes), calls, summary, each_call, graph.modules)
        elif not calls:
            box.values = [None] * len(box.values)
        if calls:
            _absorb(box, node)
        moved.append(box)
        groups.append(calls)
    merged = Graph(
        subject=graph.subject, modules=graph.modules, saved_bytes=graph.saved_bytes, notes=list(graph.notes)
    )
    merged.edges = _join(graph, moved, groups)
    back = {id(edge) for edge in merged.edges if edge.recurrent}
    links = [(edge.source, edge.target, id(edge)) for edge in merged.edges]
    merged.nodes = list(boxes.values())
    order = in_turn(range(len(boxes)), links, back)
    place = {number: i for i, number in enumerate(order)}
    merged.nodes = [merged.nodes[number] for number in order]
    for edge in merged.edges:
        edge.recurrent = id(edge) in back
        edge.source, edge.target = place[edge.source], place[edge.target]
    for box in merged.nodes:
        box.id = place[box.id]
    for box in merged.nodes:
        box.of = None if box.of is None else moved[box.of].id
    if graph.first_bad is not None:
        merged.first_bad = moved[graph.first_bad].id
    return merged


def _box(node, number, calls, summary, each_call, modules):
    if not calls:
        return replace(node, id=number, saved=list(node.saved))
    if summary:
        return GraphNode(
            number, SUMMARY, operation=node.operation, count=0, source=node.source, layer=node.layer
        )
    path, call = calls[-1]
    name = f"{path}, call {call + 1}" if each_call and call else path
    return GraphNode(number, MODULE, name=name, operation=modules.get(path, ""), calls=calls[:-1], count=0)


def _alike(node, each_call):
    """Where all calls are one box, values without gradient that look alike are one, as the rows of an input do; nothing else is."""
    return node.id if node.backward or each_call else (node.kind, node.name, tuple(node.shapes))


def _join(graph, moved, groups):
    """Edges between boxes: those of one shape between the same two say the same thing many times over."""
    found = {}
    for edge in graph.edges:
        source, target = moved[edge.source], moved[edge.target]
        # From one call of a module to another, where all calls are one box, the way leads back into it.
        recurrent = edge.recurrent or (source is target and groups[edge.source] != groups[edge.target])
        if source is target and not recurrent:
            continue
        key = source.id, target.id, edge.shape, edge.backward, recurrent
        if key in found:
            found[key].times += edge.times
            found[key].gradient = found[key].factor = None
            continue
        output = edge.output if source.kind not in (MODULE, SUMMARY) else 0
        one = found[key] = replace(
            edge, source=source.id, target=target.id, output=output, recurrent=recurrent
        )
        if MODULE in (source.kind, target.kind) or SUMMARY in (source.kind, target.kind):
            one.factor = None
    return list(found.values())


def _absorb(box, node):
    """Take an operation into a box: its cost adds up, and what leaves the box is what the last one gives."""
    if node.operation is not None:
        box.count += node.count
        box.backward = node.backward if box.kind == SUMMARY else "backward"
        box.shapes, box.dtypes, box.values = node.shapes, node.dtypes, [None] * len(node.shapes)
        box.gradients, box.stats, box.gradient_stats = (
            [None] * len(node.shapes),
            node.stats,
            node.gradient_stats,
        )
        box.saved.extend(node.saved)
        box.freed = box.freed or node.freed
        box.target = box.target or node.target
        box.error = box.error or node.error
        box.bad = box.bad or node.bad
        box.time, box.backward_time = (
            total([box.time, node.time]),
            total([box.backward_time, node.backward_time]),
        )
        box.step = (
            node.step if box.step is None else min(box.step, node.step if node.step is not None else box.step)
        )
    elif not box.shapes:
        box.shapes, box.dtypes, box.values, box.gradients = node.shapes, node.dtypes, [None], [None]
        box.stats, box.gradient_stats = [None], [None]
