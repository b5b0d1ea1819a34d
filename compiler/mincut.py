"""The cheapest cut: min cut = max flow (Ford and Fulkerson, 1956), by shortest augmenting paths (Edmonds and Karp)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable

Edge = tuple[Hashable, Hashable, int]
Residual = dict[Hashable, dict[Hashable, int]]

UNCUT = 1 << 40
"""The capacity of an edge that must not be cut."""


def source_side(edges: Iterable[Edge], source: Hashable, sink: Hashable) -> set[Hashable]:
    """The nodes left on the source's side by a cheapest cut; of several such cuts, the one nearest to the source.

    Args:
        edges: (from, to, capacity); what an edge costs when its ends fall on the source's and the sink's side.
    """
    residual: Residual = defaultdict(dict)
    for start, end, capacity in edges:
        residual[start][end] = residual[start].get(end, 0) + capacity
        residual[end].setdefault(start, 0)
    while sink in (before := _reach(residual, source, sink)):
        _push(residual, before, sink)
    return set(before)


def _reach(residual: Residual, source: Hashable, sink: Hashable) -> dict[Hashable, Hashable]:
    """Each node that the source still reaches, with the node before it; the search ends at the sink."""
    before: dict[Hashable, Hashable] = {source: source}
    queue = deque([source])
    while queue and sink not in before:
        node = queue.popleft()
        for following, capacity in residual[node].items():
            if capacity > 0 and following not in before:
                before[following] = node
                queue.append(following)
    return before


def _push(residual: Residual, before: dict[Hashable, Hashable], sink: Hashable) -> None:
    """Send through the path that ends at the sink as much as it takes."""
    path, node = [], sink
    while before[node] != node:
        path.append((before[node], node))
        node = before[node]
    flow = min(residual[start][end] for start, end in path)
    for start, end in path:
        residual[start][end] -= flow
        residual[end][start] += flow
