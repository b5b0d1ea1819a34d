"""Which operators of a TFLite artifact run in which type, which are delegated, and which ONNX nodes made the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from effc.backends.explanation import Explanation, LayerRow, Reformat, Unfused, megabytes, shares
from effc.core.artifact import Artifact
from effc.core.errors import BadInput
from effc.core.manifest import QUANTIZED_NAME
from effc.core.worker import Worker

_MOVES = frozenset({"QUANTIZE", "DEQUANTIZE", "TRANSPOSE", "CAST"})
_FLOATS = frozenset({"float32", "float16"})


@dataclass(frozen=True)
class Operator:
    """One operator of the flatbuffer.

    Attributes:
        tensor: name of its first output; the emitter keeps the ONNX name in it.
        reads, makes: indices of tensors.
        source, dtype: element types of its first input and of its first output.
        shape: of its first output, for one sample where the batch is open.
        delegated: whether XNNPACK took it over.
    """

    op: str
    tensor: str
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    source: str
    dtype: str
    shape: tuple[int, ...]
    delegated: bool

    @property
    def bytes(self) -> int:
        """Of its first output."""
        size = {"float32": 4, "int32": 4, "float16": 2, "int16": 2, "int64": 8}.get(self.dtype, 1)
        return math.prod(self.shape) * size


def explain(artifact: Artifact) -> Explanation:
    """From LiteRT's own list, read in a child. Raises BadInput for a package without its file."""
    if artifact.main is None:
        raise BadInput("it holds no model to look into", where=str(artifact.folder), hint="build the artifact again")
    with Worker(f"explain {artifact.target}") as worker:
        worker.make("runner", "effc.backends.tflite.runner:LiteRTRunner", artifact.folder, artifact.main, 1)
        operators = tuple(worker.method("runner", "operators"))
    return told(operators, _nodes(artifact))


def _nodes(artifact: Artifact) -> dict[str, tuple[str, str]]:
    """ONNX tensor name to the (name, op) of the node that computes it, Q/DQ apart, as far as the artifact tells."""
    path = artifact.folder / QUANTIZED_NAME
    if not path.exists():
        return {}
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    found: dict[str, tuple[str, str]] = {}
    for node in graph.node:
        moved = found.get(node.input[0]) if node.op_type in ("QuantizeLinear", "DequantizeLinear") else None
        found.update(dict.fromkeys(node.output, moved or (node.name, node.op_type)))
    return found


def told(operators: Sequence[Operator], nodes: Mapping[str, tuple[str, str]]) -> Explanation:
    """The explanation of a list of operators."""
    layers = tuple(_layer(operator, nodes) for operator in operators if operator.op not in _MOVES)
    moves = [operator for operator in operators if operator.op in _MOVES]
    reformats = tuple(Reformat(m.tensor, *_ends(m), m.bytes) for m in moves)
    quantized = any(operator.dtype == "int8" for operator in operators)
    islands = _islands(operators) if quantized else []
    outside = [operator for operator in operators if not operator.delegated]
    inner = [run for run in islands if _returns(run, operators)]
    unfused = (
        *(_island(run, nodes, inside=run in inner) for run in islands),
        *(_builtin(operator, nodes) for operator in outside),
    )
    count = len(operators) - len(outside)
    return Explanation(
        basis=f"LiteRT's list of operators; {count} of {len(operators)} run in XNNPACK. It tells no times.",
        layers=layers,
        reformats=reformats,
        unfused=unfused,
        shares=shares(layers, reformats),
        advice=_advice(inner, outside, reformats, nodes),
    )


def _layer(operator: Operator, nodes: Mapping[str, tuple[str, str]]) -> LayerRow:
    node = _node(operator, nodes)
    note = "" if operator.delegated else "LiteRT's own kernel, on one thread without XNNPACK"
    return LayerRow(operator.tensor, operator.op, operator.dtype, (node[0],) if node else (), note=note)


def _node(operator: Operator, nodes: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    """The node whose output the tensor is named after: the emitter adds `;1`, `/padded` and the like to the name."""
    stem = operator.tensor.partition(";")[0]
    for name in (stem, stem.removesuffix("_quantized"), stem.rpartition("/")[0], f"{stem}_dequantized"):
        found = nodes.get(name)
        if found is not None and found[1] not in ("QuantizeLinear", "DequantizeLinear"):
            return found
    return None


def _ends(operator: Operator) -> tuple[str, str]:
    if operator.op == "TRANSPOSE":
        return f"{operator.dtype}", f"{operator.dtype}, other layout"
    return operator.source, operator.dtype


def _islands(operators: Sequence[Operator]) -> list[list[Operator]]:
    """Float operators that hang together, by tensors that one of them makes and another reads; moves apart."""
    floats = [o for o in operators if o.op not in _MOVES and o.dtype in _FLOATS and o.source in _FLOATS]
    islands: list[list[Operator]] = []
    for operator in floats:
        beside = [run for run in islands if any(set(o.makes) & set(operator.reads) for o in run)]
        islands = [run for run in islands if run not in beside]
        islands.append([*(o for run in beside for o in run), operator])
    return islands


def _returns(run: Sequence[Operator], operators: Sequence[Operator]) -> bool:
    """Whether int8 goes on behind an island, so that it costs a conversion on either side."""
    made = {tensor for operator in run for tensor in operator.makes}
    return any(o.op == "QUANTIZE" and made & set(o.reads) for o in operators)


def _island(run: Sequence[Operator], nodes: Mapping[str, tuple[str, str]], *, inside: bool) -> Unfused:
    where = "between int8 operators, so tensors are converted around it" if inside else "at the end of int8"
    return Unfused(_titles(run, nodes), f"it stays float32 {where}")


def _builtin(operator: Operator, nodes: Mapping[str, tuple[str, str]]) -> Unfused:
    node = _node(operator, nodes)
    name = f"{node[1]} {node[0]!r}" if node else operator.tensor
    return Unfused(name, f"XNNPACK does not take its {operator.op} in {operator.dtype}: LiteRT's own kernel runs")


def _titles(run: Iterable[Operator], nodes: Mapping[str, tuple[str, str]]) -> str:
    found = dict.fromkeys(
        f"{node[1]} {node[0]!r}" if (node := _node(o, nodes)) else f"{o.op} {o.tensor!r}" for o in run
    )
    return ", ".join(found)


def _advice(
    islands: Sequence[Sequence[Operator]],
    outside: Sequence[Operator],
    reformats: Sequence[Reformat],
    nodes: Mapping[str, tuple[str, str]],
) -> tuple[str, ...]:
    """What to change: operators outside the delegate cost most, then float islands, then what moves data."""
    texts = []
    if outside:
        texts.append(f"{len(outside)} operators run outside XNNPACK ({_titles(outside, nodes)}): replace these nodes.")
    for run in sorted(islands, key=len, reverse=True):
        texts.append(f"{_titles(run, nodes)} stays float32; quantize it (no --keep-float), or end int8 before it.")
    borders = [r for r in reformats if r.target == "float32" or r.source == "float32"]
    layouts = [r for r in reformats if r.target.endswith("layout")]
    if len(borders) > 2:
        texts.append(
            f"{len(borders)} conversions between float32 and int8 write {megabytes(borders):.3f} MB each time."
        )
    if layouts:
        made = f"{len(layouts)} transpose{'s' if len(layouts) > 1 else ''}: {megabytes(layouts):.3f} MB each time"
        texts.append(f"{made}; --io native gives inputs and outputs LiteRT's own layout and type.")
    return tuple(texts)
