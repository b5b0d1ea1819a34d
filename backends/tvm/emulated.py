"""Libraries of other machines, run by effc-run in an emulator: what they compute, not how fast."""

from __future__ import annotations

from pathlib import Path

from effc.backends.base import Array, Feeds, Timing
from effc.backends.tvm.toolchain import device, machines
from effc.backends.tvm.toolchain.bundle import bundle
from effc.core.artifact import Artifact
from effc.core.errors import BackendFailed, BackendMissing, BadInput
from effc.core.manifest import Manifest
from effc.core.target import Target


def unrunnable(target: Target) -> str | None:
    """Why a target's libraries cannot run here, None where they can: natively, or with all that an emulator needs."""
    machine = machines.for_target(target)
    if machine.native:
        return None
    if not machine.platform:
        return f"no TVM runtime is published for {machine.device}"
    try:
        device.transport(machine.name)
        bundle(machine.name)
    except (BackendMissing, BackendFailed) as error:
        return f"{error.what} ({error.hint})" if error.hint else error.what
    return None


class EmulatedRunner:
    """`backends.base.Runner` over effc-run in an emulator."""

    def __init__(self, folder: Path, file: str, threads: int) -> None:
        del file
        self._artifact, self._threads = Artifact(folder, Manifest.read(folder)), threads

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One inference."""
        return dict(device.run(self._artifact, [feeds], self._threads)[0])

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        """Raises BadInput: an emulator's times say nothing of the device."""
        del feeds, iterations
        where, hint = str(self._artifact.folder), "run `effc-run ARTIFACT --bench` on the device"
        raise BadInput("it is for another CPU, whose emulator is no measure of it", where=where, hint=hint)

    def facts(self) -> dict[str, float | int | str]:
        """Where it runs."""
        return {"runtime": "TVM", "host": self.host()}

    def host(self) -> str:
        """As a manifest's verification says it."""
        return device.host(machines.for_target(self._artifact.target).name)
