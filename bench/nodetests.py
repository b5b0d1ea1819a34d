"""ONNX's generated node tests as a measure of the simplifier: what each model computes before and after it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from effc.compiler import downgrade, frontend, ir, oracle, phase
from effc.compiler.apart import Apart
from effc.compiler.metrics import sqnr_db
from effc.compiler.passes import SIMPLIFY, simplification
from effc.core.errors import EffcError

LEAST_SQNR_DB = 90.0
LEAST_HALF_SQNR_DB = 40.0


class Kind(Enum):
    """How a test came out."""

    EQUAL = "equal"
    UNRUNNABLE = "neither ONNX Runtime nor onnx.reference runs the original"
    REFUSED = "the frontend refuses it"
    WRONG = "outputs differ"


@dataclass(frozen=True)
class Outcome:
    """One test: `raised` where its opset could not be kept."""

    name: str
    kind: Kind
    reason: str = ""
    raised: bool = False


@cache
def cases() -> Mapping[str, Any]:
    """All of them by name, "test_" left out."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    return {case.name.removeprefix("test_"): case for case in found}


def judged(names: Iterable[str], *, built: bool = False) -> Iterator[Outcome]:
    """The outcome of each named test, simplified to be written again, or as what every build starts with."""
    way = _built if built else _simplified
    with tempfile.TemporaryDirectory(prefix="effc-nodes-") as folder, Apart() as child:
        for name in names:
            yield _judge(name, cases()[name], Path(folder) / "model.onnx", partial(way, child=child))


def _judge(name: str, case: Any, path: Path, way: Callable[[Path], tuple[ir.Model, bool]]) -> Outcome:
    feeds = _feeds(case)
    try:
        before = _outputs(case.model, feeds)
    except Exception as error:
        return Outcome(name, Kind.UNRUNNABLE, _line(error))
    path.write_bytes(case.model.SerializeToString())
    try:
        model, raised = way(path)
    except EffcError as error:
        return Outcome(name, Kind.REFUSED, _line(error))
    try:
        after = _outputs(ir.to_proto(model), feeds)
    except Exception as error:
        return Outcome(name, Kind.WRONG, f"cannot be run: {_line(error)}", raised)
    differing = [o.name for o, a, b in zip(case.model.graph.output, before, after, strict=True) if not same(a, b)]
    return Outcome(name, Kind.WRONG if differing else Kind.EQUAL, ", ".join(differing), raised)


def _simplified(path: Path, child: Apart) -> tuple[ir.Model, bool]:
    """As `effc simplify` does it, all tests in one child; whether the opset had to be raised."""
    loaded = frontend.load(path, opset=lambda given: max(ir.INTERNAL_OPSET, given), child=child)
    model, opset = loaded.model, loaded.source.opset
    phase.run(model, simplification(opset, evaluate=child.evaluate))
    try:
        return downgrade.lowered(model, opset, child), False
    except EffcError:
        return model, True


def _built(path: Path, child: Apart) -> tuple[ir.Model, bool]:
    """At the internal opset, which many have to be brought to."""
    model = frontend.load(path, child=child).model
    phase.run(model, SIMPLIFY)
    return model, True


def _feeds(case: Any) -> dict[str, Any]:
    inputs, _ = case.data_sets[0]
    names = [value.name for value in case.model.graph.input]
    return {name: _fed(given) for name, given in zip(names, inputs, strict=True) if given is not None}


def _fed(given: Any) -> Any:
    if isinstance(given, list):
        return [_fed(each) for each in given]
    return numpy_helper.to_array(given) if isinstance(given, onnx.TensorProto) else np.asarray(given)


def _outputs(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> Sequence[Any]:
    """By the oracle; where that cannot, by the reference alone."""
    try:
        return list(oracle.Session(model).run(feeds).values())
    except EffcError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(ReferenceEvaluator(model).run(None, dict(feeds)))


def same(a: Any, b: Any) -> bool:
    """Equal to 90 dB (40 dB in half precision), integers and all else exactly, sequences by element."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind not in "fV" or not a.size:
        return bool(np.array_equal(a, b))
    return bool(sqnr_db(a, b) > (LEAST_SQNR_DB if a.dtype.itemsize > 2 else LEAST_HALF_SQNR_DB))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
