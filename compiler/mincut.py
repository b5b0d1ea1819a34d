"""The cheapest cut: min cut = max flow (Ford and Fulkerson, 1956), by blocking flows of shortest paths (Dinic)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable
from itertools import pairwise

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
    while sink in (levels := _levels(residual, source)):
        _block(residual, levels, source, sink)
    return set(levels)


def _levels(residual: Residual, source: Hashable) -> dict[Hashable, int]:
    """Each node that the source still reaches, with the number of edges to it."""
    levels, queue = {source: 0}, deque([source])
    while queue:
        node = queue.popleft()
        for following, capacity in residual[node].items():
            if capacity > 0 and following not in levels:
                levels[following] = levels[node] + 1
                queue.append(following)
    return levels


def _block(residual: Residual, levels: dict[Hashable, int], source: Hashable, sink: Hashable) -> None:
    """Send as much as all shortest paths to the sink take together."""
    ahead = {node: [n for n in residual[node] if levels.get(n) == level + 1] for node, level in levels.items()}
    path = [source]
    while path:
        node = path[-1]
        if node == sink:
            path = _push(residual, path)
        elif not ahead[node]:
            path.pop()
            if path:
                ahead[path[-1]].pop()
        elif residual[node][ahead[node][-1]] > 0:
            path.append(ahead[node][-1])
        else:
            ahead[node].pop()


def _push(residual: Residual, path: list[Hashable]) -> list[Hashable]:
    """Send through a path as much as it takes; the path up to the first edge that takes no more."""
    edges = list(pairwise(path))
    flow = min(residual[start][end] for start, end in edges)
    for start, end in edges:
        residual[start][end] -= flow
        residual[end][start] += flow
    return path[: 1 + next(index for index, (start, end) in enumerate(edges) if residual[start][end] == 0)]
