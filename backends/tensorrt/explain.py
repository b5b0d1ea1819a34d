"""Why an engine is as fast as it is: from its layer information, else from the typed graph that it is built from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from effc.backends.explanation import Explanation, Kind, LayerRow, Reformat, Unfused, megabytes, shares
from effc.backends.tensorrt import borders, layers
from effc.compiler import ir
from effc.core.artifact import Artifact
from effc.core.errors import BadInput

ENGINE = "engine.json"
_MOVES = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast"})
_NAMES = {"FLOAT": "float32", "FLOAT16": "float16", "BFLOAT16": "bfloat16", "FLOAT8E4M3FN": "fp8"}


def explain(artifact: Artifact) -> Explanation:
    """Of an artifact or a sealed package. Raises BadInput where it holds neither layers nor the typed graph."""
    kept = artifact.manifest.kept
    graph = None if artifact.typed is None else _load(artifact.typed)
    if (artifact.folder / ENGINE).is_file():
        return from_layers(layers.read(artifact.folder / ENGINE), () if graph is None else borders.unfused(graph), kept)
    if graph is None:
        raise BadInput("it holds neither engine.json nor typed.onnx", where=str(artifact.folder))
    return from_graph(graph, kept)


def from_file(path: Path) -> Explanation:
    """Of a saved engine.json. Raises BadInput where it is none."""
    return from_layers(layers.read(path))


def _load(path: Path) -> ir.Graph:
    import onnx

    from effc.compiler.settle import settle

    model = ir.from_proto(onnx.load(str(path)))
    settle(model, where=path.name)
    return model.graph


def from_layers(
    found: tuple[layers.Layer, ...], around: Iterable[Unfused] = (), kept: Mapping[str, str] | None = None
) -> Explanation:
    """The explanation of an engine's layers.

    Args:
        around: what the typed graph says of Q/DQ, by which those that stayed layers are explained.
        kept: ONNX node name to the reason why it was left in float32.
    """
    rows = tuple(_row(layer, kept or {}) for layer in found if not layer.reformats)
    moved = tuple(_moved(layer) for layer in found if layer.reformats)
    stayed = _stayed(found, {item.node: item.reason for item in around})
    timed = "with the times of a profile" if any(layer.ms is not None for layer in found) else "without times"
    return Explanation(
        basis=f"the engine's own layer information, {timed}",
        layers=rows,
        reformats=moved,
        unfused=stayed,
        shares=shares(rows, moved),
        kinds=_kinds(found),
        advice=_advice(rows, moved, stayed),
    )


def _row(layer: layers.Layer, kept: Mapping[str, str]) -> LayerRow:
    note = next((kept[node] for node in layer.nodes if node in kept), layer.tactic)
    return LayerRow(layer.name, layer.kind, layer.precision, layer.nodes, layer.ms, note=note)


def _moved(layer: layers.Layer) -> Reformat:
    source, target = (next((t.format for t in side), "?") for side in (layer.inputs, layer.outputs))
    sizes = [tensor.bytes for tensor in layer.outputs]
    size = None if None in sizes or not sizes else sum(size or 0 for size in sizes)
    return Reformat(layer.name, source, target, size, layer.ms)


def _stayed(found: Iterable[layers.Layer], reasons: Mapping[str, str]) -> tuple[Unfused, ...]:
    """Layers that are quantizing alone."""
    unknown = "it stayed a layer of its own; the typed graph beside the engine would tell why"
    result = []
    for layer in found:
        if layer.kind.lower() in ("quantize", "dequantize") or _only_scales(layer):
            reason = next((reasons[node] for node in layer.nodes if node in reasons), unknown)
            result.append(Unfused(layer.nodes[0] if layer.nodes else layer.name, reason))
    return tuple(result)


def _only_scales(layer: layers.Layer) -> bool:
    """Whether the name says that all of its ONNX nodes are Q/DQ."""
    return bool(layer.nodes) and all(n.lower().endswith(("quantizelinear", "quantize")) for n in layer.nodes)


def _kinds(found: Iterable[layers.Layer]) -> tuple[Kind, ...]:
    times: dict[str, list[float]] = {}
    for layer in found:
        if layer.ms is not None:
            times.setdefault("reformat" if layer.reformats else layer.kind, []).append(layer.ms)
    rows = (Kind(kind, len(ms), sum(ms), None) for kind, ms in times.items())
    return tuple(sorted(rows, key=lambda row: (-row.ms, row.kind)))


def from_graph(graph: ir.Graph, kept: Mapping[str, str]) -> Explanation:
    """The graph's view: what TensorRT is asked for, not what it chose."""
    rows = tuple(_planned(node, kept) for node in graph if node.op_type not in _MOVES)
    stayed = borders.unfused(graph)
    names = {item.node for item in stayed}
    moved = tuple(
        _move(node) for node in graph if node.op_type == "Cast" or (node.name or "?") in names & _scales(graph)
    )
    return Explanation(
        basis="the typed graph that the engine is built from; which kernels TensorRT takes, the engine alone knows",
        layers=rows,
        reformats=moved,
        unfused=stayed,
        shares=shares(rows, moved),
        advice=_advice(rows, moved, stayed),
    )


def _scales(graph: ir.Graph) -> set[str]:
    return {node.name or "?" for node in graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")}


def _planned(node: ir.Node, kept: Mapping[str, str]) -> LayerRow:
    name = node.name or "?"
    precision = _type(node.outputs[0])
    if borders.takes(node):
        source = next(v.producer() for v in node.inputs if v is not None and v.producer() is not None)
        precision = "int8" if source is None else _type(source.inputs[0], "int8")
    return LayerRow(name, node.op_type, precision, (name,), note=kept.get(name, ""))


def _move(node: ir.Node) -> Reformat:
    value, result = node.inputs[0], node.outputs[0]
    dims = ir.static_shape(result)
    size = None if dims is None or result.dtype is None else math.prod(dims) * max(int(result.dtype.itemsize), 1)
    return Reformat(node.name or "?", _type(value), _type(result), size)


def _type(value: ir.Value | None, unknown: str = "unknown") -> str:
    dtype = None if value is None else value.dtype
    return unknown if dtype is None else _NAMES.get(dtype.name, dtype.name.lower())


def _advice(rows: tuple[LayerRow, ...], moved: tuple[Reformat, ...], stayed: tuple[Unfused, ...]) -> tuple[str, ...]:
    """What to change, what gains most first: by time where it is known, else by bytes and counts."""
    total = sum(row.ms or 0.0 for row in rows) + sum(row.ms or 0.0 for row in moved)
    texts: list[tuple[float, str]] = []
    wide = [row for row in rows if row.precision == "float32"]
    if wide and len(wide) < len(rows):
        spent = sum(row.ms or 0.0 for row in wide)
        names = ", ".join(row.name for row in sorted(wide, key=lambda row: -(row.ms or 0.0))[:3])
        texts.append((spent, f"{len(wide)} layers{_percent(spent, total)} compute in float32, first {names}: {_WIDE}"))
    if moved:
        spent = sum(row.ms or 0.0 for row in moved)
        what = f"{len(moved)} reformats{_percent(spent, total)} write {megabytes(moved):.3f} MB: {_MOVED}"
        texts.append((spent, what))
    texts += [(0.0, f"{item.node}: {item.reason}.") for item in stayed]
    return tuple(text for _, text in sorted(texts, key=lambda pair: -pair[0]))


def _percent(spent: float, total: float) -> str:
    return f" ({spent / total:.1%} of the time)" if total > 0 else ""


_WIDE = "build best, which has float16 in place of float32, or quantize them."
_MOVED = "let neighbours have one precision, and inputs and outputs the engine's own (--io native)."
