"""Artifacts in their child: pinned, verified, timed; every backend that is installed."""

from __future__ import annotations

from collections.abc import Iterator

import artifacts
import numpy as np
import pytest
import support

from effc.bench import accuracy
from effc.bench.adapt import Adapter
from effc.bench.measure import BenchOptions, bench, feeds_of
from effc.bench.remote import open_runner
from effc.build import build
from effc.compiler.oracle import Session
from effc.core import host
from effc.core.artifact import Artifact
from effc.core.errors import BackendFailed, BadInput
from effc.core.options import BuildOptions
from effc.core.target import Target
from effc.core.worker import Worker

FLOATS = sorted(str(target) for target in artifacts.running() if target.precision == "fp32")
CASES = [(target, io, batch) for target in FLOATS for io, batch in (("onnx", "N"), ("native", 4))]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(map(str, case)))
def artifact(
    request: pytest.FixtureRequest, mnist: support.Classifier, tmp_path_factory: pytest.TempPathFactory
) -> Artifact:
    target, io, batch = request.param
    out = tmp_path_factory.mktemp("artifact")
    options = BuildOptions(
        mnist.model, (Target.parse(target),), out, {"input": (batch, 1, 28, 28)}, io=io, proof=False, reference=True
    )
    report = build(options)
    assert report.exit_code == 0, report
    return Artifact.open(report.targets[0].artifact)


def pairs(mnist: support.Classifier, sizes: tuple[int, ...]) -> Iterator[tuple[accuracy.Feeds, accuracy.Feeds]]:
    session, start = Session(mnist.model), 0
    for size in sizes:
        feeds = {"input": mnist.load()[0][start : start + size]}
        yield feeds, session.run(feeds)
        start += size


def test_verify(artifact: Artifact, mnist: support.Classifier) -> None:
    """Batches of any size, also where the artifact takes 4 at a time."""
    labels = accuracy.Labels(mnist.load()[1][:21])
    found = accuracy.verify(artifact, pairs(mnist, (8, 3, 10)), labels, data="eval")
    assert found.samples == 21
    assert found.agreement == 1.0
    assert found.top1 is not None
    assert found.top1.float == found.top1.artifact > 0.9
    [output] = found.outputs
    assert output.name == "logits"
    assert output.sqnr_db is None or output.sqnr_db > 90


def test_bench(artifact: Artifact) -> None:
    report = bench([artifact, artifact], BenchOptions(rounds=3, min_time=0.03))
    assert len(report.results) == 2
    expected = Adapter.of(artifact.manifest).batch or 1
    for result in report.results:
        assert result.batch == expected
        assert result.calls >= 3
        assert result.delegated is None or 0 <= result.delegated <= 1
        assert result.file_bytes > 100_000


def test_feeds_without_a_reference_have_the_artifacts_form(artifact: Artifact) -> None:
    from dataclasses import replace

    files = tuple(file for file in artifact.manifest.files if file.path != "reference.npz")
    bare = Artifact(artifact.folder, replace(artifact.manifest, files=files))
    with_reference, without = feeds_of(artifact), feeds_of(bare)
    for name, array in with_reference.items():
        assert without[name].shape == array.shape
        assert without[name].dtype == array.dtype


def test_what_fails_in_the_runtime_is_reported(artifact: Artifact) -> None:
    with open_runner(artifact) as runner:
        with pytest.raises(BackendFailed):
            runner.run({artifact.manifest.inputs[0].name: np.zeros((), np.float64)})
        with pytest.raises(BackendFailed):
            runner.run({})


def test_a_child_is_pinned() -> None:
    available = host.cpus()
    with Worker("pin") as worker:
        pinned = worker.call("effc.bench.remote:pin", 1)
    assert pinned == available[-1:]
    assert host.cpus() == available


def test_a_sealed_package(artifact: Artifact) -> None:
    from dataclasses import replace

    package = Artifact(artifact.folder, replace(artifact.manifest, sealed=True))
    with pytest.raises(BadInput, match="sealed"), open_runner(package):
        pytest.fail("it must not open")


def test_nothing_to_bench() -> None:
    with pytest.raises(BadInput):
        bench([])


def test_the_child_ends_with_its_block(artifact: Artifact) -> None:
    with open_runner(artifact) as runner:
        process = runner.worker._process
        assert process.poll() is None
    assert process.poll() is not None


def test_reference_is_what_the_float_model_gives(artifact: Artifact, mnist: support.Classifier) -> None:
    from effc.bench import reference

    assert artifact.reference is not None
    held = reference.read(artifact.reference)
    found = Session(mnist.model).run(held.feeds)
    np.testing.assert_array_equal(held.outputs["logits"], found["logits"])
