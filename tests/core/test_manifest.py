"""The manifest: JSON and back, and what a damaged one is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effc.core.errors import BadInput
from effc.core.manifest import (
    Calibration,
    FileInfo,
    Manifest,
    OutputError,
    Source,
    Step,
    TensorInfo,
    Top1,
    Verification,
)
from effc.core.options import EngineOptions, ShapeRange

REALS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**53)
TEXTS = st.text(max_size=8)


def many(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=2).map(tuple)


TENSORS = st.builds(
    TensorInfo,
    TEXTS,
    TEXTS,
    many(st.one_of(COUNTS, TEXTS)),
    TEXTS,
    st.none() | REALS,
    st.none() | st.integers(-128, 255),
)
ERRORS = st.builds(OutputError, TEXTS, REALS, st.none() | REALS, REALS, REALS)
TOPS = st.none() | st.builds(Top1, REALS, REALS, COUNTS)
VERIFICATIONS = st.builds(Verification, many(ERRORS), COUNTS, st.none() | REALS, TOPS, TEXTS, TEXTS, TEXTS)
ENGINES = st.builds(
    EngineOptions,
    st.none() | COUNTS,
    st.none() | COUNTS,
    st.booleans(),
    st.booleans(),
    TEXTS,
    st.booleans(),
    st.booleans(),
    REALS,
)
MANIFESTS = st.builds(
    Manifest,
    effc=TEXTS,
    target=TEXTS,
    io=TEXTS,
    source=st.builds(Source, TEXTS, TEXTS, COUNTS),
    inputs=many(TENSORS),
    outputs=many(TENSORS),
    files=many(st.builds(FileInfo, TEXTS, TEXTS, COUNTS)),
    steps=many(st.builds(Step, TEXTS, TEXTS, COUNTS, COUNTS)),
    calibration=st.none() | st.builds(Calibration, TEXTS, COUNTS, TEXTS, COUNTS, TEXTS, st.booleans()),
    precision=st.dictionaries(TEXTS, TEXTS, max_size=2),
    verification=st.none() | VERIFICATIONS,
    sealing=st.none() | VERIFICATIONS,
    toolchain=st.dictionaries(TEXTS, TEXTS, max_size=2),
    kept=st.dictionaries(TEXTS, TEXTS, max_size=2),
    profiles=many(st.dictionaries(TEXTS, st.builds(ShapeRange, *[many(COUNTS)] * 3), max_size=2)),
    engine=st.none() | ENGINES,
    main=TEXTS,
    sealed=st.booleans(),
)

SMALL = Manifest(
    "0.1.0",
    "tflite-int8",
    "onnx",
    Source("m.onnx", "00", 13),
    (TensorInfo("x", "float32", ("N", 3)),),
    (),
    (FileInfo("model.tflite", "00", 4),),
    "model.tflite",
    verification=Verification((OutputError("y", 0.0, None, 1.0, 0.0),), 4),
)


@settings(max_examples=60, deadline=None)
@given(MANIFESTS)
def test_round_trip(manifest: Manifest) -> None:
    text = manifest.to_json()
    assert Manifest.from_json(text) == manifest
    assert Manifest.from_json(text).to_json() == text


def test_equal_outputs_have_no_sqnr() -> None:
    assert json.loads(SMALL.to_json())["verification"]["outputs"][0]["sqnr_db"] is None


def edited(path: tuple[str | int, ...], value: object) -> str:
    raw = json.loads(SMALL.to_json())
    place = raw
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(raw)


DAMAGED = [
    (("schema",), 1, "schema"),
    (("target",), ..., "'target' is missing"),
    (("source", "opset"), "13", "'source.opset' should be int, not str"),
    (("source", "opset"), True, "'source.opset' should be int, not bool"),
    (("source", "opset"), None, "'source.opset' should be int, not null"),
    (("source",), [], "'source' should be an object, not a list"),
    (("files", 0, "sha256"), ..., "'files[0].sha256' is missing"),
    (("files", 0, "bytes"), 1.5, "'files[0].bytes' should be int, not float"),
    (("inputs",), {}, "'inputs' should be a list, not an object"),
    (("inputs", 0, "shape", 1), 2.5, "'inputs[0].shape[1]' should be int or str, not float"),
    (("verification", "outputs", 0, "cosine"), "1", "'verification.outputs[0].cosine' should be float"),
    (("colour",), "blue", "'colour' is not a known field"),
]


@pytest.mark.parametrize(("path", "value", "message"), DAMAGED, ids=str)
def test_damage_is_named(path: tuple[str | int, ...], value: object, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        Manifest.from_json(edited(path, value), "out/t/manifest.json")
    assert message in caught.value.what
    assert caught.value.where == "out/t/manifest.json"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"schema": 2}'])
def test_not_a_manifest(text: str) -> None:
    with pytest.raises(BadInput):
        Manifest.from_json(text)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_read_names_the_folder(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BadInput) as caught:
        Manifest.read(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_integer_serves_as_a_real() -> None:
    text = edited(("verification", "outputs", 0, "cosine"), 1)
    verification = Manifest.from_json(text).verification
    assert verification is not None
    assert isinstance(verification.outputs[0].cosine, float)
