"""The engine runner: its plain-data parts, its order of calls on named stand-ins, and real files in a real library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gpu_doubles as doubles
import numpy as np
import onnx
import pytest
from gpu_doubles import CudaDouble, EngineDouble, TensorDouble
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from effc.backends.tensorrt import library
from effc.backends.tensorrt.logs import Log, derived, logger
from effc.backends.tensorrt.run import loading
from effc.backends.tensorrt.run.execution import Execution
from effc.backends.tensorrt.run.outputs import Found, allocator
from effc.backends.tensorrt.run.runner import Session
from effc.backends.tensorrt.run.tensors import DTYPES, Tensor, as_bytes, batch, described, from_bytes, taken
from effc.core import device, worker
from effc.core.errors import BackendFailed, BackendMissing, BadInput
from effc.core.options import ShapeRange

needs_rtx = pytest.mark.skipif(library.missing("rtx") is not None, reason="tensorrt-rtx is not installed")
PROFILES = (
    {"x": ShapeRange((1, 4), (1, 4), (2, 4))},
    {"x": ShapeRange((3, 4), (4, 4), (8, 4))},
)


def engine(cuda: CudaDouble, dtype: str = "FLOAT", **changes: Any) -> EngineDouble:
    tensors = (TensorDouble("x", dtype, (-1, 4)), TensorDouble("y", dtype, (-1, 4), input=False))
    return EngineDouble(cuda, tensors, DTYPES[dtype], **changes)


def session(cuda: CudaDouble, dtype: str = "FLOAT", **changes: Any) -> Session:
    return Session(doubles.loaded(engine(cuda, dtype, **changes), doubles.manifest(profiles=PROFILES)), cuda)


def rows(count: int, dtype: Any = np.float32) -> np.ndarray:
    return np.arange(1, 4 * count + 1).reshape(count, 4).astype(dtype)


@pytest.mark.parametrize(("kind", "bytes_"), [("FLOAT", 4), ("HALF", 2), ("BF16", 2), ("FP8", 1), ("INT64", 8)])
def test_types_have_the_size_that_the_engine_thinks(kind: str, bytes_: int) -> None:
    assert DTYPES[kind].itemsize == bytes_


@needs_rtx
def test_every_type_of_the_library_is_known_or_packed() -> None:
    import tensorrt_rtx as trt

    packed = {"INT4", "FP4", "E8M0"}
    assert set(trt.DataType.__members__) - packed == set(DTYPES)


@given(hnp.arrays(st.sampled_from([np.float32, np.int64, np.bool_]), hnp.array_shapes(min_dims=0, min_side=0)))
def test_arrays_survive_as_bytes(array: np.ndarray) -> None:
    tensor = Tensor("t", array.dtype, input=True)
    more = np.concatenate([as_bytes(np.ascontiguousarray(array)), np.ones(3, np.uint8)])
    found = from_bytes(more, tensor, array.shape)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_layers_are_timed_by_the_library() -> None:
    cuda = CudaDouble()
    timed = session(cuda)
    found = timed.layer_ms({"x": rows(2)})
    assert list(found) == ["double"] and found["double"] > 0
    assert cuda.calls.count("execute") == 21
    assert timed.run({"x": rows(2)})["y"].tolist() == (2 * rows(2)).tolist()


@needs_rtx
def test_our_profiler_is_one_of_the_library_s() -> None:
    import tensorrt_rtx as trt

    told: list[tuple[str, float]] = []
    made = derived(trt.IProfiler, report_layer_time=lambda _, name, ms: told.append((name, ms)))
    made.report_layer_time("conv", 0.5)
    assert isinstance(made, trt.IProfiler) and told == [("conv", 0.5)]


def test_a_type_that_numpy_cannot_hold() -> None:
    tensors = (TensorDouble("q", "INT4", (4,)),)
    with pytest.raises(BackendFailed, match="'q' has type INT4"):
        described(doubles.TRT, EngineDouble(CudaDouble(), tensors, np.dtype(np.int8)))


@pytest.mark.parametrize(
    ("feeds", "text"), [({}, "nothing is fed to input 'x'"), ({"x": rows(1, np.float64)}, "takes float32, and float64")]
)
def test_feeds_that_are_not_the_engines(feeds: dict[str, np.ndarray], text: str) -> None:
    with pytest.raises(BackendFailed, match=text):
        taken((Tensor("x", np.dtype(np.float32), input=True),), feeds)


@pytest.mark.parametrize(
    ("feeds", "count"), [({"a": np.zeros(())}, 1), ({"a": np.zeros(()), "b": np.zeros((6, 2))}, 6)]
)
def test_batch(feeds: dict[str, np.ndarray], count: int) -> None:
    assert batch(feeds) == count


# What follows runs on the stand-ins of gpu_doubles.


@pytest.mark.parametrize("dtype", ["FLOAT", "HALF", "BF16", "INT32"])
def test_on_doubles_outputs_come_back_for_any_covered_batch(dtype: str) -> None:
    cuda = CudaDouble()
    runner = session(cuda, dtype)
    for count in (1, 4, 8, 2, 8):
        x = rows(count, DTYPES[dtype])
        found = runner.run({"x": x})["y"]
        assert found.dtype == DTYPES[dtype]
        np.testing.assert_array_equal(found.astype(np.float64), 2 * x.astype(np.float64))


def test_on_doubles_the_profile_follows_the_shapes() -> None:
    cuda = CudaDouble()
    made = engine(cuda)
    runner = Session(doubles.loaded(made, doubles.manifest(profiles=PROFILES)), cuda)
    for count in (1, 2, 5, 8, 1):
        runner.run({"x": rows(count)})
    assert made.contexts[0].profiles == [0, 1, 0]


def test_on_doubles_a_shape_that_no_profile_covers() -> None:
    runner = session(CudaDouble())
    with pytest.raises(BadInput, match="'x' with shape 9x4: built for 1x4 to 2x4; 3x4 to 8x4"):
        runner.run({"x": rows(9)})
    np.testing.assert_array_equal(runner.run({"x": rows(2)})["y"], 2 * rows(2))


def test_on_doubles_memory_grows_and_no_more() -> None:
    cuda = CudaDouble()
    runner = session(cuda)
    for count in (1, 8, 2, 5, 8, 1):
        runner.run({"x": rows(count)})
    assert len(cuda.memory) == 2
    assert sum(len(held) for held in cuda.memory.values()) == 2 * rows(8).nbytes


@pytest.mark.parametrize("capturable", [True, False])
def test_on_doubles_each_iteration_is_timed_in_three_parts(capturable: bool) -> None:
    cuda = CudaDouble(capturable=capturable)
    timing = session(cuda).measure({"x": rows(2)}, 5)
    launch = "graph" if capturable else "execute"
    once = [call for work in ("upload", launch, "download") for call in ("record", work, "record", "synchronize")]
    assert cuda.calls[-60:] == once * 5
    assert timing.gpu == (0.003,) * 5
    assert timing.copies == (0.002,) * 5
    assert len(timing.seconds) == 5


def test_on_doubles_an_engine_is_captured_once_for_its_shapes() -> None:
    cuda = CudaDouble()
    runner = session(cuda)
    runner.measure({"x": rows(2)}, 3)
    runner.measure({"x": 5 * rows(2)}, 3)
    assert cuda.calls.count("capture") == 1
    np.testing.assert_array_equal(runner.run({"x": 7 * rows(2)})["y"], 14 * rows(2))
    runner.measure({"x": rows(1)}, 3)
    assert cuda.calls.count("capture") == 2
    assert len(cuda.graphs) == 1, "the graph of other shapes is freed"


def test_on_doubles_no_iterations() -> None:
    assert session(CudaDouble()).measure({"x": rows(1)}, 0).seconds == ()


@pytest.mark.parametrize("streams", [1, 3])
def test_on_doubles_streams_have_contexts_and_profiles_of_their_own(streams: int) -> None:
    cuda = CudaDouble()
    made = engine(cuda)
    runner = Session(doubles.loaded(made, doubles.manifest(profiles=PROFILES)), cuda)
    assert runner.throughput({"x": rows(2)}, streams, 0.0) > 0
    assert len(made.contexts) == len(cuda.queues) == streams
    assert [context.profiles for context in made.contexts] == [[0]] * streams
    assert not any(cuda.queues.values()), "work is left"


@pytest.mark.parametrize("values", [[0, 5, 0, 7], [0, 0, 0, 0], [1, 2, 3, 4]])
def test_on_doubles_an_output_whose_size_depends_on_values(values: list[float]) -> None:
    cuda = CudaDouble()
    runner = session(cuda, sparse=True)
    x = np.asarray([values], np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(runner.run({"x": x})["y"], x[x != 0])
    assert len(runner.measure({"x": x}, 2).gpu) == 2
    assert "capture" not in cuda.calls


def test_on_doubles_what_shapes_depend_on_stays_on_the_host() -> None:
    cuda = CudaDouble()
    made = EngineDouble(
        cuda,
        (TensorDouble("x", "INT64", (4,), host=True), TensorDouble("y", "INT64", (4,), input=False)),
        np.dtype(np.int64),
    )
    runner = Session(doubles.loaded(made, doubles.manifest()), cuda)
    for scale in (1, 3):
        x = scale * np.arange(4)
        np.testing.assert_array_equal(runner.run({"x": x})["y"], 2 * x)
    assert "upload" not in cuda.calls
    assert len(cuda.memory) == 1


def test_on_doubles_refusals() -> None:
    cuda = CudaDouble()
    made = engine(cuda)
    held = doubles.loaded(made, doubles.manifest(profiles=()))
    runner = Session(held, cuda)
    with pytest.raises(BackendFailed, match=r"refuses the shape \(1, 3\) of 'x': the library does not say why"):
        runner.run({"x": rows(1)[:, :3]})
    made.contexts[0].fails = True
    held.log.errors.append("out of luck")
    with pytest.raises(BackendFailed, match="does not run: out of luck"):
        runner.run({"x": rows(1)})
    made.full = True
    with pytest.raises(BackendFailed, match="no execution context: out of luck"):
        Execution(held, cuda)


def test_on_doubles_facts() -> None:
    facts = session(CudaDouble()).facts()
    assert facts["runtime"] == "TensorRT 0.double"
    assert (facts["layers"], facts["scratch_mb"], facts["gpu_free_mb"]) == (1, 1.0, 1024.0)
    assert float(facts["peak_rss_mb"]) > 1


@pytest.mark.parametrize(("streamable", "budget"), [(0, -1), (1 << 20, 4096)])
def test_on_doubles_weights_stream_where_the_engine_can(streamable: int, budget: int) -> None:
    made = engine(CudaDouble(), streamable_weights_size=streamable)
    loading.stream_weights(made)
    assert made.weight_streaming_budget_v2 == budget


# What follows runs in the real library, which reads engines as far as it can without a GPU.


@pytest.fixture(scope="module")
def plan() -> bytes:
    import tensorrt_rtx as trt

    made = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(made)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[2,4] x) => (float[2,4] y) { y = Relu(x) }'
    assert trt.OnnxParser(network, made).parse(onnx.parser.parse_model(text).SerializeToString())
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    return bytes(builder.build_serialized_network(network, config))


def load(folder: Path, plan: bytes) -> None:
    """Load it in a child of its own, as the project does.

    The library holds a lock while it calls a logger; were an older object of its own collected as garbage in that
    moment, its end would wait for the lock for ever.
    """
    (folder / "model.engine").write_bytes(plan)
    (folder / "manifest.json").write_text(doubles.manifest("rtx-fp32").to_json())
    worker.call("effc.backends.tensorrt.run.loading:load", folder, "model.engine", stage="load", deadline=60.0)


@needs_rtx
@pytest.mark.parametrize("damage", ["cut", "empty", "junk", "longer"])
def test_a_damaged_engine_is_told(plan: bytes, damage: str, tmp_path: Path) -> None:
    broken = {"cut": plan[: len(plan) // 2], "empty": b"", "junk": b"x" * 1000, "longer": plan + b"x"}
    with pytest.raises(BadInput, match="it is damaged, or no engine of TensorRT-RTX 1") as caught:
        load(tmp_path, broken[damage])
    assert str(tmp_path / "model.engine") in str(caught.value)
    assert "build it again" in str(caught.value)


@needs_rtx
@pytest.mark.skipif(device.no_gpu() is None, reason="there is a GPU")
def test_a_whole_engine_without_a_gpu_is_not_called_damaged(plan: bytes, tmp_path: Path) -> None:
    with pytest.raises(BackendMissing, match="CUDA driver"):
        load(tmp_path, plan)


@needs_rtx
@pytest.mark.skipif(device.no_gpu() is not None, reason=f"needs a GPU: {device.no_gpu()}")
def test_on_a_gpu_an_engine_computes(plan: bytes, tmp_path: Path) -> None:
    from effc.backends.tensorrt.run.cuda.choose import cuda

    gpu = device.here().gpu
    if gpu is None or gpu.sm != "sm89":
        pytest.skip(f"the engine is for sm89, and this GPU is {gpu}")
    trt, log, path = library.load("rtx"), Log(), tmp_path / "model.engine"
    path.write_bytes(plan)
    runtime = trt.Runtime(logger(trt, log))
    held = loading.deserialized(runtime, path, log, "RTX")
    stated = doubles.manifest("rtx-fp32")
    runner = Session(loading.Loaded(trt, runtime, held, stated, described(trt, held), log), cuda())
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(runner.run({"x": x})["y"], np.maximum(x, 0))
    timing = runner.measure({"x": x}, 10)
    assert min(timing.gpu) > 0
    assert min(timing.copies) > 0
    assert runner.throughput({"x": x}, 2, 0.05) > 0


@needs_rtx
def test_the_allocator_is_one_of_the_librarys() -> None:
    import tensorrt_rtx as trt

    found = Found({"y": (4096, 64)})
    made: Any = allocator(library.load("rtx"), found)
    assert isinstance(made, trt.IOutputAllocator)
    assert made.reallocate_output_async("y", 0, 64, 256, 0) == made.reallocate_output("y", 0, 64, 256) == 4096
    assert made.reallocate_output_async("y", 0, 65, 256, 0) is None
    made.notify_shape("y", trt.Dims([2, 3]))
    assert found.shapes == {"y": (2, 3)}
