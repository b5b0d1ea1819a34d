"""TVM libraries as a whole: what is refused, what interfaces are kept, their bytes and their size."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from effc import stages
from effc.backends import base
from effc.backends.tvm import cpu, described, forks, runner
from effc.backends.tvm.plan.symbols import evaluate, names
from effc.backends.tvm.taken import FOREIGN, IMPORTED, WRONG
from effc.compiler import ir, metrics, oracle
from effc.core.errors import BackendMissing, EffcError, UnsupportedOps
from effc.core.target import Target
from effc.core.worker import Worker

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
FP32 = Target.parse("tvm-x86-fp32")
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """The child in which all is built and run."""
    with Worker("tvm", deadline=120) as started:
        yield started


def parsed(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(HEAD + text)
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def legal(model: onnx.ModelProto, target: Target = FP32) -> stages.Legal:
    found = stages.legalize(ir.from_proto(model), target)
    if isinstance(found, EffcError):
        raise found
    return found


def emitted(model: onnx.ModelProto, folder: Path, worker: Worker | None, target: Target = FP32) -> base.Emitted:
    found = legal(model, target)
    folder.mkdir(exist_ok=True)
    return found.backend.emit(found.model, target, base.EmitOptions(child=worker), folder)


def ran(folder: Path, worker: Worker, feeds: Arrays) -> Arrays:
    worker.make("runner", "effc.backends.tvm.runner:runner", folder, "model.so", 1)
    found: Arrays = worker.method("runner", "run", feeds)
    return found


def feeds_of(model: onnx.ModelProto, batch: int = 3) -> Arrays:
    rng, made = np.random.default_rng(0), {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = [dim.dim_value or batch for dim in kind.shape.dim]
        made[value.name] = np.asarray(rng.normal(size=shape) * 3).astype(dtype)
    return made


INTERFACES = {
    "integers": "g (int64[N,4] x) => (int64[N,4] y) { y = Mul(x, x) }",
    "booleans": "g (float[N,4] x) => (bool[N,4] y) { y = Less(x, x) }",
    "bytes": "g (uint8[N,4] x) => (float[N,4] y) { y = Cast<to=1>(x) }",
    "doubles": "g (double[N,4] x) => (double[N,4] y) { y = Exp(x) }",
    "halves": "g (float16[N,4] x) => (float16[N,4] y) { y = Add(x, x) }",
    "scalar": "g (float x) => (float y) { y = Exp(x) }",
    "two outputs": "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Exp(x) z = Neg(x) }",
    "one value twice": "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Exp(x) z = Neg(y) }",
    "an input is an output": "g (float[N,4] x) => (float[N,4] y, float[N,4] x) { y = Exp(x) }",
    "a constant is an output": ("g (float[N,4] x) => (float[N,4] y, float[2] c) <float[2] c = {1, 2}> { y = Exp(x) }"),
    "an input that nobody reads": "g (float[N,4] x, float[N,2] z) => (float[N,4] y) { y = Exp(x) }",
    "odd names": 'g (float[N,4] "x/0:1") => (float[N,4] "y.é z") { "y.é z" = Exp("x/0:1") }',
    "a multiple of the batch": ("g (float[N,6] x) => (float[M,2] y) <int64[2] s = {-1, 2}> { y = Reshape(x, s) }"),
}


@pytest.mark.parametrize("name", INTERFACES)
def test_interfaces(name: str, tmp_path: Path, worker: Worker) -> None:
    model = parsed(INTERFACES[name])
    made = emitted(model, tmp_path / "a", worker)
    feeds = feeds_of(model)
    expected, found = oracle.Session(ir.from_proto(model)).run(feeds), ran(tmp_path / "a", worker, feeds)
    assert [info.name for info in made.outputs] == [value.name for value in model.graph.output] == list(found)
    for value, array in expected.items():
        assert found[value].shape == array.shape and found[value].dtype == array.dtype
        np.testing.assert_allclose(found[value], array, rtol=1e-5, atol=1e-6)


REFUSED = {
    "symbols beyond the batch": ("g (float[N,H] x) => (float[N,H] y) { y = Exp(x) }", "only the batch"),
    "subgraphs": (
        "g (bool c, float[2] x) => (float[2] y) { y = If(c) <then_branch = t () => (float[2] a) { a = Exp(x) },"
        " else_branch = e () => (float[2] b) { b = Neg(x) }> }",
        "subgraph",
    ),
    "unknown ops": ("g (float[2,3] x) => (float[2,3] y) { y = Det(x) }", "neither our schedules"),
    "sorting": ("g (float[2,3] x) => (float[2,2] y, int64[2,2] i) <int64[1] k = {2}> { y, i = TopK(x, k) }", "sorting"),
    "sizes from values": ("g (float[6] x) => (int64[1,M] y) { y = NonZero(x) }", "depends on values"),
    "computed parameters": ("g (float[4] x, int64[1] s) => (float[M] y) { y = Reshape(x, s) }", "'s' is computed"),
    "indices of maxima": (
        "g (float[1,1,4,4] x) => (float[1,1,2,2] y, int64[1,1,2,2] i)"
        " { y, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) }",
        "no indices",
    ),
    "training": (
        "g (float[2,3] x, float[3] s) => (float[2,3] y)"
        " { y, m, v = BatchNormalization<training_mode=1>(x, s, s, s, s) }",
        "it trains",
    ),
    "cropping": (
        "g (float[1,1,4,4] x) => (float[1,1,3,3] y) <float[8] r = {0,0,0,0,1,1,0.5,0.5}, int64[4] s = {1,1,3,3}>"
        ' { y = Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, r, , s) }',
        "crops nothing",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name: str) -> None:
    text, reason = REFUSED[name]
    with pytest.raises(UnsupportedOps, match=reason):
        legal(onnx.parser.parse_model(HEAD + text))


DECOMPOSED = {
    "one hot": "g (int64[N] x) => (float[N,5] y) <int64 d = {5}, float[2] v = {-1, 2}> { y = OneHot(x, d, v) }",
    "one hot in front": (
        "g (int64[3,2] x) => (float[5,3,2] y) <int64 d = {5}, float[2] v = {0, 1}> { y = OneHot<axis=0>(x, d, v) }"
    ),
    "l1 norm": "g (float[N,4] x) => (float[N,4] y) { y = LpNormalization<p=1>(x) }",
    "l2 norm": "g (float[N,4,3] x) => (float[N,4,3] y) { y = LpNormalization<axis=1>(x) }",
    "moments": (
        "g (float[N,4] x) => (float[N,4] y, float[N,1] m, float[N,1] s) <float[4] w = {1,2,3,4}>"
        " { y, m, s = LayerNormalization(x, w) }"
    ),
    "the whole batch": (
        "g (float[N,4] x) => (float[M,2] y) <int64[2] b = {0,1}, int64[2] e = {1000000000,3}> { y = Slice(x, b, e) }"
    ),
}


@pytest.mark.parametrize("name", DECOMPOSED)
def test_decomposed(name: str, tmp_path: Path, worker: Worker) -> None:
    model = parsed(DECOMPOSED[name])
    emitted(model, tmp_path / "a", worker)
    feeds = feeds_of(model)
    expected, found = oracle.Session(ir.from_proto(model)).run(feeds), ran(tmp_path / "a", worker, feeds)
    for value, array in expected.items():
        np.testing.assert_allclose(found[value], array, rtol=1e-5, atol=1e-6)


def test_the_table_is_what_the_importer_has() -> None:
    from tvm.relax.frontend.onnx.onnx_frontend import _get_convert_map

    assert set(_get_convert_map()) == IMPORTED | set(WRONG) | FOREIGN
    assert not IMPORTED & set(WRONG)
    assert not FOREIGN & {
        schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "" and not schema.deprecated
    }


def weighted() -> onnx.ModelProto:
    """Four convolutions of 64 channels with weights that do not compress, 600 kB of them."""
    body = " ".join(
        f"c{i} = Conv<pads=[1,1,1,1]>({'x' if i == 0 else f'r{i - 1}'}, w{i}) r{i} = Relu(c{i})" for i in range(4)
    )
    model = onnx.parser.parse_model(HEAD + f"g (float[N,64,14,14] x) => (float[N,64,14,14] r3) {{ {body} }}")
    rng = np.random.default_rng(0)
    for i in range(4):
        array = rng.normal(0, 0.05, (64, 64, 3, 3)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, f"w{i}"))
    return onnx.shape_inference.infer_shapes(model)


def test_bytes_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes in another child, in another folder; few of them beyond the weights."""
    model = weighted()
    for name, seed in (("a", "1"), ("bb", "7")):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        first = emitted(model, tmp_path / name, None)
    for name in first.files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "bb" / name).read_bytes()
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    assert (tmp_path / "a" / first.main).stat().st_size <= 1.3 * weights + 2e6


@pytest.mark.parametrize("threads", [1, 2])
def test_batch_and_threads(threads: int, tmp_path: Path, worker: Worker) -> None:
    model = weighted()
    emitted(model, tmp_path / "a", worker)
    with Worker("run", deadline=120) as child:
        child.make("runner", "effc.backends.tvm.runner:runner", tmp_path / "a", "model.so", threads)
        for batch in (2, 1, 5):
            feeds = feeds_of(model, batch)
            found = child.method("runner", "run", feeds)["r3"]
            assert metrics.sqnr_db(oracle.Session(ir.from_proto(model)).run(feeds)["r3"], found) >= 90
        timing = child.method("runner", "measure", feeds, 3)
        facts = child.method("runner", "facts")
    assert len(timing.seconds) == 3 and facts["threads"] == threads and facts["peak_rss_mb"] < 200


def test_calls_are_described(tmp_path: Path, worker: Worker) -> None:
    emitted(weighted(), tmp_path / "a", worker)
    found = described.Described.read(tmp_path / "a")
    assert (found.inputs, found.outputs) == (("x",), ("r3",))
    convolutions = [call for call in found.kernels if call.op == "Conv"]
    assert len(convolutions) == 4
    assert all(call.scheduled and len(call.nodes) == 2 and call.precision == "float32" for call in convolutions)


def test_explained(tmp_path: Path) -> None:
    raw = json.dumps({"inputs": [], "outputs": [], "kernels": [{"kernel": "a"}]})
    (tmp_path / described.FILE_NAME).write_text(raw)
    with pytest.raises(EffcError, match="is missing"):
        described.Described.read(tmp_path)


def test_a_foreign_library_is_not_native(tmp_path: Path) -> None:
    head = b"\x7fELF" + bytes(14) + struct.pack("<H", 183)
    (tmp_path / "model.so").write_bytes(head)
    assert not described.is_native(tmp_path / "model.so") or os.uname().machine == "aarch64"


def test_without_a_linker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from effc.backends.tvm.toolchain import compilers

    target = Target.parse("tvm-arm64-fp32")
    found = legal(parsed(INTERFACES["two outputs"]), target)
    monkeypatch.setattr(compilers.shutil, "which", lambda _: None)
    monkeypatch.setattr(compilers.util, "find_spec", lambda _: None)
    with pytest.raises(BackendMissing, match="no compiler") as raised:
        found.backend.emit(found.model, target, base.EmitOptions(), tmp_path)
    assert "pip install ziglang" in raised.value.hint


def test_a_crash_of_a_fork_is_told() -> None:
    def crash(number: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RuntimeError, match="ended with -9"):
        forks.shared(crash, 2, 2)


@pytest.mark.parametrize(
    ("dim", "symbols", "expected"),
    [
        ("N", {"N": 3}, 3),
        ("2*N + 1", {"N": 3}, 7),
        ("floor(N/2)", {"N": 5}, 2),
        ("-floor(-N/2)", {"N": 5}, 3),
        ("4*a.0", {"a.0": 2}, 8),
        ("N*M", {"N": 2, "M": 5}, 10),
    ],
)
def test_symbols(dim: str, symbols: dict[str, int], expected: int) -> None:
    assert evaluate(dim, symbols) == expected
    assert names(dim) == symbols.keys()


def test_the_cpu_of_this_machine() -> None:
    assert cpu.host().name in cpu.X86
    assert ctypes.CDLL(str(runner.runtime_library()))


def test_forks_do_all(tmp_path: Path) -> None:
    forks.shared(lambda i: (tmp_path / str(i)).touch(), 7, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == list("0123456")
