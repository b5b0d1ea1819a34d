"""Models written as text, simplified, and compared with what they were."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.parser

from effc.compiler import frontend, ir, oracle, phase
from effc.compiler.metrics import sqnr_db
from effc.compiler.passes import SIMPLIFY

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'


def build(text: str, weights: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The model of a text, with seeded positive weights of the given shapes."""
    proto = onnx.parser.parse_model(HEAD + text)
    for name, shape in weights.items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        array = random.uniform(0.5, 1.5, shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return proto


def simplified(proto: onnx.ModelProto, phases: Sequence[phase.Phase] = SIMPLIFY) -> ir.Model:
    model = ir.from_bytes(proto.SerializeToString())
    frontend.settle(model, where="test")
    phase.run(model, phases)
    return model


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def assert_rule(
    text: str, weights: Mapping[str, tuple[int, ...]], after: Sequence[str], phases: Sequence[phase.Phase] = SIMPLIFY
) -> ir.Model:
    """The model of the text has these ops when it is simplified, and gives the same; the simplified model."""
    proto = build(text, weights)
    model = simplified(proto, phases)
    assert sorted(ops(model)) == sorted(after)
    assert_equal(proto, model)
    return model


def assert_equal(proto: onnx.ModelProto, model: ir.Model, least: float = 110.0) -> None:
    for size in (1, 3):
        dims = {d: size for entry in oracle.graph_inputs(proto) for d in entry.shape if isinstance(d, str)}
        feeds = oracle.seeded_feeds(proto, size, dims)
        before, after = oracle.Session(proto).run(feeds), oracle.Session(model).run(feeds)
        assert list(before) == list(after)
        for name, array in before.items():
            assert array.dtype == after[name].dtype
            assert sqnr_db(array, after[name]) > least, name
