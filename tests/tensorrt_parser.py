"""The real ONNX parser and builder of TensorRT-RTX, for tests to ask in a child process. Needs no GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorrt_rtx as trt

FOLDER = Path(__file__).parent
Dims = Mapping[str, tuple[int, ...]]


class Parser:
    """One builder that takes model after model."""

    def __init__(self) -> None:
        self._logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
        self._builder = trt.Builder(self._logger)

    def parse(self, model: bytes) -> str:
        """Empty where the parser takes the model, else its first complaint, or the input whose values are dims."""
        return self._network(model)[1]

    def build(self, model: bytes, feeds: Mapping[str, np.ndarray]) -> str:
        """Empty where the builder makes an engine for sm89 of it, for inputs of exactly these shapes."""
        network, complaint = self._network(model)
        if complaint:
            return complaint
        config = self._builder.create_builder_config()
        profile, needed = self._builder.create_optimization_profile(), False
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            if -1 in tuple(tensor.shape):
                dims, needed = feeds[tensor.name].shape, True
                profile.set_shape(tensor.name, dims, dims, dims)
        if needed:
            config.add_optimization_profile(profile)
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM89, 0)
        return "" if self._builder.build_serialized_network(network, config) is not None else "the builder failed"

    def _network(self, model: bytes) -> tuple[object, str]:
        network = self._builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        if parser.parse(model):
            inputs = (network.get_input(index) for index in range(network.num_inputs))
            return network, next((f"{t.name} decides shapes" for t in inputs if t.is_shape_tensor), "")
        error = parser.get_error(0)
        return network, f"{error.node_operator()}: {error.desc()[:300]}"
