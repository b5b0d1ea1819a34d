"""Every name that the TensorRT backend uses exists in each library that it drives.

The bindings of TensorRT proper come without TensorRT: stub libraries satisfy their loader, nothing of them is called.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import stub_library
import support
import tensorrt_names

from effc.backends.tensorrt import api, library
from effc.backends.tensorrt.backend import CAPABILITIES
from effc.backends.tensorrt.build import flavours
from effc.backends.tensorrt.build.engine import Job
from effc.core.cache import cache_folder
from effc.core.errors import BackendFailed, BackendMissing
from effc.core.files import sha256
from effc.core.options import EngineOptions
from effc.core.progress import Progress
from effc.core.target import Target
from effc.core.worker import Worker
from effc.zoo.download import wheel

TESTS = Path(__file__).parents[1]
OWN = (api.__name__, flavours.__name__)
PLANTED = "tensorrt_planted"
BINDINGS = {
    "10.9.0.34": (
        "tensorrt-cu12-bindings",
        "50c78fd66dbb515b135d5f4fe28790f2eda119756950b51a6a45a77736a14b47",
        "5bc99385f84bdab148df3776e92705c420698b40de4d74159034095a876c8a2b",
        "30c1518b16cfa84dd9d7e85e11e47d808dc18cafa6d2b93b26fb7bd1f297b84b",
    ),
    "10.16.1.11": (
        "tensorrt-cu13-bindings",
        "f986d47980d042cc126506a9b84586e55ad13737a7a46826fe45457c04d66294",
        "2fb87ac24a5e5f42e43f283c16d1b661dc72ef18568fd847ce2080b7db9ca232",
        "da17c222ba99f46e77e1dab568cd17c4652b0432d4fae074e4c79285356aa0ac",
    ),
    "11.4.0.106": (
        "tensorrt-cu13-bindings",
        "d072ac2a095e2be749fefc847adfb25d5ebe70303401df62ede8fe67a59f27fc",
        "5fc7a6c412881f7212030893bd5531b1a0ff415c72c7678dfe4ead7a7765b38d",
        "bac9a362c9189b5f5dd0444213913846e4b46003237834958e890eff57d86ed5",
    ),
}
"""Version to package and the sha256 of its wheels for Python 3.11, 3.12 and 3.13."""
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
"""What the bindings import from the libraries."""
ONLY_RTX = ["ComputeCapability", "IBuilderConfig.num_compute_capabilities", "IBuilderConfig.set_compute_capability"]
ELEVEN_LACKS = {
    "BuilderFlag.FP16",
    "IBuilderConfig.int8_calibrator",
    "IInt8EntropyCalibrator2",
    "OnnxParser.supports_model",
}
"""Of tests/tensorrt_planted.py, what 10 still has."""
NOBODY_HAS = {"NeverThere", "IBuilderConfig.set_flag does not take (flags, never)"}


@pytest.fixture(scope="session", params=sorted(BINDINGS))
def binding(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A version, and a folder in which it can be imported as `tensorrt`, as users do."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("the stub libraries are for Linux on x86-64")
    folder = tmp_path_factory.mktemp("binding")
    with zipfile.ZipFile(kept(request.param)) as archive:
        archive.extractall(folder)
    major = request.param.partition(".")[0]
    for name in ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin"):
        stub_library.write(folder / "tensorrt_bindings" / f"{name}.so.{major}", FUNCTIONS)
    (folder / "tensorrt").mkdir()
    (folder / "tensorrt" / "__init__.py").write_text(
        "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
    )
    return request.param, folder


def kept(version: str) -> Path:
    """The wheel of a version, downloaded once."""
    package, *digests = BINDINGS[version]
    folder = cache_folder() / "wheels" / f"{package}-{version}-{sys.version_info.major}.{sys.version_info.minor}"
    folder.mkdir(parents=True, exist_ok=True)
    whole = next((path for path in folder.glob("*.whl") if sha256(path) in digests), None)
    try:
        whole = whole or wheel(package, version, folder)
    except (BackendFailed, BackendMissing) as error:
        pytest.skip(f"wheel not available: {error.what}")
    assert sha256(whole) in digests
    return whole


def python(folder: Path, *arguments: str) -> str:
    """What a child of this Python prints that finds packages in `folder`, and the tests' helpers, too."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(TESTS)])}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def absent(module: str, folder: Path, *names: str) -> dict[str, list[str]]:
    """What the library has not of each module of names."""
    found: dict[str, list[str]] = json.loads(python(folder, str(TESTS / "tensorrt_names.py"), module, *names))
    return found


def test_bindings_have_the_names(binding: tuple[str, Path]) -> None:
    version, folder = binding
    found = absent("tensorrt", folder, *OWN, PLANTED)
    assert found[api.__name__] == []
    assert found[flavours.__name__] == ONLY_RTX
    assert set(found[PLANTED]) == NOBODY_HAS | (ELEVEN_LACKS if version.startswith("11") else set())


def test_rtx_has_the_names(tmp_path: Path) -> None:
    found = absent("tensorrt_rtx", tmp_path, *OWN, PLANTED)
    assert found[api.__name__] == found[flavours.__name__] == []
    assert set(found[PLANTED]) == NOBODY_HAS | ELEVEN_LACKS


def test_every_declared_name_is_used() -> None:
    """What nobody reads, calls or implements would be held against the bindings for nothing."""
    used = set[str]()
    for path in (support.ROOT / "backends" / "tensorrt").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            used |= {node.attr} if isinstance(node, ast.Attribute) else set()
            used |= {str(node.arg)} if isinstance(node, ast.keyword) else set()
    for module in (api, flavours):
        for name, protocol in tensorrt_names.protocols(module):
            assert set(tensorrt_names.members(protocol)) <= used, name


def test_targets_name_the_gpus_of_rtx(tmp_path: Path) -> None:
    code = "import tensorrt_rtx as t; print(*(n.lower() for n in t.ComputeCapability.__members__ if n[:2] == 'SM'))"
    assert tuple(python(tmp_path, "-c", code).split()) == CAPABILITIES


def test_library_found(binding: tuple[str, Path]) -> None:
    version, folder = binding
    asked = "l.missing('trt'), l.versions('trt'), l.load('trt').__name__"
    said = python(folder, "-c", f"from effc.backends.tensorrt import library as l; print({asked})")
    assert said.strip() == f"None {{'tensorrt': '{version}'}} tensorrt"


def test_library_without_its_shared_objects(binding: tuple[str, Path], tmp_path: Path) -> None:
    """The binding is there, what it binds is not: as after an installation that failed half-way."""
    shutil.copytree(binding[1], tmp_path / "bare", ignore=shutil.ignore_patterns("lib*.so.*"))
    with (
        Worker("load", env={"PYTHONPATH": str(tmp_path / "bare")}) as child,
        pytest.raises(BackendMissing, match=r"TensorRT does not load: libnv\w+\.so\.\d+: cannot open") as caught,
    ):
        child.call("effc.backends.tensorrt.library:load", "trt")
    assert caught.value.hint == "pip install 'effc[trt]'"


def test_library_that_gives_no_builder(binding: tuple[str, Path]) -> None:
    """As TensorRT does on a machine whose driver is broken; here since the stub library returns nothing."""
    job = Job(Target.parse("trt-fp32"), Path("typed.onnx"), Path("model.engine"), EngineOptions())
    with (
        Worker("build", env={"PYTHONPATH": str(binding[1])}) as child,
        pytest.raises(BackendFailed, match="no engine was built: the library does not say why"),
    ):
        child.call("effc.backends.tensorrt.build.engine:build", job, progress=Progress())


@pytest.mark.parametrize(
    ("flavour", "version", "fits"),
    [
        ("trt", "10.3.0", False),
        ("trt", "10.9.0.34", True),
        ("trt", "11.4.0.106", True),
        ("trt", "12.0.1", False),
        ("trt", "8.6.1", False),
        ("rtx", "1.7.1.116", True),
        ("rtx", "1.6.0", False),
        ("rtx", "2.0.0", False),
        ("trt", "", True),
    ],
)
def test_versions(flavour: str, version: str, fits: bool) -> None:
    reason = library.unfit(library.LIBRARIES[flavour], version)
    assert (reason is None) is fits
    assert fits or version in str(reason)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_not_installed() -> None:
    assert library.missing("trt") == "pip install 'effc[trt]'"
    assert library.versions("trt") == {}
    with pytest.raises(BackendMissing, match="TensorRT does not load: No module named 'tensorrt'"):
        library.load("trt")
