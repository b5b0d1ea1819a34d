"""What a comparison of simplifiers found: a row a model, and the seconds of graphs of growing length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from effc.bench.peers.simplifiers import GROWTH, Verdict


@dataclass(frozen=True)
class Result:
    """One simplifier on one model: the median of its seconds, and its output or why there is none."""

    name: str
    seconds: float
    verdict: Verdict | None
    failure: str = ""

    def nodes(self, limit: float) -> int | None:
        """Its nodes where it counts as a result at this limit of growth."""
        return self.verdict.nodes if self.verdict is not None and self.verdict.counts(limit) else None


@dataclass(frozen=True)
class Row:
    """One model under one limit of growth; `own` is effc's result."""

    model: str
    nodes: int
    bytes: int
    limit: float
    own: Result
    others: tuple[Result, ...]

    @property
    def best(self) -> int | None:
        """The fewest nodes of any peer whose result counts."""
        return min((n for r in self.others if (n := r.nodes(self.limit)) is not None), default=None)

    @property
    def lost(self) -> bool:
        """Whether a peer has fewer nodes, or effc has no result that counts."""
        own = self.own.nodes(self.limit)
        return own is None or (self.best is not None and own > self.best)


@dataclass(frozen=True)
class Length:
    """One generated graph: nodes before and after, and each simplifier's seconds, None where it failed."""

    shape: str
    nodes: int
    after: int | None
    seconds: Mapping[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """All that the page shows: `node_tests` counts outcomes by kind, `large_run` is Markdown."""

    rows: tuple[Row, ...]
    rounds: int
    lengths: tuple[Length, ...] = ()
    node_tests: Mapping[str, int] = field(default_factory=dict)
    large_run: str = ""


def means(found: Iterable[Row]) -> dict[str, float]:
    """Mean seconds by simplifier over the models on which all of them gave a file."""
    whole = [[*row.others, row.own] for row in found if row.limit == GROWTH]
    shared = [results for results in whole if all(result.verdict for result in results)]
    return {each[0].name: fmean(result.seconds for result in each) for each in zip(*shared, strict=True)}
