"""Why an ONNX Runtime artifact is as fast as it is: its kernels by precision, against the same graph in float32."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from effc.backends.base import Feeds
from effc.backends.explanation import Explanation, Kind, LayerRow, Reformat, Unfused, shares
from effc.core import host
from effc.core.artifact import Artifact
from effc.core.errors import BadInput
from effc.core.worker import Worker

if TYPE_CHECKING:
    import onnx

    from effc.backends.onnxruntime.profile import Kernel

_INSERTED = re.compile(r"(_token_\d+|_nchwc)$")
_PREFIX = re.compile(r"^(QLinear|Fused|Nhwc|Q(?=Gemm))")
_MOVES = frozenset({"QuantizeLinear", "DequantizeLinear", "ReorderInput", "ReorderOutput", "Cast"})
_PRECISION = {"float": "float32", "uint8": "int8"}
_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "asimddp"})
_CONVERSIONS, _LAYOUT = "quantize, dequantize", "change of layout"
_FUSED = 3
"""At most so many nodes are fused to the end of a convolution."""
_WORTH = 0.05
"""Advice is given for what takes at least this share of the time."""


@dataclass(frozen=True)
class Nodes:
    """The artifact's ONNX nodes, by which its kernels are named."""

    by_name: Mapping[str, onnx.NodeProto]
    by_output: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, tuple[onnx.NodeProto, ...]]

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> Nodes:
        """Index a graph."""
        readers: dict[str, tuple[onnx.NodeProto, ...]] = {}
        for node in graph.node:
            for name in node.input:
                readers[name] = (*readers.get(name, ()), node)
        return cls({n.name: n for n in graph.node}, {o: n for n in graph.node for o in n.output}, readers)

    def find(self, kernel: Kernel) -> onnx.NodeProto | None:
        """The node that a kernel does: named after it or its output; a convolution, after what was fused to its end."""
        stem = _INSERTED.sub("", kernel.name)
        node = self.by_name.get(stem) or self.by_output.get(stem)
        return self._convolution(node, _FUSED) if kernel.op in ("Conv", "FusedConv") else node

    def _convolution(self, node: onnx.NodeProto | None, depth: int) -> onnx.NodeProto | None:
        """The nearest convolution at or above a node."""
        if node is None or node.op_type == "Conv" or not depth:
            return node if node is not None and node.op_type == "Conv" else None
        found = (self._convolution(self.by_output.get(name), depth - 1) for name in node.input)
        return next((maker for maker in found if maker is not None), None)


def explain(artifact: Artifact, feeds: Feeds | None) -> Explanation:
    """Profile the artifact and, where it is quantized, its graph without Q/DQ. Raises BadInput without samples."""
    import onnx

    if feeds is None or artifact.main is None:
        hint = "build it without --no-reference"
        raise BadInput("it holds no sample inputs to run it with", where=str(artifact.folder), hint=hint)
    path, floats = artifact.folder / artifact.main, _float_model(artifact)
    with Worker(f"explain {artifact.target}") as worker:
        kernels, twin = worker.call("effc.backends.onnxruntime.profile:both", path, floats, feeds)
    nodes = Nodes.of(onnx.load(str(path), load_external_data=False).graph)
    others = nodes if floats is None else Nodes.of(onnx.load(str(floats), load_external_data=False).graph)
    beside = "" if not twin else ", beside the same graph without Q/DQ" if floats is None else f", beside {floats}"
    return replace(told(kernels, twin, nodes, others), basis=f"ONNX Runtime's profile on one thread{beside}")


def _float_model(artifact: Artifact) -> Path | None:
    """The model of the float32 artifact of the same source that was built beside this one."""
    folder = artifact.folder.parent / f"{artifact.target.backend}-fp32"
    if not artifact.target.quantized or artifact.manifest.io != "onnx" or not folder.is_dir():
        return None
    try:
        other = Artifact.open(folder)
    except BadInput:
        return None
    same = other.manifest.source.sha256 == artifact.manifest.source.sha256 and other.manifest.io == "onnx"
    return folder / other.main if same and other.main is not None else None


def told(
    kernels: tuple[Kernel, ...], twin: tuple[Kernel, ...], nodes: Nodes, others: Nodes | None = None
) -> Explanation:
    """The explanation of measured kernels, beside those of a float32 graph with its own nodes."""
    twins = others or nodes
    layers = tuple(_layer(kernel, nodes, _times(twin, twins)) for kernel in kernels if not _moves(kernel, nodes))
    reformats = tuple(_reformat(kernel) for kernel in kernels if _moves(kernel, nodes))
    by_kind = _by_kind(kernels, nodes)
    if twin:
        by_kind = _joined(by_kind, _by_kind(twin, twins))
    return Explanation(
        basis="ONNX Runtime's profile",
        layers=layers,
        reformats=reformats,
        unfused=_unfused(kernels, nodes),
        shares=shares(layers, reformats),
        kinds=by_kind,
        verdict=_verdict(kernels, twin),
        advice=_advice(by_kind, _grouped(kernels, layers, nodes), reformats),
    )


def _times(twin: Iterable[Kernel], nodes: Nodes) -> dict[str, float]:
    """Milliseconds by the name of the node."""
    found: dict[str, float] = defaultdict(float)
    for kernel in twin:
        if (node := nodes.find(kernel)) is not None:
            found[node.name] += kernel.ms
    return found


def _layer(kernel: Kernel, nodes: Nodes, floats: Mapping[str, float]) -> LayerRow:
    node = nodes.find(kernel)
    precision = _PRECISION.get(kernel.dtype, kernel.dtype)
    names = (node.name,) if node is not None else ()
    return LayerRow(kernel.name, kernel.op, precision, names, kernel.ms, floats.get(names[0]) if names else None)


def _moves(kernel: Kernel, nodes: Nodes) -> bool:
    """Whether it only changes type or layout: a Transpose does where the graph itself has none of that name."""
    return kernel.op in _MOVES or (kernel.op == "Transpose" and nodes.find(kernel) is None)


def _reformat(kernel: Kernel) -> Reformat:
    source, target = (_PRECISION.get(name, name) for name in (kernel.dtype, kernel.made))
    layouts = {"ReorderInput": ("NCHW", "blocked"), "ReorderOutput": ("blocked", "NCHW"), "Transpose": ("NCHW", "NHWC")}
    if kernel.op in layouts:
        source, target = layouts[kernel.op]
    return Reformat(kernel.name, source, target, kernel.bytes, kernel.ms)


def _kind(kernel: Kernel, nodes: Nodes) -> str:
    """What a kernel does, whichever precision and layout it does it in."""
    if _moves(kernel, nodes):
        return _CONVERSIONS if kernel.op.endswith("tizeLinear") else _LAYOUT
    node, op = nodes.find(kernel), _PREFIX.sub("", kernel.op)
    groups = 1 if node is None else next((a.i for a in node.attribute if a.name == "group"), 1)
    return f"grouped {op}" if groups > 1 else op


def _grouped(kernels: Iterable[Kernel], layers: Iterable[LayerRow], nodes: Nodes) -> dict[str, list[LayerRow]]:
    """The layers by kind; they are the kernels that compute, in the same order."""
    found: dict[str, list[LayerRow]] = defaultdict(list)
    for kernel, layer in zip((k for k in kernels if not _moves(k, nodes)), layers, strict=True):
        found[_kind(kernel, nodes)].append(layer)
    return found


def _by_kind(kernels: Iterable[Kernel], nodes: Nodes) -> tuple[Kind, ...]:
    found: dict[str, list[float]] = defaultdict(list)
    for kernel in kernels:
        found[_kind(kernel, nodes)].append(kernel.ms)
    rows = (Kind(kind, len(times), sum(times), None) for kind, times in found.items())
    return tuple(sorted(rows, key=lambda row: (-row.ms, row.kind)))


def _joined(mine: tuple[Kind, ...], floats: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Each kind with its time in float32, then those that float32 alone has."""
    times = {row.kind: row.ms for row in floats}
    own = tuple(replace(row, float_ms=times.get(row.kind, 0.0)) for row in mine)
    names = {row.kind for row in mine}
    return own + tuple(Kind(row.kind, 0, 0.0, row.ms) for row in floats if row.kind not in names)


def _unfused(kernels: Iterable[Kernel], nodes: Nodes) -> tuple[Unfused, ...]:
    """Q/DQ that run as kernels inside the graph, with the float ops that they stand beside."""
    found = []
    for kernel in kernels:
        node = nodes.by_name.get(kernel.name)
        if node is None or kernel.op not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        maker = nodes.by_output.get(node.input[0])
        beside = (maker,) if kernel.op == "QuantizeLinear" else nodes.readers.get(node.output[0], ())
        ops = ", ".join(sorted({f"{n.op_type} {n.name!r}" for n in beside if n is not None}))
        if ops:
            found.append(Unfused(kernel.name, f"{ops} runs in float"))
    return tuple(found)


def _verdict(kernels: tuple[Kernel, ...], twin: tuple[Kernel, ...]) -> str:
    if not twin:
        return ""
    mine, theirs = (sum(kernel.ms for kernel in found) for found in (kernels, twin))
    word = f"{mine / theirs:.2f} times as long" if mine > theirs else f"{theirs / mine:.2f} times faster"
    counts = f"{len(kernels)} kernels against {len(twin)}"
    return f"int8 takes {mine:.3f} ms, float32 {theirs:.3f} ms on this CPU: {word}, {counts}."


def _advice(
    kinds: tuple[Kind, ...], layers: Mapping[str, list[LayerRow]], reformats: tuple[Reformat, ...]
) -> tuple[str, ...]:
    """What to change, what gains most first.

    Args:
        layers: by kind.
    """
    mine, theirs = sum(row.ms for row in kinds), sum(row.float_ms or 0.0 for row in kinds)
    texts = []
    if mine > theirs > 0:
        texts.append("Take the float32 target here: as a whole its kernels are faster on this CPU.")
    lost = [(row.ms - row.float_ms, row) for row in kinds if row.float_ms is not None]
    for loss, row in sorted(lost, key=lambda pair: -pair[0]):
        if row.layers and loss > _WORTH * mine:
            texts.append(_slower(row, layers.get(row.kind, []), _conversions(reformats)))
    if theirs and not _DOT_PRODUCTS & set(host.cpu_flags()):
        texts.append("This CPU has no int8 dot products (VNNI, SDOT): int8 saves memory here, little time.")
    return tuple(texts)


def _conversions(reformats: Iterable[Reformat]) -> float:
    """Milliseconds of a quantize and a dequantize kernel, by the mean of those that were measured."""
    times = [r.ms for r in reformats if {r.source, r.target} == {"int8", "float32"} and r.ms is not None]
    return 2 * sum(times) / len(times) if times else 0.0


def _slower(row: Kind, layers: Iterable[LayerRow], conversions: float) -> str:
    """A kind that is slower in int8, and its nodes that would gain more in float than conversions around them cost."""
    gains = [((own.ms or 0.0) - own.float_ms - conversions, own) for own in layers if own.float_ms is not None]
    names = [repr(own.nodes[0]) for gain, own in sorted(gains, key=lambda pair: -pair[0]) if gain > 0]
    count = f"{row.layers} layer" + ("s" if row.layers > 1 else "")
    what = f"{row.kind}: {row.ms:.3f} ms in int8 ({count}), {row.float_ms:.3f} ms in float32"
    if row.kind in (_CONVERSIONS, _LAYOUT):
        return f"{what}."
    if not names:
        return f"{what}; alone in float, conversions around each would cost what it saves."
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{what}. --keep-float pays most likely for {', '.join(names[:4])}{more}."
