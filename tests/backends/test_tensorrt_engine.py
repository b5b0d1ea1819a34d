"""Engines that TensorRT-RTX really builds here, and every way in which a build fails, each with its own words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from typed_models import model, narrow, quantized

from effc.backends.base import EmitOptions, Emitted
from effc.backends.tensorrt.backend import CAPABILITIES
from effc.backends.tensorrt.build import cache, capabilities
from effc.backends.tensorrt.build.emit import FILE_NAME, emit, finish
from effc.backends.tensorrt.build.engine import Job
from effc.backends.tensorrt.build.monitor import PERCENT
from effc.compiler import ir
from effc.core import device
from effc.core.errors import BackendFailed, BadInput, UnsupportedOps
from effc.core.manifest import TYPED_NAME, TensorInfo
from effc.core.options import EngineOptions, ShapeRange
from effc.core.progress import Progress
from effc.core.target import Target
from effc.core.worker import Worker

TESTS = str(Path(__file__).parents[1])
SM89 = Target.parse("rtx-fp32:sm89")


def build(folder: Path, proto: onnx.ModelProto, target: Target = SM89, options: EmitOptions | None = None) -> Emitted:
    """Emit as the build does: the typed ONNX lies in the folder already."""
    folder.mkdir(exist_ok=True)
    onnx.save(proto, folder / TYPED_NAME)
    return emit(ir.from_proto(proto), target, options or EmitOptions(), folder)


def engine(**options: object) -> EmitOptions:
    return EmitOptions(engine=EngineOptions(**options))  # type: ignore[arg-type]


def contents(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


PRECISIONS = {
    "fp32": (narrow("float32"), CAPABILITIES),
    "fp32 product": (narrow("float32", product=True), CAPABILITIES[1:]),
    "fp16": (narrow("float16", product=True), CAPABILITIES),
    "bf16": (narrow("bfloat16", product=True), CAPABILITIES[1:]),
    "int8": (quantized("int8"), CAPABILITIES),
    "fp8": (quantized("float8"), CAPABILITIES[3:]),
}
"""Name, whose first word is the precision, to a typed model and the GPUs that can take it."""


@pytest.mark.parametrize("name", PRECISIONS)
def test_built_for_all_from_ampere_on_that_take_it(name: str, tmp_path: Path) -> None:
    proto, able = PRECISIONS[name]
    expected = tuple(capability for capability in able if capability != "sm75")
    emitted = build(tmp_path, proto, Target.parse(f"rtx-{name.split(maxsplit=1)[0]}"))
    assert emitted.files == (emitted.main,) == (FILE_NAME,)
    assert emitted.engine is not None and emitted.engine.capabilities == expected
    assert (tmp_path / FILE_NAME).stat().st_size > 1000
    (given_,) = emitted.inputs
    assert given_ == TensorInfo("x", "float32", ("N", 3, 8, 8), "NCHW")
    assert emitted.profiles == ({"x": ShapeRange((1, 3, 8, 8), (1, 3, 8, 8), (32, 3, 8, 8))},)


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_library_agrees_on_who_takes_it(name: str, tmp_path: Path) -> None:
    """One by one, past our own table: what TensorRT-RTX refuses is what the table leaves out, and it is said why."""
    proto, expected = PRECISIONS[name]
    onnx.save(proto, tmp_path / TYPED_NAME)
    span = ({"x": ShapeRange((1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8))},)
    for capability in ("sm75", "sm86", "sm120"):
        options = EmitOptions(engine=EngineOptions(capabilities=(capability,)), profiles=span)
        if capability in expected:
            assert finish(tmp_path, SM89, options) == (FILE_NAME,)
            continue
        with pytest.raises(BackendFailed, match=f"{capability}|{capability.upper()}") as caught:
            finish(tmp_path, SM89, options)
        assert "leave th" in caught.value.hint


def test_turing_named_lists_every_product(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOps) as caught:
        build(tmp_path, narrow("float32", product=True), Target.parse("rtx-fp32:sm75+sm89"))
    (refusal,) = caught.value.refusals
    assert (refusal.node, refusal.op) == ("product", "MatMul")
    assert "no float32 matrix products for sm75" in refusal.reason
    assert contents(tmp_path) == {TYPED_NAME}


@pytest.mark.parametrize(
    ("op", "fits"),
    [
        ("y = Einsum<equation='ij,jk->ik'>(x, v)", False),
        ("y = Einsum<equation='ij->ji'>(x)", True),
        ("y = Gemm(x, v)", False),
        ("y = Conv(x, v)", True),
    ],
)
def test_products_that_turing_lacks(op: str, fits: bool) -> None:
    proto = model(f"g (float[2,4] x, float[4,3] v) => (float[a,b] y) {{ {op.replace(chr(39), chr(34))} }}")
    found, named = ir.from_proto(proto), Target.parse("rtx-fp32:sm75+sm89")
    if fits:
        assert capabilities.compiled_for(named, found) == ("sm75", "sm89")
    else:
        with pytest.raises(UnsupportedOps, match="float32 matrix products for sm75"):
            capabilities.compiled_for(named, found)
    assert capabilities.compiled_for(Target.parse("rtx-fp32"), found) == CAPABILITIES[1:]
    assert capabilities.compiled_for(Target.parse("trt-fp32"), found) == ()


def test_every_unsupported_node_at_once(tmp_path: Path) -> None:
    body = "[a] a = Det(x) [b] b = Relu(x) [c] z = own.Special(b) [d] y = Bernoulli(b)"
    proto = model(f"g (float[4,4] x) => (float[] a, float[4,4] z, float[4,4] y) {{ {body} }}")
    with pytest.raises(UnsupportedOps) as caught:
        build(tmp_path, proto)
    assert [(refusal.node, refusal.op) for refusal in caught.value.refusals] == [
        ("a", "Det"),
        ("c", "Special"),
        ("d", "Bernoulli"),
    ]
    assert all("its parser does not take" in refusal.reason for refusal in caught.value.refusals)
    assert "Plugin not found" in caught.value.refusals[1].reason
    assert contents(tmp_path) == {TYPED_NAME}


def test_an_input_that_decides_shapes(tmp_path: Path) -> None:
    proto = model("g (float[4,6] x, int64[2] dims) => (float[a,b] y) { y = Reshape(x, dims) }")
    with pytest.raises(UnsupportedOps, match="input 'dims': its values decide the shapes of other tensors"):
        build(tmp_path, proto)


DAMAGED = {
    "no ONNX": (b"\x00\x01 not a model", "Failed to parse|could not be parsed|no engine was built"),
    "empty": (b"", "no engine was built"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_model(name: str, tmp_path: Path) -> None:
    (tmp_path / TYPED_NAME).write_bytes(DAMAGED[name][0])
    with pytest.raises(BackendFailed, match=DAMAGED[name][1]) as caught:
        finish(tmp_path, SM89, engine(capabilities=("sm89",)))
    assert caught.value.exit_code == 6
    assert contents(tmp_path) == {TYPED_NAME}


OPTIONS = {
    "no TF32": {"tf32": False},
    "workspace": {"workspace_mb": 1024},
    "weight streaming": {"weight_streaming": True},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An engine of default options."""
    folder = tmp_path_factory.mktemp("plain")
    build(folder, narrow("float32", product=True))
    return (folder / FILE_NAME).read_bytes()


@pytest.mark.parametrize("name", OPTIONS)
def test_options_reach_the_library(name: str, plain: bytes, tmp_path: Path) -> None:
    emitted = build(tmp_path, narrow("float32", product=True), options=engine(**OPTIONS[name]))
    assert (tmp_path / FILE_NAME).read_bytes() != plain
    assert emitted.engine == EngineOptions(**OPTIONS[name], capabilities=("sm89",))  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [0, 5])
def test_a_level_builds(level: int, tmp_path: Path) -> None:
    assert build(tmp_path, narrow("float32"), options=engine(level=level)).files == (FILE_NAME,)


def test_same_bytes_in_another_place(plain: bytes, tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "another with a longer name"):
        build(folder, narrow("float32", product=True))
        assert (folder / FILE_NAME).read_bytes() == plain


def test_several_profiles(tmp_path: Path) -> None:
    spans = [ShapeRange((n, 3, 8, 8), (n, 3, 8, 8), (n + 1, 3, 8, 8)) for n in (1, 8)]
    given_ = tuple({"x": span} for span in spans)
    assert build(tmp_path, narrow("float16"), options=EmitOptions(profiles=given_)).profiles == given_


def test_weights_beside_the_model(tmp_path: Path) -> None:
    proto = narrow("float32", product=True)
    onnx.save(proto, tmp_path / TYPED_NAME, save_as_external_data=True, location=f"{TYPED_NAME}.data", size_threshold=0)
    options = engine(capabilities=("sm89",))
    span = ({"x": ShapeRange((1, 3, 8, 8), (1, 3, 8, 8), (32, 3, 8, 8))},)
    assert finish(tmp_path, SM89, replace(options, profiles=span)) == (FILE_NAME,)


@pytest.mark.parametrize(
    ("options", "where", "hint"),
    [
        ({"hardware": "ampere+"}, "--hardware-compatible", "--target rtx-fp32:sm120+sm121"),
        ({"version_compatible": True}, "--version-compatible", "trt target"),
        ({"refit": True}, "--refit", "--defer"),
    ],
)
def test_what_rtx_cannot_be_asked(options: dict[str, object], where: str, hint: str) -> None:
    with pytest.raises(BadInput, match="TensorRT-RTX does not take it") as caught:
        capabilities.check(SM89, EngineOptions(**options), "no driver")  # type: ignore[arg-type]
    assert caught.value.where == where
    assert hint in caught.value.hint
    capabilities.check(Target.parse("trt-fp32"), EngineOptions(**options), "no driver")  # type: ignore[arg-type]


def test_refit_with_a_gpu_is_no_matter() -> None:
    capabilities.check(SM89, EngineOptions(refit=True), None)


def test_refit_is_sealed_for_a_machine_that_can(tmp_path: Path) -> None:
    wanted = EmitOptions(engine=EngineOptions(refit=True), defer=True)
    assert build(tmp_path, narrow("float32"), options=wanted).engine == EngineOptions(
        refit=True, capabilities=("sm89",)
    )
    assert contents(tmp_path) == {TYPED_NAME}


@pytest.mark.skipif(device.no_gpu() is None, reason="there is a GPU")
def test_refit_without_a_gpu_is_refused_when_sealed_too(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="without a GPU"):
        finish(tmp_path, SM89, EmitOptions(engine=EngineOptions(refit=True, capabilities=("sm89",))))


def test_an_engine_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(BadInput, match="it cannot be written") as caught:
        build(tmp_path, narrow("float32"))
    assert caught.value.where == FILE_NAME and "make room" in caught.value.hint


@pytest.mark.parametrize("megabytes", [0, 1])
def test_a_workspace_that_holds_no_kernel(megabytes: int, tmp_path: Path) -> None:
    with pytest.raises(BackendFailed, match="no kernel fits into the workspace") as caught:
        build(tmp_path, narrow("float32", product=True), options=engine(workspace_mb=megabytes))
    assert "--workspace" in caught.value.hint
    assert contents(tmp_path) == {TYPED_NAME}


class Seen(Progress):
    """Keeps what it is told, and calls `act` at the first."""

    def __init__(self, act: object = None) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.act = act

    def advance(self, done: int, total: int | None = None) -> None:
        assert total == PERCENT
        self.steps.append(done)
        if callable(self.act):
            self.act()
            self.act = None


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    seen = Seen()
    build(tmp_path, narrow("float32", product=True), options=EmitOptions(progress=seen))
    assert seen.steps == sorted(set(seen.steps))
    assert seen.steps[-1] == PERCENT and len(seen.steps) > 5


def kill_children() -> None:
    """End this process's children as the system does when memory runs out."""
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            os.kill(int(child), signal.SIGKILL)


def test_a_killed_build(tmp_path: Path) -> None:
    with pytest.raises(BackendFailed, match="was killed by SIGKILL") as caught:
        build(tmp_path, narrow("float32"), options=EmitOptions(progress=Seen(kill_children)))
    assert caught.value.exit_code == 6
    assert "memory" in caught.value.hint
    assert contents(tmp_path) == {TYPED_NAME}


def test_a_build_that_takes_too_long(tmp_path: Path) -> None:
    with pytest.raises(BackendFailed, match="no answer within") as caught:
        build(tmp_path, narrow("float32"), options=engine(timeout_s=0.01))
    assert "--build-timeout" in caught.value.hint
    assert contents(tmp_path) == {TYPED_NAME}


LIMITED = """
import resource, sys
from pathlib import Path
from effc.backends.base import EmitOptions
from effc.backends.tensorrt.build.emit import finish
from effc.core.errors import EffcError
from effc.core.options import EngineOptions
from effc.core.target import Target
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
try:
    finish(Path(sys.argv[1]), Target.parse("rtx-fp32:sm89"), EmitOptions(engine=EngineOptions(capabilities=("sm89",))))
except EffcError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_out_of_memory(tmp_path: Path) -> None:
    """Under a real limit of 470 MiB: the library takes most of it, which leaves too little for 128 MiB of weights."""
    body = "g (float[1,4096] x) => (float[1,8192] y) { y = MatMul(x, w) }"
    onnx.save(model(body, w=np.ones((4096, 8192), np.float32)), tmp_path / TYPED_NAME)
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(470 << 20)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (6, "")
    assert "it ran out of memory" in done.stdout and "hint: free memory" in done.stdout
    assert contents(tmp_path) == {TYPED_NAME}


@pytest.fixture
def child() -> Iterator[Worker]:
    """A child that finds the tests' own helpers."""
    with Worker("try", env={"PYTHONPATH": TESTS}) as worker:
        yield worker


def test_a_build_that_nobody_waits_for_is_cancelled(child: Worker, tmp_path: Path) -> None:
    onnx.save(narrow("float32"), tmp_path / TYPED_NAME)
    span = ({"x": ShapeRange((1, 3, 8, 8), (1, 3, 8, 8), (2, 3, 8, 8))},)
    options = EngineOptions(capabilities=("sm89",))
    with pytest.raises(BackendFailed, match="the build was cancelled"):
        child.call("tensorrt_tries:build_unheard", Job(SM89, tmp_path / TYPED_NAME, tmp_path / "e", options, span))
    assert contents(tmp_path) == {TYPED_NAME}


@pytest.mark.parametrize("damage", [None, b"", b"garbage", b"ptrtd\x00\x00\x00\x98" + bytes(40)])
def test_timing_cache(damage: bytes | None, child: Worker, tmp_path: Path) -> None:
    """Absent, empty or damaged: the build goes on with a new one; what cannot be written is noted."""
    notes, kept = child.call("tensorrt_tries:timing_cache", damage, tmp_path)
    assert len(kept) > 100
    assert any("was not kept" in note for note in notes)


def test_timing_cache_that_cannot_be_read(child: Worker, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    notes, kept = child.call("tensorrt_tries:timing_cache", None, tmp_path)
    assert "cannot be read" in notes[0] and kept


@pytest.mark.parametrize("target", ["rtx-fp32:sm89", "trt-fp32"])
def test_deferred(target: str, tmp_path: Path) -> None:
    (tmp_path / "times").write_bytes(b"measured elsewhere")
    options = EmitOptions(defer=True, timing_cache=str(tmp_path / "times"))
    emitted = build(tmp_path / "sealed", narrow("float32"), Target.parse(target), options)
    assert (emitted.main, emitted.files) == (FILE_NAME, (cache.SLOT,))
    assert contents(tmp_path / "sealed") == {TYPED_NAME, cache.SLOT}
    assert emitted.profiles
