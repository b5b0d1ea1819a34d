"""Fixtures and options of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import support


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
