"""Two small TVM libraries as artifacts: `python tvm_models.py FOLDER MACHINE..` writes FOLDER/MACHINE/NAME each.

dense: y = sigmoid(x @ W) in float32, of any number of rows.
integer: two inputs, two outputs; an int8 product summed in int32, with `sdot` on ARM, its rows in parallel.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effc.backends.tvm.toolchain.compilers import exporter
from effc.backends.tvm.toolchain.machines import MACHINES
from effc.core.manifest import FileInfo, Manifest, Source, TensorInfo

Array = NDArray[Any]
ROWS, DEPTH, COLUMNS = 4, 32, 8
LLVM = {
    "x86_64": {"kind": "llvm", "mtriple": "x86_64-linux-gnu"},
    "aarch64": {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+neon", "+dotprod"]},
}
INTERFACES = {
    "dense": ((TensorInfo("x", "float32", ("N", 8)),), (TensorInfo("y", "float32", ("N", 4)),)),
    "integer": (
        (TensorInfo("a", "int8", (ROWS, DEPTH)), TensorInfo("scale", "float32", (ROWS, COLUMNS))),
        (TensorInfo("sums", "int32", (ROWS, COLUMNS)), TensorInfo("share", "float32", (ROWS, COLUMNS))),
    ),
}


def feeds(name: str, rows: int = 3, seed: int = 0) -> dict[str, Array]:
    draw = np.random.default_rng(seed)
    if name == "dense":
        return {"x": draw.standard_normal((rows, 8)).astype(np.float32)}
    scale = draw.uniform(0, 1e-3, (ROWS, COLUMNS)).astype(np.float32)
    return {"a": draw.integers(-128, 128, (ROWS, DEPTH), dtype=np.int8), "scale": scale}


def expected(name: str, given: Mapping[str, Array]) -> dict[str, Array]:
    """Integer sums exactly, floats in float64."""
    if name == "dense":
        return {"y": _sigmoid(given["x"].astype(np.float64) @ _dense_weights())}
    sums = given["a"].astype(np.int32) @ _integer_weights().astype(np.int32)
    return {"sums": sums, "share": _sigmoid(sums * given["scale"].astype(np.float64))}


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _dense_weights() -> Array:
    return np.random.default_rng(7).standard_normal((8, 4)).astype(np.float32)


def _integer_weights() -> Array:
    """Depth by columns."""
    return np.random.default_rng(8).integers(-128, 128, (DEPTH, COLUMNS), dtype=np.int8)


def dense() -> Any:
    import tvm
    from tvm import relax

    builder, rows = relax.BlockBuilder(), tvm.tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType((rows, 8), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            product = builder.emit(relax.op.matmul(x, relax.const(_dense_weights())))
            y = builder.emit_output(relax.op.sigmoid(product))
        builder.emit_func_output(y)
    return builder.get()


def integer(arm: bool) -> Any:
    from tvm import relax, s_tir, te

    def dot(a: Any, w: Any) -> Any:
        block, byte = te.reduce_axis((0, DEPTH // 4), "block"), te.reduce_axis((0, 4), "byte")

        def sum_of(m: Any, o: Any, i: Any) -> Any:
            return te.sum(a[m, block * 4 + byte].astype("int32") * w[o, block, i, byte].astype("int32"), [block, byte])

        return te.compute((ROWS, COLUMNS // 4, 4), sum_of, name="dot")

    packed = _integer_weights().reshape(DEPTH // 4, 4, COLUMNS // 4, 4).transpose(2, 0, 3, 1)
    builder = relax.BlockBuilder()
    a = relax.Var("a", relax.TensorType((ROWS, DEPTH), "int8"))
    scale = relax.Var("scale", relax.TensorType((ROWS, COLUMNS), "float32"))
    with builder.function("main", [a, scale]):
        with builder.dataflow():
            tiles = builder.emit_te(dot, a, relax.const(packed.copy()), primfunc_name_hint="dot")
            sums = builder.emit(relax.op.reshape(tiles, (ROWS, COLUMNS)))
            share = builder.emit(relax.op.sigmoid(relax.op.multiply(relax.op.astype(sums, "float32"), scale)))
            both = builder.emit_output(relax.Tuple([sums, share]))
        builder.emit_func_output(both)
    schedule = s_tir.Schedule(builder.get())
    schedule.work_on("dot")
    row, column, lane, block, byte = schedule.get_loops(schedule.get_sblock("dot"))
    schedule.reorder(row, column, block, lane, byte)
    schedule.parallel(row)
    schedule.decompose_reduction(schedule.get_sblock("dot"), block)
    if arm:
        schedule.tensorize(lane, register_sdot())
    return schedule.mod


def register_sdot() -> str:
    """c[i] += sum of a[k] * b[i, k], four lanes of four bytes: one instruction. The name that it is registered by."""
    from tvm.s_tir import TensorIntrin
    from tvm.script import tirx as T

    @T.prim_func(s_tir=True)
    def meaning(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (4,), dtype="int8", offset_factor=1)
        B = T.match_buffer(b, (4, 4), dtype="int8", offset_factor=1)
        C = T.match_buffer(c, (4,), dtype="int32", offset_factor=1)
        with T.sblock("root"):
            T.reads(C[0:4], A[0:4], B[0:4, 0:4])
            T.writes(C[0:4])
            for i, k in T.grid(4, 4):
                with T.sblock("update"):
                    vi, vk = T.axis.remap("SR", [i, k])
                    C[vi] = C[vi] + T.cast(A[vk], "int32") * T.cast(B[vi, vk], "int32")

    @T.prim_func(s_tir=True)
    def instruction(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (4,), dtype="int8", offset_factor=1)
        B = T.match_buffer(b, (4, 4), dtype="int8", offset_factor=1)
        C = T.match_buffer(c, (4,), dtype="int32", offset_factor=1)
        with T.sblock("root"):
            T.reads(C[0:4], A[0:4], B[0:4, 0:4])
            T.writes(C[0:4])
            C[T.ramp(T.int32(0), 1, 4)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id("llvm.aarch64.neon.sdot.v4i32.v16i8"),
                C.vload([0], dtype="int32x4"),
                T.reinterpret(T.broadcast(T.reinterpret(A.vload([0], "int8x4"), dtype="int32"), 4), dtype="int8x16"),
                B.vload([0, 0], dtype="int8x16"),
                dtype="int32x4",
            )

    TensorIntrin.register("effc.test.sdot", meaning, instruction)
    return "effc.test.sdot"


def write(folder: Path, machine: str, name: str) -> None:
    import tvm
    from tvm import relax

    folder.mkdir(parents=True)
    module = dense() if name == "dense" else integer(machine == "aarch64")
    library = relax.build(module, target=tvm.target.Target(LLVM[machine]))
    library.export_library(str(folder / "model.so"), fcompile=exporter(machine))
    describe(folder, machine, name)


def describe(folder: Path, machine: str, name: str) -> None:
    """Write the manifest of what lies in the folder."""
    target = f"tvm-{MACHINES[machine].device}-{'fp32' if name == 'dense' else 'int8'}"
    files, (inputs, outputs) = (FileInfo.of(folder, "model.so"),), INTERFACES[name]
    Manifest("0", target, "onnx", Source(f"{name}.onnx", "", 21), inputs, outputs, files, "model.so").write(folder, {})


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        for model in INTERFACES:
            write(Path(sys.argv[1], wanted, model), wanted, model)
