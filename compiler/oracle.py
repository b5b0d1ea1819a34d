"""The oracle: a model's outputs in ONNX Runtime with its optimizations off, else in `onnx.reference`."""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray

from effc.compiler import mapped
from effc.core import worker
from effc.core.errors import BackendFailed, BadInput, EffcError

if TYPE_CHECKING:
    from effc.compiler import ir

Array = NDArray[np.generic]
Feeds = Mapping[str, Array]
Source: TypeAlias = onnx.ModelProto | bytes | Path
AnyModel: TypeAlias = Union["ir.Model", onnx.ModelProto, bytes, Path]

STAGE = "ONNX Runtime"
_UNPACKED_FROM = 256 << 20
"""Bytes of mapped weights from which on no kernel makes itself a copy in the layout that it likes best."""
MAX_FEED_ELEMENTS = 1 << 26
_SYMBOL_SIZE = 2
_NO_KERNEL = ("NOT_IMPLEMENTED", "not supported", "not implemented", "to MLDataType")
_TOO_LARGE = re.compile(r"running (\w+) node\. Name:'([^']*)'.*buffer of size (\d+)", re.DOTALL)
_ORT_TYPES = {
    "float16": np.float16,
    "float": np.float32,
    "double": np.float64,
    "bool": np.bool_,
    "string": np.object_,
    "bfloat16": ml_dtypes.bfloat16,
    **{name: np.dtype(name) for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
}


@dataclass(frozen=True)
class Input:
    """A graph input: dims are integers or symbol names; random integers are from 0 to less than `below`."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]
    below: int = 8


class Session:
    """A model ready to run. `outputs` may name internal tensors; None means the graph's own outputs.

    Raises EffcError when neither ONNX Runtime nor the reference evaluator can load the model.
    """

    def __init__(
        self,
        model: AnyModel,
        *,
        outputs: Sequence[str] | None = None,
        optimize: bool = False,
        threads: int = 1,
    ) -> None:
        # a process may be killed and leave its folder behind: none is made where nothing is to be written
        self._folder = None if isinstance(model, Source) else tempfile.TemporaryDirectory(prefix="effc-oracle-")
        source = self._source = _source(model, outputs, Path(self._folder.name if self._folder else ""))
        self._ort = _ort_session(source, optimize, threads)
        self._engine = self._ort or _reference(source)
        self.inputs = _ort_inputs(self._ort) if self._ort else _proto_inputs(_proto(source))
        self._names = list(outputs) if outputs is not None else _output_names(self._ort, self._engine)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Outputs by name. Raises EffcError with the runtime's message when it cannot run these feeds."""
        try:
            results = self._engine.run(self._names if self._ort else None, dict(feeds))
        except Exception as error:
            if self._ort and any(text in str(error) for text in _NO_KERNEL):
                self._ort, self._engine = None, _reference(self._source)
                return self.run(feeds)
            raise EffcError(_reason(error), where=STAGE if self._ort else "onnx.reference") from error
        return dict(zip(self._names, results, strict=False))


def evaluate(model: AnyModel, feeds: Sequence[Feeds], outputs: Sequence[str] | None = None) -> list[dict[str, Array]]:
    """Outputs for each of several feeds, in this process."""
    session = Session(model, outputs=outputs)
    return [session.run(each) for each in feeds]


def evaluate_apart(model: bytes | Path, feeds: Sequence[Feeds], *, deadline: float = 120.0) -> list[dict[str, Array]]:
    """`evaluate` in a child process, where a crash or a hang of the runtime becomes an EffcError."""
    try:
        found: list[dict[str, Array]] = worker.call(
            "effc.compiler.oracle:evaluate", model, list(feeds), stage=STAGE, deadline=deadline
        )
    except BackendFailed as error:
        raise EffcError(f"the model could not be run: {error.what}", where=STAGE) from error
    return found


def seeded_feeds(
    model: AnyModel | Sequence[Input], seed: int, dims: Mapping[str, int] | None = None
) -> dict[str, Array]:
    """Plausible inputs: normal floats, small non-negative integers, coin-toss booleans.

    Args:
        model: a model, or its `Session.inputs`.
        seed: the values depend on it and on each input's name alone.
        dims: sizes by symbol name; a symbol without one gets 2.

    Raises BadInput when an input would have more than MAX_FEED_ELEMENTS elements.
    """
    inputs = model if isinstance(model, Sequence) and not isinstance(model, bytes) else graph_inputs(model)
    return {entry.name: _random(entry, seed, dims or {}) for entry in inputs}


def graph_inputs(model: AnyModel) -> tuple[Input, ...]:
    """The inputs that a run needs: those that are no initializers."""
    if isinstance(model, onnx.ModelProto):
        return _proto_inputs(model)
    if isinstance(model, bytes | Path):
        return _proto_inputs(_proto(model))
    from effc.compiler import ir

    return tuple(
        Input(v.name or "", ir.numpy_dtype(v) or np.dtype(np.float32), ir.shape(v) or ()) for v in model.graph.inputs
    )


def _random(entry: Input, seed: int, dims: Mapping[str, int]) -> Array:
    shape = tuple(d if isinstance(d, int) else dims.get(d, _SYMBOL_SIZE) for d in entry.shape)
    if float(np.prod(shape, dtype=np.float64)) > MAX_FEED_ELEMENTS:
        raise BadInput(f"the input has the shape {list(shape)}: too large to try", where=entry.name, hint="--shape")
    random = np.random.default_rng([seed, zlib.crc32(entry.name.encode())])
    if entry.dtype.kind == "b":
        return random.integers(0, 2, shape).astype(np.bool_)
    if entry.dtype.kind in "iu":
        return random.integers(0, entry.below, shape).astype(entry.dtype)
    if entry.dtype.kind == "O":
        return random.integers(0, 8, shape).astype(np.str_).astype(np.object_)
    return random.standard_normal(shape).astype(entry.dtype)


def _source(model: AnyModel, outputs: Sequence[str] | None, folder: Path) -> Source:
    """What the runtimes load: a file as it is, a proto some of whose weights lie in files, or any other's bytes."""
    if outputs is None and isinstance(model, bytes | Path):
        return model
    proto = _proto(model) if isinstance(model, Source) else _sketch(model, folder)
    if outputs is not None:
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return proto if mapped.referred(proto.graph.initializer) else bytes(proto.SerializeToString())


def _sketch(model: ir.Model, folder: Path) -> onnx.ModelProto:
    from effc.compiler import stored  # not above: `onnx_ir` takes its time to import

    return stored.sketch(model, folder / "weights.data")


def _proto(model: Source) -> onnx.ModelProto:
    """A proto that may be edited; weights that lie in files stay there."""
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    return onnx.load_from_string(model) if isinstance(model, bytes) else mapped.load(model)


def _ort_session(source: Source, optimize: bool, threads: int) -> Any:
    import onnxruntime as ort  # not above: most of what this module has is of use without it

    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    try:
        held = _rooted(source, options) if isinstance(source, onnx.ModelProto) else source
        where = str(held) if isinstance(held, Path) else held
        return ort.InferenceSession(where, options, providers=["CPUExecutionProvider"])
    except Exception:
        return None


def _rooted(model: onnx.ModelProto, options: Any) -> bytes:
    """Let ONNX Runtime map weights that lie in files: it takes paths below a folder that it is told of alone."""
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", "/")
    if mapped.referred(model.graph.initializer) > _UNPACKED_FROM:
        options.add_session_config_entry("session.disable_prepacking", "1")
    proto = _proto(model)
    for tensor in proto.graph.initializer:
        for location in (entry for entry in tensor.external_data if entry.key == "location"):
            location.value = location.value.lstrip("/")
    return bytes(proto.SerializeToString())


def _reference(source: Source) -> Any:
    from onnx.reference import ReferenceEvaluator

    try:
        return ReferenceEvaluator(mapped.read_in(_proto(source)))
    except Exception as error:
        raise EffcError(_first_line(error), where="onnx.reference") from error


def _output_names(session: Any, engine: Any) -> list[str]:
    return [o.name for o in session.get_outputs()] if session else list(engine.output_names)


def _ort_inputs(session: Any) -> tuple[Input, ...]:
    return tuple(
        Input(i.name, _ort_dtype(i.type), tuple(d if isinstance(d, int) else str(d or "?") for d in i.shape))
        for i in session.get_inputs()
    )


def _ort_dtype(name: str) -> np.dtype[Any]:
    found: np.dtype[Any] = np.dtype(_ORT_TYPES.get(name.removeprefix("tensor(").removesuffix(")"), np.float32))
    return found


def _proto_inputs(proto: onnx.ModelProto) -> tuple[Input, ...]:
    weights = {t.name for t in proto.graph.initializer}
    return tuple(_proto_input(v) for v in proto.graph.input if v.name not in weights)


def _proto_input(value: onnx.ValueInfoProto) -> Input:
    tensor = value.type.tensor_type
    dims = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else (d.dim_param or "?") for d in tensor.shape.dim
    )
    known = tensor.elem_type in onnx.helper.get_all_tensor_dtypes()
    return Input(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type if known else 1), dims)


def _reason(error: Exception) -> str:
    """Why a run failed: the node where memory ran out, else what the runtime says."""
    if (found := _TOO_LARGE.search(str(error))) is None:
        return _first_line(error)
    op, name, size = found.groups()
    return f"{op} {name!r} needs {int(size) / 1e9:.1f} GB at once, and there is not so much memory"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
