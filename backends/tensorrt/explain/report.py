"""Why an engine is as fast as it is: from its layer information, else from the typed graph that it is built from."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from effc.backends.base import Feeds
from effc.backends.explanation import Explanation, Kind, LayerRow, Reformat, Unfused, megabytes, shares
from effc.backends.tensorrt.explain import borders, layers
from effc.backends.tensorrt.explain.contents import Contents
from effc.compiler import ir
from effc.core import device, worker
from effc.core.artifact import Artifact
from effc.core.errors import BadInput

ENGINE = "engine.json"
_MOVES = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast"})
_NAMES = {"FLOAT": "float32", "FLOAT16": "float16", "BFLOAT16": "bfloat16", "FLOAT8E4M3FN": "fp8"}


def explain(artifact: Artifact, feeds: Feeds | None = None) -> Explanation:
    """Of an artifact or a sealed package; its layers are timed on the feeds where there is a GPU.

    Raises BadInput where it holds neither layers nor the typed graph.
    """
    kept = artifact.manifest.kept
    graph = None if artifact.typed is None else _load(artifact.typed)
    if (artifact.folder / ENGINE).is_file():
        around = () if graph is None else borders.unfused(graph)
        found = from_layers(layers.read(artifact.folder / ENGINE, _times(artifact, feeds)), around, kept)
    elif graph is not None:
        found = from_graph(graph, kept)
    else:
        raise BadInput("it holds neither engine.json nor typed.onnx", where=str(artifact.folder))
    return found if graph is None or artifact.main is None else _sized(found, artifact.folder / artifact.main, graph)


def _times(artifact: Artifact, feeds: Feeds | None) -> Mapping[str, float]:
    """Milliseconds by layer name; none where the engine cannot run here."""
    if artifact.main is None or feeds is None or device.no_gpu() is not None:
        return {}
    function = "effc.backends.tensorrt.run.runner:layer_ms"
    times: Mapping[str, float] = worker.call(
        function, artifact.folder, artifact.main, dict(feeds), stage="time the layers"
    )
    return times


def _sized(found: Explanation, engine: Path, graph: ir.Graph) -> Explanation:
    """The explanation, with why the file is larger than its weights where it is."""
    weights = sum(value.const_value.nbytes for value in graph.initializers.values() if value.const_value is not None)
    return replace(found, verdict=" ".join(filter(None, (found.verdict, Contents.of(engine).sentence(weights)))))


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
        verdict="" if stayed or not _scales(graph) else "Every Q/DQ can become part of a kernel.",
        advice=_advice(rows, moved, stayed),
    )


def _scales(graph: ir.Graph) -> set[str]:
    return {node.name or "?" for node in graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")}


def _planned(node: ir.Node, kept: Mapping[str, str]) -> LayerRow:
    name = node.name or "?"
    precision = _type(node.outputs[0])
    if borders.narrow(node):
        precision = _eight(node)
    return LayerRow(name, node.op_type, precision, (name,), note=kept.get(name, ""))


def _eight(node: ir.Node) -> str:
    """The 8-bit type that a node, or the one whose kernel it ends, reads."""
    makers = [maker for value in node.inputs if value is not None and (maker := value.producer()) is not None]
    pairs = [maker for maker in makers if maker.op_type == "DequantizeLinear"]
    return _type(pairs[0].inputs[0]) if pairs else next((_eight(maker) for maker in makers), "int8")


def _move(node: ir.Node) -> Reformat:
    value, result = node.inputs[0], node.outputs[0]
    dims = ir.static_shape(result) or ir.static_shape_from(result, 1)  # one sample where the batch is open
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
        texts.append(
            (spent, f"{len(wide)} layer(s){_percent(spent, total)} run in float32, first {names}: {_wide(rows)}")
        )
    spent = sum(row.ms or 0.0 for row in moved)
    if spent > _WORTH * total if total else megabytes(moved) > _LEAST_MB:
        what = f"{len(moved)} reformat(s){_percent(spent, total)} write {megabytes(moved):.3f} MB a run: {_MOVED}"
        texts.append((spent, what))
    texts += [(0.0, text) for text in _grouped(stayed)]
    return tuple(text for _, text in sorted(texts, key=lambda pair: -pair[0]))


def _percent(spent: float, total: float) -> str:
    return f" ({spent / total:.1%} of the time)" if total > 0 else ""


_WORTH, _LEAST_MB = 0.01, 0.01
"""Reformats are worth advice from this share of the time or, where times are not known, from these megabytes on."""
_MOVED = "let neighbours run in one precision; casts of inputs and outputs go with --io native."
_NAME = re.compile(r" '[^']*'")


def _wide(rows: Iterable[LayerRow]) -> str:
    if any(row.precision in ("float16", "bfloat16") for row in rows):
        return "the notes say why; where the ranges allow it, calibrate with data that stays within them."
    return "build best, which has float16 in place of float32."


def _grouped(stayed: Iterable[Unfused]) -> list[str]:
    """One line for each reason, the most frequent first, with the first node that it is given for."""
    found: dict[str, list[Unfused]] = {}
    for item in stayed:
        found.setdefault(_NAME.sub("", item.reason), []).append(item)
    groups = sorted(found.values(), key=lambda group: -len(group))
    return [f"{len(group)} Q/DQ not fused, first {group[0].node}: {group[0].reason}." for group in groups]
