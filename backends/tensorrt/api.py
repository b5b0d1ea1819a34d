"""TensorRT's API as Protocols: exactly the names that this backend uses, and no others.

`Trt` is the module itself, `tensorrt` or `tensorrt_rtx`; the other classes bear the library's own names. Every member
exists in TensorRT 10.9 to 11 and in TensorRT-RTX: a test holds them against the real bindings, and mypy holds the
backend against them. The numbers of enum members differ between versions, so none is written down.
"""
# ruff: noqa: D102, the library's own reference tells what each member does

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Member(Protocol):
    """A member of an enum."""

    @property
    def name(self) -> str:
        """As the library spells it."""

    def __int__(self) -> int: ...


class ILogger(Protocol):
    """Takes what the library says; to be derived from."""

    def log(self, severity: Member, msg: str) -> None: ...


class IProgressMonitor(Protocol):
    """Told how far a build is; to be derived from."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...
    def step_complete(self, phase_name: str, step: int) -> bool: ...
    def phase_finish(self, phase_name: str) -> None: ...


class IHostMemory(Protocol):
    """A buffer of the library's."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


class ITensor(Protocol):
    """An input or output of a network. Dims that are not fixed are -1."""

    name: str
    shape: Sequence[int]
    is_shape_tensor: bool


class INetworkDefinition(Protocol):
    """What the parser fills."""

    num_inputs: int

    def get_input(self, index: int) -> ITensor: ...


class ParserError(Protocol):
    """What the parser has against a node."""

    def code(self) -> Member: ...
    def desc(self) -> str: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...


class OnnxParser(Protocol):
    """From an ONNX file to a network."""

    num_errors: int

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None: ...
    def parse_from_file(self, model: str) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class IOptimizationProfile(Protocol):
    """Ranges of dims that an engine covers."""

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None: ...


class ITimingCache(Protocol):
    """Kernels' measured times."""

    def serialize(self) -> IHostMemory: ...


class IBuilderConfig(Protocol):
    """How to build."""

    builder_optimization_level: int
    hardware_compatibility_level: Member
    profiling_verbosity: Member
    progress_monitor: IProgressMonitor

    def set_flag(self, flag: Member) -> None: ...
    def clear_flag(self, flag: Member) -> None: ...
    def set_memory_pool_limit(self, pool: Member, pool_size: int) -> None: ...
    def add_optimization_profile(self, profile: IOptimizationProfile) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...


class Builder(Protocol):
    """Makes networks, configurations and engines."""

    def __init__(self, logger: ILogger) -> None: ...
    def create_network(self, flags: int) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None: ...


class EngineInspector(Protocol):
    """Tells an engine's layers."""

    def get_engine_information(self, format: Member) -> str: ...


class IOutputAllocator(Protocol):
    """Gives memory to an output whose size depends on values; to be derived from."""


class IProfiler(Protocol):
    """Told by the library how long each layer took."""

    def report_layer_time(self, layer_name: str, ms: float) -> None: ...


class IExecutionContext(Protocol):
    """One inference at a time."""

    profiler: IProfiler

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool: ...
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool: ...
    def infer_shapes(self) -> Sequence[str]: ...
    def get_max_output_size(self, name: str) -> int: ...
    def set_output_allocator(self, name: str, output_allocator: IOutputAllocator) -> bool: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class ICudaEngine(Protocol):
    """An engine on the GPU."""

    num_io_tensors: int
    num_layers: int
    device_memory_size_v2: int
    streamable_weights_size: int
    weight_streaming_budget_v2: int

    def create_execution_context(self) -> IExecutionContext | None: ...
    def create_engine_inspector(self) -> EngineInspector: ...
    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_mode(self, name: str) -> Member: ...
    def get_tensor_dtype(self, name: str) -> Member: ...
    def get_tensor_location(self, name: str) -> Member: ...
    def get_weight_streaming_automatic_budget(self) -> int: ...


class Runtime(Protocol):
    """Loads engines."""

    engine_host_code_allowed: bool

    def __init__(self, logger: ILogger) -> None: ...
    def deserialize_cuda_engine(self, serialized_engine: bytes | memoryview) -> ICudaEngine | None: ...


class BuilderFlag(Protocol):
    """What a build may do."""

    TF32: Member
    REFIT: Member
    VERSION_COMPATIBLE: Member
    WEIGHT_STREAMING: Member


class NetworkDefinitionCreationFlag(Protocol):
    """How a network is typed: its number differs between 10 and 11."""

    STRONGLY_TYPED: Member


class MemoryPoolType(Protocol):
    """Which memory a limit is for."""

    WORKSPACE: Member


class ProfilingVerbosity(Protocol):
    """How much of its layers an engine tells."""

    DETAILED: Member


class HardwareCompatibilityLevel(Protocol):
    """Which GPUs load an engine."""

    AMPERE_PLUS: Member
    SAME_COMPUTE_CAPABILITY: Member


class LayerInformationFormat(Protocol):
    """How layers are told."""

    JSON: Member


class TensorIOMode(Protocol):
    """Whether a tensor goes in or comes out."""

    INPUT: Member


class TensorLocation(Protocol):
    """Where a tensor's memory is."""

    HOST: Member


class Trt(Protocol):
    """The module."""

    __version__: str
    Builder: type[Builder]
    OnnxParser: type[OnnxParser]
    Runtime: type[Runtime]
    ILogger: type[ILogger]
    IProgressMonitor: type[IProgressMonitor]
    IOutputAllocator: type[IOutputAllocator]
    IProfiler: type[IProfiler]
    BuilderFlag: BuilderFlag
    NetworkDefinitionCreationFlag: NetworkDefinitionCreationFlag
    MemoryPoolType: MemoryPoolType
    ProfilingVerbosity: ProfilingVerbosity
    HardwareCompatibilityLevel: HardwareCompatibilityLevel
    LayerInformationFormat: LayerInformationFormat
    TensorIOMode: TensorIOMode
    TensorLocation: TensorLocation
