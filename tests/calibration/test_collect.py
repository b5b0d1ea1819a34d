"""One pass over all activations: right numbers, constant memory, errors that name the culprit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_models import build, convnet, images, not_a_number

from effc.calibration.collect import (
    RANGE_PROPERTY,
    collect,
    collect_cached,
    complete,
    float_tensors,
    stated_ranges,
)
from effc.calibration.readers import Dataset, open_data
from effc.calibration.statistics import Statistics
from effc.compiler import ir
from effc.compiler.oracle import Session, graph_inputs
from effc.compiler.ranges import Range
from effc.core.errors import BadInput
from effc.core.options import DataOptions


def dataset(path: Path, model: ir.Model, **arrays: np.ndarray) -> Dataset:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return open_data(DataOptions(str(path)), graph_inputs(model))


def test_equals_numpy_on_every_tensor(tmp_path: Path) -> None:
    model, x = convnet(), images(37)
    found = collect(model, dataset(tmp_path / "d.npz", model, x=x))
    names = float_tensors(model)
    whole = Session(model, outputs=[n for n in names if n != "x"]).run({"x": x}) | {"x": x}
    assert set(found.tensors) == set(names)
    assert found.samples == 37
    for name, statistics in found.tensors.items():
        values = whole[name]
        assert statistics.count == values.size
        assert statistics.lo == pytest.approx(float(values.min()), abs=1e-5)
        assert statistics.hi == pytest.approx(float(values.max()), abs=1e-5)
        axes = tuple(i for i in range(values.ndim) if i != 1)
        assert np.allclose(statistics.channel_mean, values.mean(axis=axes), atol=1e-5)


def test_shards_merge_to_the_whole(tmp_path: Path) -> None:
    model, x = convnet(), images(20)
    whole = collect(model, dataset(tmp_path / "w.npz", model, x=x))
    parts = [collect(model, dataset(tmp_path / f"{i}.npz", model, x=x[i::2])) for i in range(2)]
    merged = parts[0].merge(parts[1])
    assert merged.samples == whole.samples
    for name in ("x", "b", "e"):
        a, b = merged.tensors[name], whole.tensors[name]
        assert (a.lo, a.hi, a.histogram.exponent) == (b.lo, b.hi, b.histogram.exponent)
        assert np.array_equal(a.histogram.counts, b.histogram.counts)


def test_saved_and_cached(tmp_path: Path) -> None:
    model = convnet()
    data = dataset(tmp_path / "d.npz", model, x=images(8))
    found = collect_cached(model, data, folder=tmp_path)
    (file,) = (tmp_path / "statistics").iterdir()
    before = file.read_bytes()
    again = collect_cached(model, data, folder=tmp_path)
    assert list(again.tensors) == list(found.tensors)
    for name, observed in found.tensors.items():
        other = again.tensors[name]
        assert (observed.lo, observed.hi) == (other.lo, other.hi)
        assert np.array_equal(observed.histogram.counts, other.histogram.counts)
        assert np.array_equal(observed.channel_sum, other.channel_sum)
    again.save(file)
    assert file.read_bytes() == before
    for broken in (b"broken", before[:-20], before[:200] + bytes(8) + before[208:]):
        file.write_bytes(broken)
        assert collect_cached(model, data, folder=tmp_path).samples == 8
        assert file.read_bytes() == before


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    model = convnet()
    data = dataset(tmp_path / "d.npz", model, x=images(8))
    assert collect_cached(model, data, folder=tmp_path / "file").samples == 8


def test_saved_rubbish_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(b"PK rubbish")
    with pytest.raises(BadInput):
        Statistics.load(tmp_path / "s.npz")


def test_nan_in_an_activation_is_named(tmp_path: Path) -> None:
    model, x = not_a_number(), np.ones((70, 4), np.float32)
    x[65, 2] = -1
    with pytest.raises(BadInput, match=r"'s'.*Log 'Log_0'.*sample 65"):
        collect(model, dataset(tmp_path / "d.npz", model, x=x))


def test_complete_measures_only_what_is_new(tmp_path: Path) -> None:
    old = build("net (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")
    new = build("net (float[N,4] x) => (float[N,4] y) { a = Neg(x)\n b = Neg(a)\n c = Sigmoid(b)\n y = Relu(x) }")
    new = build(
        """net (float[N,4] x) => (float[N,4] y) {
            a = Neg(x)
            b = Neg(a)
            c = Sigmoid(b)
            d = Mul(b, c)
            z = Add(d, x)
            y = Relu(z)
        }"""
    )
    by_name = {v.name: v for v in ir.values(new.graph)}
    by_name["b"].metadata_props[RANGE_PROPERTY] = "same:x"
    by_name["c"].metadata_props[RANGE_PROPERTY] = "0,1"
    data = dataset(tmp_path / "d.npz", old, x=images(4).reshape(-1, 4))
    known = collect(old, data)
    full = complete(known, new, data)
    assert set(full.tensors) == {"x", "y", "a", "b", "d", "z"}
    assert full.tensors["b"] is known.tensors["x"]
    assert full.tensors["y"] is known.tensors["y"]
    assert stated_ranges(new) == {"c": Range(0.0, 1.0)}
    assert full.tensors["a"].lo == -known.tensors["x"].hi


CHILD = """
import sys
from effc.calibration.collect import collect
from effc.calibration.readers import open_data
from effc.compiler import ir
from effc.compiler.oracle import graph_inputs
from effc.core.options import DataOptions
model = ir.from_bytes(open(sys.argv[1], "rb").read())
data = open_data(DataOptions(sys.argv[2]), graph_inputs(model))
samples = collect(model, data).samples
# Not getrusage: its peak is inherited from the parent, which held the arrays.
print(samples, next(int(l.split()[1]) // 1024 for l in open("/proc/self/status") if l.startswith("VmHWM")))
"""


def test_memory_does_not_grow_with_samples(tmp_path: Path) -> None:
    model = build(
        "net (float[N,3,96,96] x) => (float[N,8,96,96] y) { a = Conv<pads=[1,1,1,1]>(x, w)\n y = Relu(a) }",
        w=np.ones((8, 3, 3, 3), np.float32),
    )
    (tmp_path / "m.onnx").write_bytes(ir.to_bytes(model))
    peak = {}
    for count in (64, 1024):
        np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).random((count, 3, 96, 96), np.float32))
        command = [sys.executable, "-c", CHILD, str(tmp_path / "m.onnx"), str(tmp_path / "d.npz")]
        samples, peak[count] = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
        assert samples == count
    assert peak[1024] < peak[64] + 24, "MB; the larger set alone is 108 MB"
