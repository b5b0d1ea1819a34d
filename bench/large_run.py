"""A model over 2 GB through `effc simplify`: seconds, and the most memory that is no file's, in it and in its children.

Run alone it is `python -m effc.bench.large_run FOLDER GIB`; `make bench-simplify` puts it on its page.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from effc.core.errors import BackendFailed

STAGE = "effc simplify"
GIB = 3.0
_OPSET = 17
_LARGE_WIDTH, _SMALL_WIDTH = 1024, 384
_INTERVAL_S = 0.02
_BLOCK = 1 << 22
Array = NDArray[np.float32]


@dataclass(frozen=True)
class LargeRow:
    """One run. Memory is the peak of anonymous pages in MB: those of mapped files are the weights themselves.

    Attributes:
        megabytes: of the model and its weights.
        own_mb: of the command's own process.
        child_mb: of the largest of its children; the proof runs in one.
        sqnr_db: the proof's worst output, None where it was not asked for, infinite where all are equal.
        beside: whether weights were saved beside the model.
    """

    megabytes: int
    nodes_before: int
    nodes_after: int
    seconds: float
    own_mb: int
    child_mb: int
    sqnr_db: float | None
    beside: bool


def large_run(folder: Path, gib: float = GIB, *, proof: bool = True) -> LargeRow:
    """Make a model of so many GiB in the folder, simplify it by the command, and measure.

    Half of the weights are of convolutions that take over a batch normalization, so that they become new ones.
    Raises BackendFailed when the command fails.
    """
    model, output = made(folder, gib), folder / "out.onnx"
    words = [sys.executable, "-m", "effc.cli.main", "simplify", str(model), str(output), "--json", "--overwrite"]
    start = time.perf_counter()
    text, own, child = _watched([*words, *([] if proof else ["--no-proof"])])
    seconds = time.perf_counter() - start
    report = json.loads(text)
    if "error" in report:
        raise BackendFailed(report["error"]["what"], stage=STAGE)
    before, after = (sum(report[key].values()) for key in ("before", "after"))
    worst = report["proof"] and (np.inf if (db := report["proof"]["worst_sqnr_db"]) is None else db)
    size = sum(path.stat().st_size for path in (model, data_of(model))) >> 20
    return LargeRow(size, before, after, seconds, own >> 10, child >> 10, worst, data_of(output).exists())


def section(gib: float = GIB) -> str:
    """The run as Markdown."""
    with tempfile.TemporaryDirectory(prefix="effc-large-") as folder:
        row = large_run(Path(folder), gib)
    proved = "equal" if row.sqnr_db == np.inf else f"equal to {row.sqnr_db:.0f} dB"
    return (
        "## A model over 2 GB\n\n"
        "| model and weights | nodes in | nodes out | seconds | memory, MB | its largest child's, MB | outputs |\n"
        "|---|---|---|---|---|---|---|\n"
        f"| {row.megabytes} MB | {row.nodes_before} | {row.nodes_after} | {row.seconds:.0f} | {row.own_mb} "
        f"| {row.child_mb} | {proved} |\n\n"
        "Memory is the peak of anonymous pages. Weights are mapped from the files where they lie, and those that a "
        "rewrite makes are, too. The proof is in the seconds, and runs in a child.\n"
    )


# the model


def data_of(model: Path) -> Path:
    """The file of its weights."""
    return model.with_name(f"{model.name}.data")


def made(folder: Path, gib: float) -> Path:
    """Write a model of about so many GiB with its weights beside it: convolutions on a 4x4 image, then products."""
    path, random = folder / "in.onnx", np.random.default_rng(0)
    width = _LARGE_WIDTH if gib >= 1 else _SMALL_WIDTH
    pairs = max(1, round(gib * 2**30 / (4 * 27 * width * width)))
    model = _empty(width)
    with data_of(path).open("wb") as stream:
        last = "x"
        for index in range(pairs):
            last = _convolution(model, stream, last, f"c{index}", random)
        model.graph.node.append(helper.make_node("ReduceMean", [last], ["mean"], axes=[2, 3], keepdims=0))
        last = "mean"
        for index in range(pairs):
            last = _products(model, stream, last, f"p{index}", random)
    model.graph.node.append(helper.make_node("Identity", [last], ["y"]))
    path.write_bytes(model.SerializeToString())
    return path


def _empty(width: int) -> ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", width, 4, 4])
    wanted = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", width])
    graph = helper.make_graph([], "large", [given], [wanted])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _convolution(model: ModelProto, stream: BinaryIO, given: str, name: str, random: np.random.Generator) -> str:
    width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    _weight(model, stream, f"{name}.w", (width, width, 3, 3), random)
    around = {"scale": 1.0, "bias": 0.0, "mean": 0.0, "variance": 1.0}
    for kind, center in around.items():
        array = (center + 0.1 * random.random(width)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}.{kind}"))
    model.graph.node.extend(
        [
            helper.make_node("Conv", [given, f"{name}.w"], [f"{name}.conv"], pads=[1, 1, 1, 1]),
            helper.make_node(
                "BatchNormalization", [f"{name}.conv", *(f"{name}.{kind}" for kind in around)], [f"{name}.norm"]
            ),
            helper.make_node("Relu", [f"{name}.norm"], [f"{name}.out"]),
        ]
    )
    return f"{name}.out"


def _products(model: ModelProto, stream: BinaryIO, given: str, name: str, random: np.random.Generator) -> str:
    """Two products, from the width to nine times as much and back, with what exporters leave around them."""
    width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    _weight(model, stream, f"{name}.up", (width, 9 * width), random)
    _weight(model, stream, f"{name}.down", (9 * width, width), random)
    names = [given, *(f"{name}.{step}" for step in ("same", "wide", "turned", "back", "positive", "out"))]
    ops = ("Identity", "MatMul", "Transpose", "Transpose", "Relu", "MatMul")
    weights = {"wide": f"{name}.up", "out": f"{name}.down"}
    for op, source, target in zip(ops, names, names[1:], strict=False):
        inputs = [source, *filter(None, [weights.get(target.rpartition(".")[2])])]
        model.graph.node.append(helper.make_node(op, inputs, [target]))
    return names[-1]


def _weight(model: ModelProto, stream: BinaryIO, name: str, dims: tuple[int, ...], random: np.random.Generator) -> None:
    """Normal numbers that keep the scale of activations, written a block at a time."""
    count = int(np.prod(dims))
    inner = count // dims[0] if len(dims) > 2 else dims[0]
    offset = stream.tell()
    for start in range(0, count, _BLOCK):
        block = random.standard_normal(min(_BLOCK, count - start), np.float32) * np.float32((2 / inner) ** 0.5)
        stream.write(block.data.cast("B"))
    tensor = model.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", Path(stream.name).name), ("offset", offset), ("length", 4 * count)):
        tensor.external_data.add(key=key, value=str(value))


# memory


def _watched(words: list[str]) -> tuple[str, int, int]:
    """What a command prints, and the peaks of its own and of its largest child's anonymous pages, in KiB."""
    own, child = 0, 0
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        while process.poll() is None:
            own = max(own, _anonymous(process.pid))
            child = max(child, *(_anonymous(each) for each in _descendants(process.pid)), 0)
            time.sleep(_INTERVAL_S)
        assert process.stdout is not None
        return process.stdout.read(), own, child


def _anonymous(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)


def _descendants(process: int) -> Iterator[int]:
    try:
        found = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return
    for child in found:
        yield child
        yield from _descendants(child)


if __name__ == "__main__":
    print(large_run(Path(sys.argv[1]), float(sys.argv[2])))
