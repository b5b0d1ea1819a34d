"""Artifacts built once for all CLI tests, by the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import support
from cli_support import Built, Command, Fill, Ran

from effc.cli.main import main

ODD_OP = """
<ir_version: 8, opset_import: ["" : 17, "my.domain" : 1]>
odd (float[N,4] x) => (float[N,4] y) {
  t = Relu(x)
  y = my.domain.Odd(t)
}
"""


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("EFFC_CACHE", str(folder))
        yield folder


@pytest.fixture
def effc(capfd: pytest.CaptureFixture[str]) -> Command:
    """Calls `main` with words (paths and numbers too) and keeps code, stdout and stderr."""

    def run(*words: object) -> Ran:
        capfd.readouterr()
        code = main([str(word) for word in words])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def built(cache: Path, mnist: support.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """mnist_minimobile as ort-fp32 and ort-int8."""
    del cache
    empty = Built(tmp_path_factory.mktemp("built") / "out", -1, mnist)
    words = [str(word) for word in empty.words("--target", "ort-fp32,ort-int8")]
    return Built(empty.folder, main(words), mnist)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A model with an op that nobody knows."""
    path = tmp_path / "odd.onnx"
    onnx.save(onnx.parser.parse_model(ODD_OP), path)
    return path


@pytest.fixture
def fill(built: Built, odd: Path, tmp_path: Path) -> Fill:
    """Words with {model}, {calib}, {eval}, {out}, {odd}, {tmp} put in; {tmp} holds a wrong feed and model."""
    np.savez(tmp_path / "wrong.npz", input=np.zeros((2, 3), np.float32))
    (tmp_path / "garbage.onnx").write_bytes(b"garbage")
    places = {"model": built.model.model, "calib": built.model.calib, "eval": built.model.evaluation}
    return lambda words: words.format(**places, out=built.folder, odd=odd, tmp=tmp_path).split()
