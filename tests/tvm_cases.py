"""Small graphs for TVM's kernels, all in one model, so that one compilation serves many cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.compose
import onnx.parser
import tvm
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper, shape_inference
from tvm import relax
from tvm.ir import Op

from effc.backends.tvm.compile import export, library
from effc.backends.tvm.cpu import Cpu, host
from effc.backends.tvm.module import build
from effc.compiler import ir, oracle

Array = NDArray[np.generic]
Dims = Sequence[int | str]
BATCH = 3
"""What the symbol N stands for."""
_TYPES = {
    "float": np.float32,
    "half": np.float16,
    "double": np.float64,
    "long": np.int64,
    "int": np.int32,
    "bool": bool,
}


@dataclass(frozen=True)
class Case:
    """One graph with one output y.

    Attributes:
        body: statements such as "t = Relu(a); y = Add(t, b)", attributes as Op<name=value>.
        inputs: dims by name, float unless the name is "type:name"; or values.
        constants: by name.
    """

    name: str
    body: str
    inputs: Mapping[str, Dims | Array]
    constants: Mapping[str, ArrayLike] = field(default_factory=dict)

    def feeds(self, seed: int) -> dict[str, Array]:
        """Standard normal floats, integers around 0, coins."""
        random = np.random.default_rng(seed)
        return {_parts(key)[1]: _drawn(random, _parts(key)[0], given) for key, given in self.inputs.items()}

    def model(self) -> onnx.ModelProto:
        """With its dims inferred."""
        declared = []
        for key, given in self.inputs.items():
            dtype, name = _parts(key)
            dims = given.shape if isinstance(given, np.ndarray) else given
            declared.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims))
        held = [numpy_helper.from_array(_constant(value), name) for name, value in self.constants.items()]
        nodes = [_node(text) for text in self.body.split(";")]
        graph = helper.make_graph(nodes, "g", declared, [helper.make_empty_tensor_value_info("y")], held)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return shape_inference.infer_shapes(made, strict_mode=True, data_prop=True)


def _parts(key: str) -> tuple[type, str]:
    kind, _, name = key.rpartition(":")
    return _TYPES[kind or "float"], name


def _drawn(random: np.random.Generator, dtype: type, given: Dims | Array) -> Array:
    if isinstance(given, np.ndarray):
        return given.astype(dtype)
    dims = [BATCH if isinstance(d, str) else d for d in given]
    if dtype is bool:
        return random.integers(0, 2, dims).astype(bool)
    found = random.standard_normal(dims) if np.dtype(dtype).kind == "f" else random.integers(-5, 6, dims)
    return np.asarray(found).astype(dtype)


def _constant(value: ArrayLike) -> Array:
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _node(text: str) -> onnx.NodeProto:
    """`y, z = Op<axis=1>(a, , b)`."""
    graph = onnx.parser.parse_graph(f"g () => () {{ {text.strip()} }}")
    return graph.node[0]


@dataclass(frozen=True)
class Outcome:
    """A case's output by ONNX Runtime without optimizations, and by our library."""

    expected: Array
    found: Array


@dataclass(frozen=True)
class Outcomes:
    """Every case's outcome, from one library; `operators` are relax's: what is no call of a kernel was imported."""

    by_name: Mapping[str, Outcome]
    operators: frozenset[str]

    def __getitem__(self, name: str) -> Outcome:
        return self.by_name[name]


def outcomes(cases: Sequence[Case], folder: Path, cpu: Cpu | None = None) -> Outcomes:
    """All cases, compiled together for this CPU, or for another whose code it runs."""
    cpu = cpu or host()
    models = [onnx.compose.add_prefix(case.model(), f"c{i}_", rename_edges=True) for i, case in enumerate(cases)]
    whole = reduce(lambda a, b: onnx.compose.merge_models(a, b, io_map=[]), models)
    feeds = {f"c{i}_{k}": v for i, case in enumerate(cases) for k, v in case.feeds(i).items()}
    module = build(ir.from_proto(whole), cpu)
    export(library(module, cpu), folder / "model.so")
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(folder / "model.so")), tvm.cpu())
    found = list(machine["main"](*(tvm.runtime.tensor(feeds[i.name]) for i in whole.graph.input)))
    expected = oracle.evaluate(whole, [feeds])[0]
    made = {case.name: Outcome(expected[f"c{i}_y"], found[i].numpy()) for i, case in enumerate(cases)}
    return Outcomes(made, _operators(module))


def _operators(module: Any) -> frozenset[str]:
    """The relax operators of its main function."""
    bindings = [binding for block in module["main"].body.blocks for binding in block.bindings]
    return frozenset(b.value.op.name for b in bindings if isinstance(getattr(b.value, "op", None), Op))
