"""Weights stay in their files: what is read, simplified, proved and written takes no memory for them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from effc.bench import large_run
from effc.compiler import frontend, ir, mapped, oracle, reader, stored
from effc.compiler.passes import fold
from effc.compiler.proof import prove
from effc.compiler.settle import settle

RNG = np.random.default_rng(0)
KINDS = ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT64", "BOOL", "FLOAT8E4M3FN", "INT4"]
ROWS, COLUMNS = 63, 65
"""Odd numbers, so that half a byte is left over and little lies where its type would like it."""


def tensor(name: str, kind: str) -> TensorProto:
    numbers = np.random.default_rng(KINDS.index(kind)).integers(0, 2 if kind == "BOOL" else 7, (ROWS, COLUMNS))
    dtype = ir.DataType[kind]
    made = onnx_ir.to_proto(onnx_ir.Tensor(numbers.astype(dtype.numpy()), dtype, name=name))
    assert isinstance(made, TensorProto)
    return made


def every_kind() -> onnx.ModelProto:
    """A weight of each type, cast and added up."""
    weights = [tensor(f"w_{kind}", kind) for kind in KINDS]
    nodes, last = [], "x"
    for weight in weights:
        nodes.append(helper.make_node("Cast", [weight.name], [f"f_{weight.name}"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Add", [last, f"f_{weight.name}"], [f"a_{weight.name}"]))
        last = f"a_{weight.name}"
    nodes.append(helper.make_node("Identity", [last], ["y"]))
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [ROWS, COLUMNS]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def saved(folder: Path, *, beside: bool) -> Path:
    path = folder / "in.onnx"
    onnx.save(every_kind(), str(path), save_as_external_data=beside, size_threshold=0, location="in.data")
    return path


def contents(model: ir.Model) -> dict[str, bytes]:
    return {n: v.const_value.tobytes() for n, v in model.graph.initializers.items() if v.const_value is not None}


@pytest.mark.parametrize("beside", [False, True], ids=["inside", "beside"])
def test_what_stays_in_the_file_is_what_would_be_read(beside: bool, tmp_path: Path) -> None:
    path = saved(tmp_path, beside=beside)
    raw = reader.read(path, skimmed_from=0)
    assert mapped.referred(raw.proto.graph.initializer) > 100_000
    whole = mapped.read_in(raw.proto).graph.initializer
    assert {t.name: onnx_ir.from_proto(t).tobytes() for t in whole} == {
        t.name: onnx_ir.from_proto(t).tobytes() for t in every_kind().graph.initializer
    }
    data = path.read_bytes() + ((tmp_path / "in.data").read_bytes() if beside else b"")
    assert raw.sha256 == hashlib.sha256(data).hexdigest()
    assert raw.bytes == len(data)


def test_mapped_weights_run_and_are_proved(tmp_path: Path) -> None:
    loaded = frontend.load(saved(tmp_path, beside=True))
    held = [v.const_value for v in loaded.model.graph.initializers.values()]
    assert sum(isinstance(t, stored.Mapped | onnx_ir.PackedTensor) for t in held) == len(KINDS)
    feeds = {"x": np.zeros((ROWS, COLUMNS), np.float32)}
    expected = oracle.Session(every_kind()).run(feeds)["y"]
    for model in (loaded.original, loaded.model, tmp_path / "in.onnx"):
        np.testing.assert_array_equal(oracle.Session(model).run(feeds)["y"], expected)
    assert prove(loaded.original, loaded.model).worst_sqnr_db == np.inf


def test_the_proof_sees_a_changed_weight(tmp_path: Path) -> None:
    loaded = frontend.load(saved(tmp_path, beside=True))
    weight = loaded.model.graph.initializers["w_FLOAT"]
    assert weight.const_value is not None
    weight.const_value = onnx_ir.tensor(weight.const_value.numpy() + 1, name="w_FLOAT")
    with pytest.raises(Exception, match="changed it"):
        prove(loaded.original, loaded.model)


@pytest.mark.parametrize("limit", [0, 1 << 40], ids=["beside", "inside"])
def test_save_and_load(limit: int, tmp_path: Path) -> None:
    model = frontend.load(saved(tmp_path, beside=True)).model
    out = tmp_path / "out" / "out.onnx"
    out.parent.mkdir()
    ir.save(model, out, inline_limit=limit)
    assert (out.parent / "out.onnx.data").exists() == (limit == 0)
    onnx.checker.check_model(str(out), full_check=True)
    again = ir.load(out)
    assert contents(again) == contents(model)
    assert ir.digest(again) == ir.digest(model)
    plain = onnx.load(str(out))
    feeds = {"x": np.ones((ROWS, COLUMNS), np.float32)}
    np.testing.assert_array_equal(oracle.Session(out).run(feeds)["y"], oracle.Session(plain).run(feeds)["y"])


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    model = frontend.load(saved(tmp_path, beside=True)).model
    ir.save(model, tmp_path / "out.onnx")
    assert ir.digest(model) == hashlib.sha256((tmp_path / "out.onnx").read_bytes()).hexdigest()


def test_the_input_may_be_replaced(tmp_path: Path) -> None:
    path = saved(tmp_path, beside=True)
    model = frontend.load(path).model
    before = contents(model)
    other = tmp_path / "other"
    other.write_bytes(bytes(10))
    os.replace(other, tmp_path / "in.data")
    assert contents(model) == before


ARRAYS = {
    "plain": np.ones((1100, 1000), np.float32),
    "turned": RNG.normal(size=(1100, 1000)).astype(np.float32).T,
    "every other": RNG.normal(size=4_400_000).astype(np.float16)[::2],
    "booleans": RNG.integers(0, 2, 5_000_000).astype(np.bool_),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_large_new_weights_lie_in_files(array: np.ndarray) -> None:
    spilled = stored.spilled(array)
    np.testing.assert_array_equal(spilled, array)
    assert spilled.dtype == array.dtype
    assert stored.spilled(spilled) is spilled
    assert spilled.base is not None


def test_a_weight_of_one_value_is_written_whole(tmp_path: Path) -> None:
    """It takes the memory of one element, and its blocks are made one at a time."""
    model = ir.from_proto(every_kind())
    number = np.broadcast_to(np.float32(2), (5000, 5000))
    model.graph.initializers["w_FLOAT"].const_value = onnx_ir.tensor(number, name="w_FLOAT")
    blocks = list(stored.content(onnx_ir.tensor(number)))
    assert len(blocks) > 1
    assert b"".join(blocks) == np.full((5000, 5000), 2, np.float32).tobytes()


def test_unaligned_weights(tmp_path: Path) -> None:
    """Data that begins at an odd byte."""
    array = RNG.normal(size=(64, 64)).astype(np.float32)
    (tmp_path / "w.bin").write_bytes(b"\0" + array.tobytes())
    proto = numpy_helper.from_array(array, "w")
    mapped.refer(proto, mapped.Place(str(tmp_path / "w.bin"), 1, array.nbytes))
    np.testing.assert_array_equal(stored.held(proto, mapped.Files()).numpy(), array)


def test_memory_does_not_grow_with_the_weights(tmp_path: Path) -> None:
    """As a whole command with its proof; half of the weights are made anew by a rewrite."""
    row = large_run.large_run(tmp_path, 0.12)
    assert row.nodes_after < row.nodes_before
    assert row.sqnr_db is not None
    assert row.sqnr_db >= 90
    assert row.own_mb < row.megabytes


def scaled(count: int, width: int) -> ir.Model:
    """Products with weights that are turned and scaled first, each by its own number."""
    nodes, weights = [], []
    for i in range(count):
        weights += [
            numpy_helper.from_array(RNG.normal(size=(width, width)).astype(np.float32), f"w{i}"),
            numpy_helper.from_array(np.float32(1 + i), f"k{i}"),
        ]
        nodes += [
            helper.make_node("Transpose", [f"w{i}"], [f"t{i}"]),
            helper.make_node("Exp", [f"t{i}"], [f"e{i}"]),
            helper.make_node("Mul", [f"e{i}", f"k{i}"], [f"s{i}"]),
            helper.make_node("MatMul", [f"y{i}", f"s{i}"], [f"y{i + 1}"]),
        ]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, width]) for n in ("y0", f"y{count}")]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], weights)
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    settle(model, where="test")
    return model


def test_more_is_folded_than_is_computed_in_one_go() -> None:
    count, width = 5, 1500
    assert count * 8 * width * width > fold.MAX_PASSED_BYTES
    model = scaled(count, width)
    expected = oracle.Session(model.clone()).run({"y0": np.ones((1, width), np.float32)})
    passes: list[int] = []

    def evaluate(proto: onnx.ModelProto, outputs: Sequence[str]) -> Mapping[str, ir.Array]:
        passes.append(sum(len(t.raw_data) for t in proto.graph.initializer))
        return fold.here(proto, outputs)

    assert all([step.apply(model) for step in fold.steps(evaluate) if step.name in ("large moves", "constant folding")])
    assert [node.op_type for node in model.graph] == ["MatMul"] * count
    assert len(passes) > 1
    assert max(passes) < fold.MAX_PASSED_BYTES
    found = oracle.Session(model).run({"y0": np.ones((1, width), np.float32)})
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4)
