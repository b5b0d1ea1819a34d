"""The table of families: how a group with this anchor becomes a kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from effc.backends.tvm.cpu import Cpu
from effc.backends.tvm.plan.group import Group
from effc.backends.tvm.plan.placed import Placed
from effc.backends.tvm.search.choices import Choices, Ranking
from effc.compiler import ir

if TYPE_CHECKING:
    from effc.backends.tvm.schedules.nest import Kernel


class Form(Enum):
    """How a kernel's images lie: all row-major, all in channel blocks, from row-major into blocks, or the reverse."""

    ROWS = "rows"
    BLOCKED = "blocked"
    ENTRY = "entry"
    EXIT = "exit"


_RANKING = Ranking()


@dataclass(frozen=True)
class Site:
    """Where a kernel is made: the CPU, and how the tensors lie that it reads and writes.

    Attributes:
        placed: by value; the group's output among them.
        form: the group's form.
        choices: decides among tiles, given the workload in words and the ranked candidates.
    """

    cpu: Cpu
    placed: Mapping[ir.Value, Placed]
    form: Form
    choices: Choices = _RANKING


Lower = Callable[[Group, Site], "Kernel"]
Accepts = Callable[[ir.Node], "str | None"]
Forms = Callable[[ir.Node], tuple[Form, ...]]


@dataclass(frozen=True)
class Family:
    """An op with a schedule.

    Attributes:
        lower: makes the kernel.
        accepts: why this node cannot be lowered so (it is then left to TVM's importer), None where it can.
        forms: the forms that it has, the preferred one first.
        strided: whether its kernels read and write views, in rows.
    """

    lower: Lower
    accepts: Accepts
    forms: Forms
    strided: bool = False


Table = dict[str, list[Family]]
FAMILIES: Table = {}
"""By op; several families of one op have different forms, or take different nodes."""
INTEGER: Table = {}
"""Families whose kernels read the integers behind DequantizeLinear themselves; they go first."""


def family(
    *ops: str, accepts: Accepts, forms: Forms, strided: bool = False, table: Table = FAMILIES
) -> Callable[[Lower], Lower]:
    """Decorator: the function lowers groups with these anchors."""

    def register(function: Lower) -> Lower:
        for op in ops:
            table.setdefault(op, []).append(Family(function, accepts, forms, strided))
        return function

    return register


def find(node: ir.Node) -> Family | None:
    """The family that takes this node, None where none does."""
    return _taking(node, INTEGER) or _taking(node, FAMILIES)


def is_integer(node: ir.Node) -> bool:
    """Whether the node's kernel reads integers."""
    return _taking(node, INTEGER) is not None


def is_batched(node: ir.Node) -> bool:
    """Whether none but first dims are symbols: schedules know all others."""
    values = (v for v in (*node.inputs, *node.outputs) if v is not None and v.name)
    return all(isinstance(d, int) for v in values for d in (ir.shape(v) or ())[1:])


def _taking(node: ir.Node, table: Table) -> Family | None:
    families = table.get(node.op_type, []) if node.domain in ("", "ai.onnx") and is_batched(node) else []
    found = [family for family in families if family.accepts(node) is None]
    return _joined(found) if len(found) > 1 else next(iter(found), None)


def _joined(families: Sequence[Family]) -> Family:
    """One that has the forms of all; where several have a form the first one does it."""

    def lower(group: Group, site: Site) -> Kernel:
        assert group.anchor is not None
        chosen = next(family for family in families if site.form in family.forms(group.anchor))
        return chosen.lower(group, site)

    def forms(node: ir.Node) -> tuple[Form, ...]:
        return tuple(dict.fromkeys(form for family in families for form in family.forms(node)))

    return Family(lower, families[0].accepts, forms, any(family.strided for family in families))
