"""What `effc explain` tells of an artifact: which layer runs in which precision, what it costs, what to change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LayerRow:
    """A layer as the runtime executes it.

    Attributes:
        op: the runtime's own name of what it does.
        precision: what it computes in: "int8", "float16", "float32" and so on.
        nodes: names of the ONNX nodes that it does.
        ms: its time in one inference; None where it is not known.
        float_ms: the time of the same nodes in float32; None where it is not known.
        note: why it is what it is.
    """

    name: str
    op: str
    precision: str
    nodes: tuple[str, ...] = ()
    ms: float | None = None
    float_ms: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Reformat:
    """A layer that computes nothing: it changes type or layout. `bytes` are those it writes, None where unknown."""

    name: str
    source: str
    target: str
    bytes: int | None
    ms: float | None = None


@dataclass(frozen=True)
class Unfused:
    """A quantize or dequantize step that stays a layer of its own, or a node left outside the fast kernels."""

    node: str
    reason: str


@dataclass(frozen=True)
class Share:
    """What runs in one precision. `time` is a fraction 0..1 of the time of all layers, None where it is not known."""

    layers: int
    time: float | None


@dataclass(frozen=True)
class Kind:
    """All layers of one kind: their time in ms, and that of the same nodes in float32 where it was measured."""

    kind: str
    layers: int
    ms: float
    float_ms: float | None


@dataclass(frozen=True)
class Explanation:
    """An artifact's layers.

    Attributes:
        basis: what this was read from, and what it can therefore not know.
        verdict: the answer in a sentence, empty where there is none.
        shares: by precision.
        kinds: time by kind of layer, slowest first; empty where times are not known.
        advice: what to change, what gains most first.
    """

    basis: str
    layers: tuple[LayerRow, ...]
    reformats: tuple[Reformat, ...] = ()
    unfused: tuple[Unfused, ...] = ()
    shares: Mapping[str, Share] = field(default_factory=dict)
    kinds: tuple[Kind, ...] = ()
    verdict: str = ""
    advice: tuple[str, ...] = ()


def shares(layers: Iterable[LayerRow], reformats: Iterable[Reformat] = ()) -> dict[str, Share]:
    """Layers and time by precision; what computes nothing is "reformat"."""
    found: dict[str, list[float | None]] = defaultdict(list)
    for layer in layers:
        found[layer.precision].append(layer.ms)
    for reformat in reformats:
        found["reformat"].append(reformat.ms)
    known = [ms for times in found.values() for ms in times if ms is not None]
    total = sum(known)
    return {
        name: Share(len(times), sum(ms or 0.0 for ms in times) / total if total > 0 else None)
        for name, times in sorted(found.items())
    }


def megabytes(reformats: Iterable[Reformat]) -> float:
    """MB that reformats write in one inference, as far as known."""
    return sum(reformat.bytes or 0 for reformat in reformats) / 1e6
