"""Simplifiers side by side: each a command on a file, in a process of its own, judged by one rule.

A result counts when the file is at most 1 % larger than the original, holds no op of a domain that the original does
not, and computes the same as it on seeded inputs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import onnx

from effc.compiler import frontend, ir, reader
from effc.compiler.proof import prove
from effc.compiler.protos import of_model
from effc.compiler.walk import op_counts
from effc.core.errors import BackendMissing, BadInput, EffcError

ENVIRONMENT = Path(".venv-peers")
DEADLINE_S = 300.0
LENGTH_DEADLINE_S = 150.0
"""For a generated graph, of which nothing but the time is asked."""
GROWTH = 1.01
_LAST_WORDS = 160
_STANDARD = ("", "ai.onnx")
_ORT_BASIC = """
import sys, onnx, onnxruntime as ort
model = onnx.load(sys.argv[1])
weights = {tensor.name for tensor in model.graph.initializer}
inputs = [value for value in model.graph.input if value.name not in weights]
listed = len(inputs) < len(model.graph.input)
del model.graph.input[:]
model.graph.input.extend(inputs)
model.ir_version = max(model.ir_version, 4)
options = ort.SessionOptions()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
options.optimized_model_filepath = sys.argv[2]
ort.InferenceSession(model.SerializeToString() if listed else sys.argv[1], options, providers=["CPUExecutionProvider"])
"""
"""Weights that the file lists among the inputs would not be folded, so they are struck from there first."""


@dataclass(frozen=True)
class Simplifier:
    """A command that takes a model file and an output file after its own words."""

    name: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Attempt:
    """One run: wall seconds of the process; `failure` says why there is no output."""

    seconds: float
    failure: str = ""


@dataclass(frozen=True)
class Verdict:
    """What an output is.

    Attributes:
        nodes: subgraphs' and functions' included, Constant nodes not.
        bytes: external data included.
        growth: bytes by those of the original.
        faults: why it is no result whatever its size: foreign ops, other outputs.
        unproved: why outputs were not compared, where the original itself cannot be run.
    """

    nodes: int
    bytes: int
    growth: float
    faults: tuple[str, ...]
    unproved: str = ""

    def counts(self, limit: float = GROWTH) -> bool:
        """Whether it is a result, at most `limit` times as large as the original."""
        return not self.faults and self.growth <= limit


def peers(environment: Path = ENVIRONMENT) -> tuple[Simplifier, ...]:
    """The three others. Raises BackendMissing where `environment` lacks the first two's commands."""
    commands = {name: environment.absolute() / "bin" / name for name in ("onnxslim", "onnxsim")}
    for name, path in commands.items():
        if not path.is_file():
            raise BackendMissing(f"{name} is not there", where=str(path), hint="make bench-simplify sets it up")
    others = tuple(Simplifier(name, (str(path),)) for name, path in commands.items())
    return (*others, Simplifier("ORT basic", (sys.executable, "-c", _ORT_BASIC)))


def effc(growth: str = "") -> Simplifier:
    """`effc simplify` without its proof, which no peer has."""
    flags = ("--max-growth", growth) if growth else ()
    command = (sys.executable, "-m", "effc.cli.main", "simplify", "--no-proof", *flags)
    return Simplifier(f"effc {growth}".strip(), command)


def attempt(simplifier: Simplifier, model: Path, output: Path, deadline: float = DEADLINE_S) -> Attempt:
    """Run it once, its words kept to itself; it is stopped after `deadline` seconds."""
    command = [*simplifier.command, str(model.resolve()), str(output.resolve())]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        try:
            done = subprocess.run(command, cwd=output.parent, stdout=log, stderr=log, timeout=deadline, check=False)
        except subprocess.TimeoutExpired:
            return Attempt(deadline, f"stopped after {deadline:.0f} s")
        seconds = time.perf_counter() - start
        if done.returncode == 0 and output.is_file():
            return Attempt(seconds)
        log.seek(0)
        return Attempt(seconds, _last_words(log.read().decode(errors="replace")) or f"status {done.returncode}")


def _last_words(log: str) -> str:
    """The line that looks like the error's, else the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "rror" in line]
    return (telling or lines or [""])[-1][:_LAST_WORDS]


def node_count(model: onnx.ModelProto) -> int:
    """All nodes but Constant, those of subgraphs and functions included."""
    return sum(op_counts(of_model(model)).values())


def read(path: Path) -> onnx.ModelProto:
    """The model without its external data."""
    return onnx.load(str(path), load_external_data=False)


def file_bytes(path: Path) -> int:
    """The file and the external data that it names."""
    model = read(path)
    names = {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}
    return sum(each.stat().st_size for each in (path, *(path.parent / name for name in names)))


def judge(original: Path, output: Path) -> Verdict:
    """What `output` is beside `original`. The comparison of outputs runs in a child."""
    before, after = read(original), read(output)
    allowed = {node.domain for node in of_model(before)} | {f.domain for f in after.functions} | set(_STANDARD)
    foreign = sorted({node.domain for node in of_model(after)} - allowed)
    faults = [f"ops of {', '.join(foreign)}"] if foreign else []
    size, unproved = file_bytes(output), ""
    try:
        _compare(original, output)
    except BadInput as error:
        unproved = _told(error)
    except EffcError as error:
        faults.append(_told(error))
    return Verdict(node_count(after), size, size / file_bytes(original), tuple(faults), unproved)


def _compare(original: Path, output: Path) -> None:
    """Raises EffcError where the two do not compute the same, BadInput where the original cannot be run."""
    before = frontend.load(original).original
    try:
        after = reader.read(output).proto
    except BadInput as error:
        raise EffcError(error.what, where=error.where) from error
    _take_inputs(after.graph, before.graph)
    prove(before, ir.from_proto(after))


def _told(error: EffcError) -> str:
    return f"{error.where}: {error.what}".strip(": ").replace("\n", " ")[:_LAST_WORDS]


def _take_inputs(graph: onnx.GraphProto, original: onnx.GraphProto) -> None:
    """Give the inputs the original's dims, so that both see the same."""
    declared = {value.name: value for value in original.input}
    for value in graph.input:
        if value.name in declared:
            value.CopyFrom(declared[value.name])
