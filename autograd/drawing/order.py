"""Putting folded boxes in order, though folding may have closed circles."""

import heapq
from collections import Counter, defaultdict


def in_turn(first, links, cut):
    """The boxes, each after those that lead to it, as far as there are no circles.

    first: for each box the number by which it comes first, all else being equal. links: (source, target, key). cut: a set of keys
    of links that do not count; where a circle is left, the keys of the links that close it are added.
    """
    waiting, uses = Counter(), defaultdict(list)
    for source, target, key in links:
        if key not in cut and source != target:
            waiting[target] += 1
            uses[source].append((target, key))
    left = set(range(len(first)))
    ready = [(first[box], box) for box in left if not waiting[box]]
    heapq.heapify(ready)
    rest, order = None, []
    while left:
        if ready:
            box = heapq.heappop(ready)[1]
        else:  # a circle: it is entered at the box that came first
            rest = sorted(left, key=first.__getitem__, reverse=True) if rest is None else rest
            box = rest.pop()
        if box not in left:
            continue
        left.discard(box)
        order.append(box)
        for target, key in uses[box]:
            waiting[target] -= 1
            if target not in left:
                cut.add(key)
            elif not waiting[target]:
                heapq.heappush(ready, (first[target], target))
    return order
