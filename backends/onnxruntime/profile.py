"""Times of ONNX Runtime's kernels on a graph and on the same graph without its Q/DQ. Runs in a child process."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from effc.backends.base import Array, Feeds
from effc.compiler import ir

_BUDGET_S = 1.0
_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class Kernel:
    """One kernel of the optimized graph.

    Attributes:
        dtype: element type of its first input; `made` that of its first output.
        bytes: of its outputs.
        ms: median of its runs.
    """

    name: str
    op: str
    dtype: str
    made: str
    bytes: int
    ms: float


def profile(model: Path | bytes, feeds: Feeds, threads: int = 1) -> tuple[Kernel, ...]:
    """Kernels in the order in which they ran, timed over about a second."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="effc-profile-") as folder:
        options = ort.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "ort")
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        source = model if isinstance(model, bytes) else os.fspath(model)
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        start = time.perf_counter()
        session.run(None, dict(feeds))
        runs = int(np.clip(_BUDGET_S / (time.perf_counter() - start), 5, 100))
        for _ in range(runs):
            session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _kernels(event for event in events if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX))


def _kernels(events: Any) -> tuple[Kernel, ...]:
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    details: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        key = (event["name"].removesuffix(_SUFFIX), event["args"]["op_name"])
        times[key].append(event["dur"] / 1e3)
        details[key] = event["args"]
    return tuple(
        Kernel(*key, *_types(details[key]), int(details[key].get("output_size") or 0), statistics.median(found))
        for key, found in times.items()
    )


def _types(args: dict[str, Any]) -> tuple[str, str]:
    """Element types of the first input and the first output."""
    first: list[dict[str, Any]] = [
        next(iter(args.get(side) or [{}]), {}) for side in ("input_type_shape", "output_type_shape")
    ]
    source, made = (next(iter(entry), "") for entry in first)
    return source, made


def both(model: Path, floats: Path | None, feeds: Feeds) -> tuple[tuple[Kernel, ...], tuple[Kernel, ...]]:
    """Kernels of the graph and of the same in float32: of `floats`, else of the graph without Q/DQ, if it has any."""
    twin = floats or float_twin(onnx.load(str(model)))
    return profile(model, feeds), () if twin is None else profile(twin, feeds)


def float_twin(proto: onnx.ModelProto) -> bytes | None:
    """DequantizeLinear(QuantizeLinear(x)) is x, DequantizeLinear of a constant is a float constant.

    None where the graph has no such pair, or takes or gives integers in place of floats.
    """
    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    same: dict[str, str] = {}
    for node in [n for n in graph.node if n.op_type == "DequantizeLinear"]:
        source, name = node.input[0], node.output[0]
        if source in constants:
            arrays = [numpy_helper.to_array(constants[i]) for i in node.input if i]
            graph.initializer.append(numpy_helper.from_array(_dequantized(arrays, node), name))
            graph.node.remove(node)
        elif source in makers and makers[source].op_type == "QuantizeLinear":
            same[name] = makers[source].input[0]
        else:
            return None
    if not same:
        return None
    for node in graph.node:
        node.input[:] = [_followed(name, same) for name in node.input]
    for node in [n for n in graph.node if n.output[0] in same]:
        node.CopyFrom(onnx.helper.make_node("Identity", [_followed(node.output[0], same)], list(node.output)))
    del graph.value_info[:]
    model = ir.from_proto(proto)
    ir.prune(model)
    return ir.to_bytes(model)


def _followed(name: str, same: dict[str, str]) -> str:
    while name in same:
        name = same[name]
    return name


def _dequantized(arrays: list[Array], node: onnx.NodeProto) -> Array:
    """(q - zero point) * scale, along the node's axis where there is a scale for each channel."""
    values, scale, *zero = (np.asarray(a, np.float32) for a in arrays)
    axis = next((int(a.i) for a in node.attribute if a.name == "axis"), 1)
    dims = [1] * values.ndim
    if scale.size > 1:
        dims[axis] = -1
    offset = zero[0].reshape(dims) if zero and zero[0].size > 1 else (zero[0] if zero else np.float32(0))
    return np.asarray((values - offset) * (scale.reshape(dims) if scale.size > 1 else scale), np.float32)
