"""Every kind of data set, and what is said of a bad one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effc.calibration.preprocess import Preprocess
from effc.calibration.readers import Dataset, open_data
from effc.compiler.oracle import Input
from effc.core.errors import BadInput
from effc.core.options import DataOptions

FLOAT = np.dtype(np.float32)
X = Input("x", FLOAT, ("N", 3, 4, 4))
RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(7, 3, 4, 4)).astype(np.float32)


def read(spec: Path | str, *inputs: Input, **options: object) -> Dataset:
    return open_data(DataOptions(str(spec), **options), inputs or (X,))  # type: ignore[arg-type]


def whole(data: Dataset, name: str = "x", size: int = 3) -> np.ndarray:
    return np.concatenate([feeds[name] for feeds in data.batches(size)])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@pytest.mark.parametrize("name", ["x", "images"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz(tmp_path: Path, save: object, name: str, order: str) -> None:
    labels = np.arange(7)
    save(tmp_path / "d.npz", **{name: np.asarray(DATA, order=order), "label": labels})  # type: ignore[operator]
    data = read(tmp_path / "d.npz")
    assert len(data) == 7
    assert np.array_equal(whole(data), DATA)
    assert np.array_equal(whole(data), DATA), "a second pass sees the same"
    assert data.labels is not None
    assert np.array_equal(data.labels, labels)
    assert [len(f["x"]) for f in data.batches(3)] == [3, 3, 1]


def test_limit_changes_length_labels_and_hash(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=DATA, label=np.arange(7))
    full, part = read(tmp_path / "d.npz"), read(tmp_path / "d.npz", limit=4)
    assert len(part) == 4
    assert np.array_equal(whole(part), DATA[:4])
    assert part.labels is not None
    assert len(part.labels) == 4
    assert part.sha256 != full.sha256 == read(tmp_path / "d.npz", limit=99).sha256


def test_several_inputs_and_one_without_a_batch_axis(tmp_path: Path) -> None:
    state = Input("state", FLOAT, (2, 1, 5))
    wave = Input("wave", FLOAT, (1, 8))
    states = RNG.normal(size=(6, 2, 1, 5)).astype(np.float32)
    waves = RNG.normal(size=(6, 8)).astype(np.float64)
    np.savez(tmp_path / "d.npz", state=states, wave=waves)
    data = read(tmp_path / "d.npz", wave, state)
    feeds = list(data.batches(4))
    assert data.batch_limit == 1
    assert len(feeds) == 6
    assert np.array_equal(feeds[2]["state"], states[2])
    assert feeds[2]["wave"].dtype == np.float32
    assert np.array_equal(feeds[2]["wave"], waves[2:3].astype(np.float32))


def test_fixed_batch_drops_the_rest(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=DATA)
    data = read(tmp_path / "d.npz", Input("x", FLOAT, (2, 3, 4, 4)))
    assert [len(f["x"]) for f in data.batches(5)] == [2, 2, 2]


def test_folder_of_images_by_class(tmp_path: Path) -> None:
    for number, name in enumerate(("cat", "cat", "dog")):
        (tmp_path / name).mkdir(exist_ok=True)
        pixels = np.full((8, 12, 3), (10 * number, 20, 30), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    spec = "resize=4,crop=4,layout=NCHW,color=BGR,mean=0.5/0.4/0.3,std=0.5,scale=255"
    data = read(tmp_path, preprocess=spec)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1]
    found = whole(data)
    assert found.shape == (3, 3, 4, 4)
    expected = (np.array([30, 20, 20]) / 255 - [0.5, 0.4, 0.3]) / 0.5
    assert np.allclose(found[2, :, 0, 0], expected, atol=1e-6)
    (tmp_path / "preprocess.toml").write_text('resize = [4, 4]\nlayout = "NHWC"\n')
    nhwc = read(tmp_path, Input("x", FLOAT, ("N", 4, 4, 3)))
    assert np.allclose(whole(nhwc)[1, 0, 0], np.array([10, 20, 30]) / 255)


@pytest.mark.parametrize(("kind", "keep_axis"), [("npy", False), ("npy", True), ("npz", False)])
def test_folder_of_arrays(tmp_path: Path, kind: str, keep_axis: bool) -> None:
    for i, sample in enumerate(DATA):
        array = sample[None] if keep_axis else sample
        if kind == "npy":
            np.save(tmp_path / f"{i}.npy", array)
        else:
            np.savez(tmp_path / f"{i}.npz", x=array, label=np.array([i % 3]))
    data = read(tmp_path)
    assert np.array_equal(whole(data), DATA)
    assert (data.labels is not None) == (kind == "npz")


def test_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "calib_source.py").write_text(
        "import numpy as np\n"
        "def samples():\n"
        "    for i in range(5):\n"
        "        yield {'x': np.full((3, 4, 4), i, np.float32), 'label': i}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    data = read("calib_source:samples")
    assert whole(data)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2, 3, 4]


def test_random_only_when_asked_and_seeded() -> None:
    a, b, c = (open_data(DataOptions("random", limit=4), (X,), seed) for seed in (0, 0, 1))
    assert np.array_equal(whole(a), whole(b))
    assert not np.array_equal(whole(a), whole(c))
    assert a.sha256 == b.sha256 != c.sha256
    assert whole(a).shape == (4, 3, 4, 4)


def bad(kind: str) -> dict[str, np.ndarray]:
    if kind == "nan":
        data = DATA.copy()
        data[5, 1, 2, 3] = np.nan
        return {"x": data}
    return {
        "shape": {"x": DATA[:, :2]},
        "dtype": {"x": (DATA * 10).astype(np.uint8)},
        "name": {"image": DATA, "other": DATA},
        "empty": {"x": DATA[:0]},
        "lengths": {"x": DATA, "label": np.arange(6)},
        "objects": {"x": np.array([None] * 7)},
        "nothing": {},
        "labels alone": {"label": np.arange(7)},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", r"d\.npz: array 'x', sample 0.*\[2, 4, 4\].*\[3, 4, 4\]"),
        ("dtype", "array 'x'.*uint8.*float32"),
        ("name", "no array for the model's input 'x'; there are image, other"),
        ("empty", "no samples"),
        ("lengths", "x: 7, label: 6"),
        ("objects", r"d\.npz.*objects"),
        ("nothing", "no array"),
        ("labels alone", "no array for an input"),
        ("nan", "array 'x', sample 5: a value is NaN"),
    ],
)
def test_bad_npz_is_named(tmp_path: Path, kind: str, message: str) -> None:
    np.savez(tmp_path / "d.npz", **bad(kind))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=message):
        whole(read(tmp_path / "d.npz"))


def test_a_state_s_samples_are_whole_feeds(tmp_path: Path) -> None:
    inputs = (Input("x", np.dtype(FLOAT), (1, 3)), Input("state", np.dtype(FLOAT), (2, 1, 4)))
    with pytest.raises(BadInput, match=r"different batch sizes \[1, 2\]") as caught:
        open_data(DataOptions("random"), inputs)
    assert "one whole feed a sample" in caught.value.hint
    np.savez(tmp_path / "d.npz", x=np.zeros((5, 1, 3), FLOAT), state=np.zeros((5, 2, 1, 4), FLOAT))
    feeds = list(open_data(DataOptions(str(tmp_path / "d.npz")), inputs).batches(4))
    assert [{name: array.shape for name, array in each.items()} for each in feeds] == [
        {"x": (1, 3), "state": (2, 1, 4)}
    ] * 5


def test_a_model_without_inputs_takes_no_data() -> None:
    with pytest.raises(BadInput, match="no input that data could feed"):
        open_data(DataOptions("random"), ())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"hello"])
def test_file_that_is_no_npz(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(BadInput, match=r"d\.npz"):
        read(tmp_path / "d.npz")


def test_damaged_data_is_named(tmp_path: Path) -> None:
    """A flipped byte shows when the rows are read, not when the file is opened."""
    np.savez_compressed(tmp_path / "d.npz", x=np.random.default_rng(0).standard_normal((64, 3, 4, 4)).astype(FLOAT))
    content = bytearray((tmp_path / "d.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(BadInput, match=r"d\.npz: it cannot be read"):
        whole(read(tmp_path / "d.npz"))


def test_a_fixed_batch_leaves_out_samples_and_their_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=DATA, label=np.arange(len(DATA)))
    data = read(tmp_path / "d.npz", Input("x", FLOAT, (2, 3, 4, 4)))
    assert data.labels is not None
    assert len(whole(data)) == len(data) == len(data.labels) == 6


@pytest.mark.parametrize("label", [3, [3]])
def test_a_label_in_a_file_of_its_own_sample(tmp_path: Path, label: int | list[int]) -> None:
    np.savez(tmp_path / "0.npz", x=DATA[0], label=label)
    data = read(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [3]


FUNCTIONS = """
def number(): return 3
def raises():
    yield {"x": 0.0}
    raise RuntimeError("boom")
def bare(): yield 0.0
def wants(more): yield {}
constant = 5
"""
FAILURES = [
    ("number", "it failed with TypeError"),
    ("raises", "it failed with RuntimeError: boom"),
    ("bare", "it yields float, not a dict"),
    ("wants", "it failed with TypeError"),
    ("constant", "is no function"),
]


@pytest.mark.parametrize(("name", "message"), FAILURES)
def test_a_users_function_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    (tmp_path / "failing_source.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadInput, match=f"failing_source:{name}.*{message}"):
        read(f"failing_source:{name}")


@pytest.mark.parametrize("spec", ["", ":", "../m:f", "absent.npz", "no_such_module:function", "json:no_such_function"])
def test_absent(spec: str) -> None:
    with pytest.raises(BadInput, match=f"^{spec}.*there is no "):
        read(spec)


def test_images_without_a_spec_and_broken_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match="preprocess"):
        read(tmp_path)
    with pytest.raises(BadInput, match=r"a\.png"):
        read(tmp_path, preprocess="resize=4")


@pytest.mark.parametrize(
    "text", ["resize=big", "size=3", "mean=1/2", "std=0", "color=CMYK", "224", "crop=1.5", "resize=1/2/3"]
)
def test_bad_preprocess(text: str) -> None:
    with pytest.raises(BadInput, match="preprocess"):
        Preprocess.parse(text)


def iterate(data: Dataset) -> Iterator[int]:
    return (data.samples_in(feeds) for feeds in data.batches(2))


def test_samples_in_counts_every_sample_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=DATA)
    assert sum(iterate(read(tmp_path / "d.npz"))) == 7
