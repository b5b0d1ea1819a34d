"""Writer: tensors, operators and buffers of one TFLite subgraph, packed with ai-edge-litert's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effc.core.errors import BadInput

Array = NDArray[np.generic]
FILE_LIMIT = (1 << 31) - (1 << 16)
_DTYPES = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "float64": "FLOAT64",
    "int8": "INT8",
    "uint8": "UINT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
}


@dataclass(frozen=True)
class Quant:
    """Quantization of a tensor: one scale, or one for each index of `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True)
class TensorSpec:
    """A tensor to add. A dim of -1 is dynamic: it is stored as 1 with its signature."""

    name: str
    dims: tuple[int, ...]
    dtype: str
    quant: Quant | None = None


def schema() -> Any:
    """The generated flatbuffer module. Imported here so that declaring the backend costs nothing."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


class Writer:
    """Builds a model of one subgraph."""

    def __init__(self, name: str) -> None:
        self._s = schema()
        self._model = self._s.ModelT()
        self._model.version = 3
        self._model.description = "effc"
        self._model.buffers = [self._s.BufferT()]
        self._model.operatorCodes = []
        self._graph = self._s.SubGraphT()
        self._graph.name = name
        self._graph.tensors, self._graph.operators = [], []
        self._model.subgraphs = [self._graph]
        self._codes: dict[tuple[int, int], int] = {}
        self._shared: dict[tuple[str, tuple[int, ...], bytes, Quant | None], int] = {}
        self._names: dict[str, int] = {}

    def tensor(self, spec: TensorSpec) -> int:
        """Add an activation tensor and return its index."""
        return self._add(spec, 0)

    def constant(self, spec: TensorSpec, data: Array) -> int:
        """Add a constant tensor; equal constants share one tensor."""
        raw = np.ascontiguousarray(data)
        key = (spec.dtype, spec.dims, raw.tobytes(), spec.quant)
        if key not in self._shared:
            buffer = self._s.BufferT()
            buffer.data = np.frombuffer(key[2], np.uint8)
            self._model.buffers.append(buffer)
            self._shared[key] = self._add(spec, len(self._model.buffers) - 1)
        return self._shared[key]

    def op(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, version: int = 1
    ) -> None:
        """Append an operator. `options` is a `...OptionsT` object, whose class names its union member."""
        operator = self._s.OperatorT()
        operator.opcodeIndex = self._code(getattr(self._s.BuiltinOperator, name), version)
        operator.inputs = np.asarray(inputs, np.int32)
        operator.outputs = np.asarray(outputs, np.int32)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(self._s.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._graph.operators.append(operator)

    def options(self, kind: str, **fields: object) -> Any:
        """A `<kind>OptionsT` with these fields set."""
        result = getattr(self._s, f"{kind}OptionsT")()
        for name, value in fields.items():
            setattr(result, name, value)
        return result

    def enum(self, kind: str, member: str) -> int:
        """The number of an enum's member."""
        return int(getattr(getattr(self._s, kind), member))

    def finish(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """The file's bytes; inputs and outputs are also the `serving_default` signature."""
        import flatbuffers

        self._refuse_large()
        self._graph.inputs = np.asarray(list(inputs.values()), np.int32)
        self._graph.outputs = np.asarray(list(outputs.values()), np.int32)
        signature = self._s.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [self._tensor_map(n, i) for n, i in inputs.items()]
        signature.outputs = [self._tensor_map(n, i) for n, i in outputs.items()]
        self._model.signatureDefs = [signature]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _add(self, spec: TensorSpec, buffer: int) -> int:
        tensor = self._s.TensorT()
        tensor.name = self._unique(spec.name)
        tensor.shape = np.asarray([max(d, 1) if d < 0 else d for d in spec.dims], np.int32)
        if any(d < 0 for d in spec.dims):
            tensor.shapeSignature = np.asarray(spec.dims, np.int32)
        tensor.type = getattr(self._s.TensorType, _DTYPES[spec.dtype])
        tensor.buffer = buffer
        tensor.quantization = None if spec.quant is None else self._quantization(spec.quant)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _unique(self, name: str) -> str:
        """Names in the file are unique: the second `x` becomes `x;1`."""
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name};{count}" if count else name

    def _quantization(self, quant: Quant) -> Any:
        result = self._s.QuantizationParametersT()
        result.scale = np.asarray(quant.scales, np.float32)
        result.zeroPoint = np.asarray(quant.zero_points, np.int64)
        result.quantizedDimension = quant.axis
        return result

    def _code(self, builtin: int, version: int) -> int:
        key = (builtin, version)
        if key not in self._codes:
            code = self._s.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
            self._codes[key] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[key]

    def _tensor_map(self, name: str, index: int) -> Any:
        result = self._s.TensorMapT()
        result.name, result.tensorIndex = name, index
        return result

    def _refuse_large(self) -> None:
        total = sum(b.data.nbytes for b in self._model.buffers if b.data is not None)
        if total >= FILE_LIMIT:
            raise BadInput(
                f"its {total / 2**30:.2f} GiB of weights do not fit a flatbuffer of 2 GiB",
                where="tflite",
                hint="quantize the model (tflite-int8) or split it",
            )
