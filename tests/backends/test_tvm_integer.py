"""Integer kernels against the same graph with Q/DQ in ONNX Runtime: at most one step apart, nearly always equal."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes
from tvm import relax

from effc.backends.tvm import compile, module
from effc.backends.tvm.cpu import ARM64, ARMV7, X86, Cpu, host
from effc.backends.tvm.toolchain import device
from effc.backends.tvm.toolchain.compilers import exporter
from effc.compiler import ir, oracle
from effc.core.artifact import Artifact
from effc.core.errors import BackendMissing
from effc.core.manifest import FileInfo, Manifest, Source, TensorInfo

Dims = tuple[int, ...]
STEP = 0.015
"""The outputs' scale."""


@dataclass
class Graph:
    """Branches side by side in one graph with Q/DQ, each from an input of its own to an output of its own."""

    seed: int = 0
    nodes: list[object] = field(default_factory=list)
    weights: list[object] = field(default_factory=list)
    inputs: dict[str, Dims] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def input(self, dims: Dims) -> str:
        name = self.name()
        self.inputs[name] = dims
        return name

    def constant(self, array: np.ndarray) -> str:
        name = self.name()
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        name = self.name()
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}_{name}", **attributes))
        return name

    def pair(self, value: str, scale: float = 0.02, zero: int = 7) -> str:
        """Q/DQ of an activation."""
        parameters = self.constant(np.float32(scale)), self.constant(np.int8(zero))
        return self.node("DequantizeLinear", self.node("QuantizeLinear", value, *parameters), *parameters)

    def weight(self, *dims: int, axis: int = 0) -> str:
        """Per-channel int8."""
        held = self.random.integers(-128, 128, dims).astype(np.int8)
        scale = self.random.uniform(0.5, 1.5, dims[axis]).astype(np.float32) / 128 / np.sqrt(np.prod(dims) / dims[axis])
        zero = np.zeros(dims[axis], np.int8)
        return self.node("DequantizeLinear", *map(self.constant, (held, scale.astype(np.float32), zero)), axis=axis)

    def bias(self, channels: int) -> str:
        return self.constant(self.random.standard_normal(channels).astype(np.float32) * 0.3)

    def output(self, value: str) -> None:
        self.outputs.append(value)

    def model(self) -> ir.Model:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in self.inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in self.outputs],
            self.weights,
        )
        opset = [helper.make_opsetid("", ir.INTERNAL_OPSET)]
        return ir.from_proto(
            infer_shapes(helper.make_model(graph, opset_imports=opset, ir_version=10), strict_mode=True)
        )

    def feeds(self) -> dict[str, np.ndarray]:
        return {n: self.random.standard_normal(d).astype(np.float32) for n, d in self.inputs.items()}


Case = Callable[[Graph], None]


def conv(image: Dims, outputs: int, kernel: int | tuple[int, int], *, group: int = 1, **attributes: object) -> Case:
    """Q/DQ, Conv, Relu, Q/DQ."""

    def write(g: Graph) -> None:
        taps = (kernel, kernel) if isinstance(kernel, int) else kernel
        weight = g.weight(outputs, image[1] // group, *taps)
        x = g.pair(g.input(image))
        y = g.node("Conv", x, weight, g.bias(outputs), group=group, kernel_shape=taps, **attributes)
        g.output(g.pair(g.node("Relu", y), STEP, -100))

    return write


def pool(op: str, image: Dims, **attributes: object) -> Case:
    """Q/DQ, a pool, Q/DQ."""

    def write(g: Graph) -> None:
        axes = (g.constant(np.array([2, 3])),) if op == "ReduceMean" else ()
        g.output(g.pair(g.node(op, g.pair(g.input(image)), *axes, **attributes), STEP, -20))

    return write


def moved(op: str, images: list[Dims], *constants: np.ndarray, **attributes: object) -> Case:
    """Q/DQ, a mover with the same scale on both sides, Q/DQ; a convolution reads it."""

    def write(g: Graph) -> None:
        read = [g.pair(g.input(dims)) for dims in images]
        y = g.pair(g.node(op, *read, *(g.constant(c) if c.size else "" for c in constants), **attributes))
        channels = sum(dims[1] for dims in images)
        g.output(g.pair(g.node("Conv", y, g.weight(16, channels, 1, 1)), STEP, 5))

    return write


def residual(image: Dims, *, relu: bool) -> Case:
    """Two convolutions of one tensor, their sum in the second one's kernel."""

    def write(g: Graph) -> None:
        x, channels = g.pair(g.input(image)), image[1]
        a = g.pair(g.node("Conv", x, g.weight(channels, channels, 1, 1), g.bias(channels)), 0.03, -4)
        b = g.node("Conv", a, g.weight(channels, channels, 3, 3), g.bias(channels), pads=[1, 1, 1, 1])
        total = g.node("Add", x, b)
        g.output(g.pair(g.node("Relu", total) if relu else total, STEP, -30))

    return write


def gated(image: Dims) -> Case:
    """`x * HardSigmoid(Conv(mean(x)))`, in bytes."""

    def write(g: Graph) -> None:
        x, channels = g.pair(g.input(image)), image[1]
        mean = g.pair(g.node("GlobalAveragePool", x), 0.004, 3)
        gate = g.node("HardSigmoid", g.node("Conv", mean, g.weight(channels, channels, 1, 1), g.bias(channels)))
        g.output(g.pair(g.node("Mul", x, g.pair(gate, 1 / 255, -128)), STEP, 0))

    return write


def dense(rows: Dims, outputs: int, **attributes: int) -> Case:
    """Q/DQ, Gemm or MatMul, Q/DQ."""

    def write(g: Graph) -> None:
        x, dims = g.pair(g.input(rows)), (rows[-1], outputs)
        if "transB" in attributes:
            y = g.node("Gemm", x, g.weight(*dims[::-1]), g.bias(outputs), **attributes)
        elif attributes:
            y = g.node("Gemm", x, g.weight(*dims, axis=1), g.bias(outputs))
        else:
            y = g.node("MatMul", x, g.weight(*dims, axis=1))
        g.output(g.pair(y, STEP, 3))

    return write


SAME = {"pads": [1, 1, 1, 1]}
WIDE = {"pads": [2, 2, 2, 2]}
CASES: dict[str, Case] = {
    "pointwise": conv((1, 32, 9, 7), 48, 1),
    "pointwise, odd channels": conv((2, 19, 5, 5), 21, 1),
    "pointwise, one pixel": conv((1, 40, 1, 1), 24, 1),
    "pointwise, strided": conv((1, 16, 8, 9), 16, 1, strides=[2, 2]),
    "pointwise, padded": conv((1, 16, 4, 4), 16, 1, **SAME),
    "3x3": conv((1, 16, 14, 14), 32, 3, **SAME),
    "3x3, odd": conv((1, 18, 13, 11), 33, 3, **SAME),
    "3x3, strided, uneven pads": conv((1, 32, 15, 15), 16, 3, strides=[2, 2], pads=[0, 0, 1, 1]),
    "3x3, dilated": conv((1, 16, 12, 12), 16, 3, dilations=[2, 2], **WIDE),
    "3x3, small image": conv((1, 16, 2, 2), 16, 3, **SAME),
    "5x5, image smaller than pads": conv((1, 16, 1, 3), 16, 5, **WIDE),
    "1x5": conv((1, 16, 6, 17), 16, (1, 5), pads=[0, 2, 0, 2]),
    "first, 3 channels": conv((2, 3, 33, 31), 16, 3, strides=[2, 2], **SAME),
    "first, 7x7": conv((1, 3, 40, 40), 24, 7, strides=[2, 2], pads=[3, 3, 3, 3]),
    "first, 1 channel": conv((1, 1, 12, 12), 16, 3, **SAME),
    "first, dilated": conv((1, 3, 12, 12), 16, 3, dilations=[2, 2], **WIDE),
    "depthwise 3x3": conv((1, 32, 12, 12), 32, 3, group=32, **SAME),
    "depthwise 3x3, strided, odd": conv((2, 19, 15, 13), 19, 3, group=19, strides=[2, 2], **SAME),
    "depthwise 5x5": conv((1, 16, 14, 20), 16, 5, group=16, **WIDE),
    "depthwise 5x5, small image": conv((1, 16, 2, 3), 16, 5, group=16, **WIDE),
    "depthwise 3x3, dilated": conv((1, 16, 9, 9), 16, 3, group=16, dilations=[2, 2], **WIDE),
    "depthwise 9x9": conv((1, 16, 11, 11), 16, 9, group=16, pads=[4, 4, 4, 4]),
    "grouped, whole blocks": conv((1, 64, 7, 7), 32, 3, group=2, **SAME),
    "grouped, within a block": conv((1, 32, 7, 7), 32, 3, group=8, **SAME),
    "grouped, odd": conv((1, 18, 7, 7), 12, 3, group=3, **SAME),
    "two outputs for each channel": conv((1, 16, 7, 7), 32, 3, group=16, **SAME),
    "one output": conv((1, 16, 7, 7), 1, 3, **SAME),
    "gemm, one row": dense((1, 64), 40, transB=1),
    "gemm, rows and odd ends": dense((13, 37), 21, alpha=1),
    "matmul, three axes": dense((2, 7, 24), 32),
    "matmul, few outputs": dense((3, 30), 5),
    "global average": pool("GlobalAveragePool", (2, 37, 7, 5)),
    "mean of the image": pool("ReduceMean", (1, 32, 6, 6), keepdims=1),
    "mean without its axes": pool("ReduceMean", (1, 21, 6, 6), keepdims=0),
    "average": pool("AveragePool", (1, 16, 9, 9), kernel_shape=[3, 3], strides=[2, 2], **SAME),
    "average with its padding": pool("AveragePool", (1, 16, 9, 9), kernel_shape=[3, 3], count_include_pad=1, **SAME),
    "residual": residual((1, 32, 7, 7), relu=False),
    "residual, odd, relu": residual((1, 19, 8, 8), relu=True),
    "gate": gated((2, 24, 6, 6)),
    "joined": moved("Concat", [(1, 16, 5, 5), (1, 32, 5, 5)], axis=1),
    "joined, odd": moved("Concat", [(1, 5, 5, 5), (1, 7, 5, 5)], axis=1),
    "enlarged": moved("Resize", [(1, 16, 5, 5)], np.empty(0), np.array([1, 1, 2, 2], np.float32), mode="nearest"),
    "padded": moved("Pad", [(1, 16, 5, 5)], np.array([0, 0, 1, 2, 0, 0, 1, 0])),
    "largest": moved("MaxPool", [(1, 20, 9, 9)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "maximum": pool("MaxPool", (1, 20, 9, 9), kernel_shape=[3, 3], strides=[2, 2], **SAME),
}


Feeds = dict[str, np.ndarray]


def compiled(graph: Graph, cpu: Cpu) -> relax.VMExecutable:
    return compile.library(module.build(graph.model(), cpu), cpu)


def native(graph: Graph, cpu: Cpu, feeds: Feeds, folder: Path) -> list[np.ndarray]:
    """Outputs of the kernels, run here."""
    del folder
    machine = relax.VirtualMachine(compiled(graph, cpu), tvm.cpu())
    found = machine["main"](*(tvm.runtime.tensor(x) for x in feeds.values()))
    return [x.numpy() for x in ([found] if len(graph.outputs) == 1 else list(found))]


def emulated(graph: Graph, cpu: Cpu, feeds: Feeds, folder: Path) -> list[np.ndarray]:
    """The same in an emulator."""
    try:
        device.transport(cpu.machine)
    except BackendMissing as error:
        pytest.skip(f"no qemu-{cpu.machine}: {error.what}")
    compiled(graph, cpu).export_library(str(folder / "model.so"), fcompile=exporter(cpu.machine))
    data = (folder / "model.so").read_bytes()
    inputs = tuple(TensorInfo(n, "float32", d) for n, d in graph.inputs.items())
    outputs = tuple(TensorInfo(v.name or "", "float32", ir.shape(v) or ()) for v in graph.model().graph.outputs)
    files = (FileInfo("model.so", hashlib.sha256(data).hexdigest(), len(data)),)
    source = Source("kernels", "", ir.INTERNAL_OPSET)
    target = f"tvm-arm64-int8:{cpu.name}"
    Manifest("0", target, "onnx", source, inputs, outputs, files, "model.so").write(folder, {})
    (found,) = device.run(Artifact(folder, Manifest.read(folder)), [feeds], cpu="max")
    return [found[n] for n in graph.outputs]


def steps(cases: Mapping[str, Case], cpu: Cpu, folder: Path) -> dict[str, np.ndarray]:
    """How many steps the outputs lie apart, by case."""
    graph = Graph()
    for case in cases.values():
        case(graph)
    feeds = graph.feeds()
    (wanted,) = oracle.evaluate(graph.model(), [feeds])
    found = (native if cpu.machine == platform.machine() else emulated)(graph, cpu, feeds, folder)
    values = (wanted[n] for n in graph.outputs)
    return {name: np.abs(f - w) / STEP for name, f, w in zip(cases, found, values, strict=True)}


def _check(apart: np.ndarray) -> None:
    """Sums are exact, so that only a float's last bit can tip a rounding."""
    assert apart.max() < 1.001
    assert np.mean(apart > 0.5) < 0.01


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return steps(CASES, host(), tmp_path_factory.mktemp("kernels"))


@pytest.mark.parametrize("case", CASES)
def test_kernel_is_within_one_step(apart: dict[str, np.ndarray], case: str) -> None:
    _check(apart[case])


SOME = (
    *("pointwise, odd channels", "3x3, odd", "first, 3 channels", "depthwise 3x3, strided, odd", "depthwise 5x5"),
    *("gemm, rows and odd ends", "global average", "residual, odd, relu", "largest"),
)


WIDE_OR_NOT = ("x86-64-v3", "x86-64-v4") if host().bits == 512 else ("x86-64-v3",)


@pytest.mark.parametrize("name", [*WIDE_OR_NOT, "neoverse-n1", "neoverse-v1", "cortex-a53"])
def test_kernels_of_other_cpus_are_within_one_step(name: str, tmp_path: Path) -> None:
    cpu = {**X86, **ARM64}[name]
    for found in steps({case: CASES[case] for case in SOME}, cpu, tmp_path).values():
        _check(found)


INSTRUCTIONS = {
    "znver4": ("vpdpbusd",),
    "alderlake": ("vpdpbusd",),
    "skylake-avx512": ("vpmaddwd",),
    "x86-64-v3": ("vpmaddwd",),
    "neoverse-n1": ("sdot",),
    "neoverse-v1": ("smmla",),
    "cortex-a53": ("smull", "sadalp"),
    "cortex-a7": ("vmull.s8", "vpaddl.s16"),
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_instructions(name: str) -> None:
    """`vpmaddubsw` saturates: it is nowhere."""
    graph = Graph()
    conv((1, 16, 4, 4), 16, 1)(graph)
    executable = compiled(graph, {**X86, **ARM64, "cortex-a7": ARMV7}[name])
    text = "".join(m.inspect_source("asm") for m in executable.mod.imports if m.kind == "llvm")
    for instruction in INSTRUCTIONS[name]:
        assert instruction in text
    assert "vpmaddubsw" not in text
