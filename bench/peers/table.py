"""The peers by name, and the entries that they take part in a benchmark with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from effc.bench.measure import Entry, Feeds
from effc.bench.remote import RemoteRunner, open_child
from effc.core.errors import BadInput
from effc.core.target import Target

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "fp8", "best", "typed")


@dataclass(frozen=True)
class Peer:
    """One of them.

    Attributes:
        runner: `module:Class` of its Runner, made with (model, precision, CPU threads).
        precisions: what may stand behind its name; the first is taken where nothing says better.
    """

    name: str
    runner: str
    precisions: tuple[str, ...] = ("fp32",)


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("trtexec", "effc.bench.peers.trtexec:Trtexec", PRECISIONS),
        Peer("ort-cuda", "effc.bench.peers.providers:CudaProvider"),
        Peer("ort-tensorrt", "effc.bench.peers.providers:TensorrtProvider", ("fp32", "fp16")),
        Peer("torch", "effc.bench.peers.compiled:TorchCompile", ("fp32", "fp16", "bf16")),
    )
}
BUILD_S = 7200.0
"""Peers build their engines in their first call, which may take as long as one of ours."""


@dataclass(frozen=True)
class Choice:
    """A peer in a precision."""

    peer: Peer
    precision: str

    def __str__(self) -> str:
        return f"{self.peer.name}-{self.precision}"

    def entry(self, model: Path, feeds: Feeds) -> Entry:
        """Its part in a benchmark of `model` on `feeds`, which are by ONNX name."""

        def opened(threads: int) -> AbstractContextManager[RemoteRunner]:
            return open_child(f"run {self}", self.peer.runner, (model, self.precision, threads), threads, BUILD_S)

        return Entry(str(self), f"{self} {model.name}", feeds, model.stat().st_size, opened)


def chosen(text: str, targets: Sequence[str]) -> tuple[Choice, ...]:
    """The peers that a list such as "trtexec,torch-fp16" names.

    A name without a precision takes that of the first TensorRT artifact in the benchmark, where the peer has it.

    Args:
        targets: of the artifacts that are measured.

    Raises BadInput for a name that is not known.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    wanted = [target.precision for target in map(Target.parse, targets) if target.backend in ("trt", "rtx")]
    choose = partial(_choice, wanted=wanted[0] if wanted else "")
    return tuple(dict.fromkeys(choose(name) for name in names))


def _choice(name: str, wanted: str) -> Choice:
    if name in PEERS:
        peer = PEERS[name]
        return Choice(peer, wanted if wanted in peer.precisions else peer.precisions[0])
    base, _, precision = name.rpartition("-")
    if base in PEERS and precision in PEERS[base].precisions:
        return Choice(PEERS[base], precision)
    known = ", ".join(f"{peer.name} ({'|'.join(peer.precisions)})" for peer in PEERS.values())
    raise BadInput(f"no peer is called {name!r}", where="--peers", hint=f"known: {known}")
