"""OpTable: which function lowers an op, or why a node is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from effc.compiler import ir
from effc.core.errors import Caution, Refusal

Lower = TypeVar("Lower", bound=Callable[..., object])


@dataclass(frozen=True)
class Why:
    """Why a node is not taken, and what a person can do about it, where there is something."""

    reason: str
    hint: str = ""


FOREIGN = "export it in ONNX's own operators"
"""What to do about operators of another domain."""
Check = Callable[[ir.Node], Why | None]
"""Looks at a node and tells why it cannot be lowered, None where it can."""
_UNWRITTEN = Why("no lowering is written for it")


@dataclass(frozen=True)
class Lowering(Generic[Lower]):
    """One op's lowering: its precondition, and which nodes it makes slow."""

    op: str
    function: Lower
    check: Check
    slow: Check


@dataclass
class OpTable(Generic[Lower]):
    """Ops of the default ONNX domain with their lowerings; a second entry for an op raises."""

    backend: str
    entries: dict[str, Lowering[Lower]] = field(default_factory=dict)
    reasons: dict[str, Why] = field(default_factory=dict)

    def op(self, *names: str, check: Check | None = None, slow: Check | None = None) -> Callable[[Lower], Lower]:
        """Decorator: the function lowers these ops. `check` tells why not, `slow` why no fast kernel runs, or None."""

        def register(function: Lower) -> Lower:
            for name in names:
                if name in self.entries:
                    raise ValueError(f"{self.backend} has two lowerings for {name}")
                self.entries[name] = Lowering(name, function, check or _always, slow or _always)
            return function

        return register

    def refuse(self, reason: str, *names: str, hint: str = "") -> None:
        """State why ops have no lowering, where there is more to say than that."""
        self.reasons.update(dict.fromkeys(names, Why(reason, hint)))

    def __contains__(self, op: str) -> bool:
        return op in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.entries))

    def __getitem__(self, op: str) -> Lowering[Lower]:
        return self.entries[op]

    def refusal(self, node: ir.Node) -> Refusal | None:
        """Why this node cannot be lowered, or None when it can."""
        if node.domain not in ("", "ai.onnx"):
            why: Why | None = Why(f"the operator domain {node.domain!r} is not known", FOREIGN)
        elif node.op_type in self.entries:
            why = self.entries[node.op_type].check(node)
        else:
            why = self.reasons.get(node.op_type, _UNWRITTEN)
        return None if why is None else Refusal(named(node), node.op_type, why.reason, why.hint)

    def caution(self, node: ir.Node) -> Caution | None:
        """Why this node is slow, None where it is not, or is refused."""
        if node.domain not in ("", "ai.onnx") or node.op_type not in self.entries:
            return None
        why = self.entries[node.op_type].slow(node)
        return None if why is None else Caution(named(node), node.op_type, why.reason, why.hint)

    def refusals(self, nodes: Iterable[ir.Node]) -> tuple[Refusal, ...]:
        """Every node that cannot be lowered, in graph order."""
        return tuple(found for node in nodes if (found := self.refusal(node)) is not None)


def named(node: ir.Node) -> str:
    """What the node is called in reports: its own name, else its first output's."""
    return node.name or node.outputs[0].name or "?"


def _always(node: ir.Node) -> None:
    del node
