"""Precision: floats become float16 or bfloat16 in the graph itself, by casts, but where they would overflow or lose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import onnx_ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from effc.compiler import hazards, ir, settle
from effc.compiler.extents import Extents, extents, magnitude
from effc.compiler.hazards import FORMATS, Format
from effc.compiler.ir import Array
from effc.compiler.placement import Placement
from effc.compiler.ranges import Range
from effc.compiler.retype import Retyping, ports_of
from effc.compiler.rounding import Constants

BFLOAT16_OPSET = 22
"""From here on Conv, pooling and the other ops take bfloat16."""
_LINKS = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "Shape", "Size", "Constant"})
"""Ops that come in any type, and take that of their neighbours."""
_NEIGHBOURS = "its neighbours stay in float32, and casts would cost more than it saves"


@dataclass(frozen=True)
class Narrowing:
    """How a target computes in fewer bits.

    Attributes:
        dtype: "float16" or "bfloat16".
        io: whether graph inputs and outputs take the narrow type too.
        refused: ops that the target has not in the narrow type.
        least_db: SQNR that each output is to keep, where samples tell it; 0 leaves it at the rules.
    """

    dtype: str
    io: bool = False
    refused: frozenset[str] = frozenset()
    least_db: float = 50.0


@dataclass(frozen=True)
class Narrowed:
    """The model with its casts, and what was decided.

    Attributes:
        precision: node name to the type that it computes in.
        kept: node name to the reason why it stays in float32.
    """

    model: ir.Model
    precision: Mapping[str, str]
    kept: Mapping[str, str]


@dataclass(frozen=True)
class Observed:
    """What samples tell beyond ranges.

    Attributes:
        means: average of each channel (axis 1) by tensor name, [channels]: weights are rounded so as to keep it.
        delicate: node name to the reason why its rounding was found to matter.
        kernels: convolution weights that an earlier `narrow` of the same model to the same type has rounded; grows.
    """

    means: Mapping[str, Array] = field(default_factory=dict)
    delicate: Mapping[str, str] = field(default_factory=dict)
    kernels: dict[str, Array] = field(default_factory=dict)


def narrow(
    model: ir.Model,
    narrowing: Narrowing,
    ranges: Mapping[str, Range],
    keep_float: Sequence[str] = (),
    observed: Observed | None = None,
) -> Narrowed:
    """A new model whose float tensors are narrow where that is safe; `model` stays as it is.

    Args:
        ranges: least and greatest values by tensor name; tensors without one are judged by weights and rules alone.
        keep_float: globs of node names that stay in float32.
    """
    observed = observed or Observed()
    decided = decide(model, narrowing, ranges, keep_float, observed.delicate)
    made, form = decided.model, FORMATS[narrowing.dtype]
    borders = frozenset(_borders(made.graph, decided.found, form)) if narrowing.io else frozenset()
    Retyping(made, decided.narrow, borders, Constants(form, observed.means, observed.kernels)).write()
    ir.prune(made)
    settle.settle(made, where="precision")
    return Narrowed(made, decided.precision, decided.kept)


@dataclass(frozen=True)
class Decided:
    """A copy of the model, its types as they were, with what `narrow` would make of it.

    Attributes:
        found: the range of every tensor of which one is known.
        narrow: the nodes that are to compute in the narrow type.
    """

    model: ir.Model
    found: Extents
    narrow: frozenset[ir.Node]
    precision: Mapping[str, str]
    kept: Mapping[str, str]


def decide(
    model: ir.Model,
    narrowing: Narrowing,
    ranges: Mapping[str, Range],
    keep_float: Sequence[str] = (),
    delicate: Mapping[str, str] | None = None,
) -> Decided:
    """The decision alone; arguments as for `narrow`."""
    made, form = model.clone(), FORMATS[narrowing.dtype]
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(made)
    if form is hazards.BFLOAT16:
        made.opset_imports[""] = max(made.opset_imports[""], BFLOAT16_OPSET)
    found = extents(made, ranges, form.largest)
    reasons = _Judge(made, form, found).reasons(_Wishes(narrowing, tuple(keep_float), delicate or {}))
    chosen = frozenset(Placement(made.graph, reasons, narrowing.io).narrow())
    kept = {node.name or "": reason or _NEIGHBOURS for node, reason in reasons.items() if node not in chosen}
    precision = {node.name or "": form.name if node in chosen else "float32" for node in reasons}
    return Decided(made, found, chosen, precision, kept)


@dataclass(frozen=True)
class _Wishes:
    """What the user, the target and the samples say of a node, whatever its op."""

    narrowing: Narrowing
    keep_float: tuple[str, ...]
    delicate: Mapping[str, str]

    def against(self, node: ir.Node) -> str | None:
        """The reason to leave the node in float32, if one is given."""
        name = node.name or ""
        if (glob := next((glob for glob in self.keep_float if fnmatchcase(name, glob)), None)) is not None:
            return f"--keep-float {glob}"
        if node.op_type in self.narrowing.refused:
            return f"the target has no {self.narrowing.dtype} {node.op_type}"
        return self.delicate.get(name)


@dataclass(frozen=True)
class _Judge:
    """Looks at each node that touches float32 tensors for a reason to leave it as it is."""

    model: ir.Model
    form: Format
    found: Extents

    def reasons(self, wishes: _Wishes) -> dict[ir.Node, str | None]:
        """The reason against a narrow type by node, in graph order."""
        nodes = [node for node in self.model.graph if node.op_type not in _LINKS and _floats(node)]
        found = {node: wishes.against(node) or self._own(node) for node in nodes}
        for node in self.model.graph:
            why, until = _demand(node, found.get(node))
            if why:
                found.update({source: why for source in _sources(node, until) if found.get(source, why) is None})
        return found

    def _own(self, node: ir.Node) -> str | None:
        """What the op and its values say."""
        if node.domain not in ("", "ai.onnx"):
            return f"{node.domain}.{node.op_type} is not an op of ONNX"
        if any(attribute.type in _SUBGRAPHS for attribute in node.attributes.values()):
            return "it holds a subgraph"
        return hazards.reason(node, self.form, self.found) or self._portless(node)

    def _portless(self, node: ir.Node) -> str | None:
        """ONNX may have the op in float32 alone."""
        inputs, outputs = ports_of(node, self.form, self.model.opset_imports[""])
        return None if inputs or outputs else f"ONNX has no {self.form.name} {node.op_type}"


_SUBGRAPHS = (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS)


def _floats(node: ir.Node) -> bool:
    values = (v for v in (*node.inputs, *node.outputs) if v is not None)
    return any(value.dtype == ir.DataType.FLOAT for value in values)


def _demand(node: ir.Node, reason: str | None) -> tuple[str, frozenset[str]]:
    """What a node asks of those before it, and the ops up to which; nothing where the first is empty.

    log needs small values to the same relative precision as large ones, and what is lost of them anywhere before is
    lost; a root halves that loss, so only what is squared for it counts. Indices and sizes must be exact.
    """
    if node.op_type == "Cast" and _is_integer(node.outputs[0].dtype):
        return "its values become integers", hazards.WIDE
    if reason is not None and node.op_type in hazards.MAGNIFIERS:
        return f"it feeds {node.op_type} {node.name!r}: {reason}", hazards.MAGNIFIERS[node.op_type]
    return "", frozenset()


def _sources(node: ir.Node, until: frozenset[str]) -> Iterator[ir.Node]:
    """The float nodes from which `node` gets its values, back to the ops in `until`, which are left out."""
    seen: set[ir.Node] = set()
    queue = list(node.inputs)
    while queue:
        value = queue.pop()
        maker = None if value is None or value.dtype != ir.DataType.FLOAT else value.producer()
        if maker is not None and maker not in seen and maker.op_type not in until | _LINKS:
            seen.add(maker)
            queue += maker.inputs
            yield maker


def _is_integer(dtype: ir.DataType | None) -> bool:
    return dtype is not None and dtype.is_integer()


def _borders(graph: ir.Graph, found: Extents, form: Format) -> Iterable[ir.Value]:
    """The float inputs and outputs whose values the narrow type holds."""
    for value in (*graph.inputs, *graph.outputs):
        extent = found.get(value)
        if value.dtype == ir.DataType.FLOAT and (extent is None or magnitude(extent) <= form.largest):
            yield value
