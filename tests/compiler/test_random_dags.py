"""Random DAGs over a hundred ops and idioms: outputs are kept, a second run changes nothing, names keep values.

EFFC_RANDOM_GRAPHS=2000 tries as many, anew each time.
"""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnx.printer
from hypothesis import HealthCheck, given, note, settings
from random_graphs import BATCH, models

from effc.compiler import frontend, ir, oracle, phase
from effc.compiler.metrics import sqnr_db
from effc.compiler.passes import SIMPLIFY, simplification

WANTED = os.environ.get("EFFC_RANDOM_GRAPHS")
SETTINGS = settings(
    max_examples=int(WANTED or 60),
    deadline=None,
    derandomize=WANTED is None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
LEAST_DB = 90.0
LEAST_HALF_DB = 40.0
MARGIN_DB = 20.0
"""An ill-conditioned graph is let off by so much less than what one rounding of its inputs does."""


def simplified(proto: onnx.ModelProto, *, built: bool) -> ir.Model:
    note(onnx.printer.to_text(proto))
    model = ir.from_bytes(proto.SerializeToString())
    frontend.settle(model, where="test")
    phase.run(model, phases(model, built=built))
    return model


def phases(model: ir.Model, *, built: bool) -> tuple[phase.Phase, ...]:
    return SIMPLIFY if built else simplification(model.opset_imports[""])


def moved(feeds: oracle.Feeds) -> oracle.Feeds:
    """The inputs with one rounding more."""
    random = np.random.default_rng(5)
    unit = {4: 6e-8, 2: 5e-4}
    return {
        name: array * (1 + unit[array.itemsize] * random.uniform(-1, 1, array.shape)).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in feeds.items()
    }


def assert_same(proto: onnx.ModelProto, model: ir.Model, names: list[str] | None = None) -> None:
    before, after = oracle.Session(proto, outputs=names), oracle.Session(model, outputs=names)
    for batch in (2, 3):
        feeds = oracle.seeded_feeds(proto, batch, {BATCH: batch})
        given, found, shaken = before.run(feeds), after.run(feeds), before.run(moved(feeds))
        for name, array in given.items():
            assert_close(name, array, found[name], shaken[name])


def assert_close(name: str, array: np.ndarray, found: np.ndarray, shaken: np.ndarray) -> None:
    assert (found.shape, found.dtype) == (array.shape, array.dtype), name
    if array.dtype.kind != "f":
        assert np.array_equal(array, found), name
        return
    least = LEAST_HALF_DB if has_half(array) else LEAST_DB
    assert sqnr_db(array, found) > min(least, sqnr_db(array, shaken) - MARGIN_DB), name


def has_half(array: np.ndarray) -> bool:
    return array.dtype.itemsize == 2


@SETTINGS
@given(models())
def test_written_again(proto: onnx.ModelProto) -> None:
    model = simplified(proto, built=False)
    assert_same(proto, model)
    assert phase.run(model, phases(model, built=False)) == ()


@SETTINGS
@given(models(opsets=(22, 23, 24)))
def test_with_newer_ops(proto: onnx.ModelProto) -> None:
    assert_same(proto, simplified(proto, built=False))


@SETTINGS
@given(models())
def test_names_keep_values(proto: onnx.ModelProto) -> None:
    """As builds start with them: statistics are kept by name."""
    model = simplified(proto, built=True)
    made = {n for node in proto.graph.node for n in node.output} & {v.name for v in ir.values(model.graph)}
    names = sorted(made - set(model.graph.initializers))
    assert_same(proto, model, names)
    assert phase.run(model, SIMPLIFY) == ()
