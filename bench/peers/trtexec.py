"""`trtexec`, TensorRT's own command: its engine of the same ONNX file, and the times that it exports.

It tells times on the GPU's clock alone (`computeMs` of `--exportTimes`), so its host latency is stated as that: a
lower bound, to be read against the `gpu_ms` of others. Each measurement starts it anew on the engine that it built.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from effc.backends.base import Array, Feeds, Timing
from effc.compiler import oracle, reader
from effc.core.errors import BackendFailed, BackendMissing

COMMAND = "trtexec"
FLAGS: Mapping[str, tuple[str, ...]] = {
    "fp32": (),
    "typed": ("--stronglyTyped",),
    **{precision: (f"--{precision}",) for precision in ("fp16", "bf16", "int8", "fp8", "best")},
}
"""Flags of TensorRT 10; 11 knows --stronglyTyped alone. Without Q/DQ in the model --int8 takes made-up ranges."""
_DEADLINE_S = 7000.0
"""Less than the child has, lest that is ended and the command lives on."""
_WARM_UP_MS = 50
_RATE = re.compile(r"Throughput: ([0-9.]+) qps")
_VERSION = re.compile(r"TensorRT version: (\S+)")
_DEVICE = re.compile(r"Selected Device: (.+)")


class Trtexec:
    """`backends.base.Runner` over the command. It answers no `run`."""

    def __init__(self, model: Path, precision: str, threads: int) -> None:
        del threads
        if shutil.which(COMMAND) is None:
            hint = "it comes with TensorRT's own packages, as in /usr/src/tensorrt/bin; put its folder on the PATH"
            raise BackendMissing(f"{COMMAND} is not on the PATH", where=COMMAND, hint=hint)
        self._model, self._flags = model, FLAGS[precision]
        self._dynamic = [e.name for e in oracle.graph_inputs(reader.read(model).proto) if _open(e.shape)]
        self._holder = tempfile.TemporaryDirectory(prefix="effc-trtexec-")
        self._folder = Path(self._holder.name)
        self._engine = self._folder / "model.engine"
        self._built: str | None = None
        self._log = ""

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """Not through this command."""
        del feeds
        raise BackendFailed(f"{COMMAND} is here for times, not for outputs", stage=COMMAND)

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        """Seconds on the GPU's clock, of the kernels and of the copies."""
        times = self._folder / "times.json"
        self._timed(feeds, [f"--iterations={iterations}", "--duration=0", f"--exportTimes={times}"])
        return exported(_read(times))

    def throughput(self, feeds: Feeds, streams: int, seconds: float) -> float:
        """Samples a second, as it states it, for as many whole seconds as it takes."""
        self._timed(feeds, [f"--infStreams={streams}", f"--duration={max(1, round(seconds))}"])
        if (found := _RATE.search(self._log)) is None:
            raise BackendFailed(f"{COMMAND} states no throughput", stage=COMMAND, log=self._log)
        return float(found[1]) * next((array.shape[0] for array in feeds.values() if array.ndim), 1)

    def facts(self) -> dict[str, float | int | str]:
        """The version and the GPU that it states. Its memory is that of its own process and not known here."""
        version, device = _VERSION.search(self._log), _DEVICE.search(self._log)
        found: dict[str, float | int | str] = {"runtime": f"{COMMAND} {version[1] if version else ''}".strip()}
        return found | ({"gpu": device[1].strip()} if device else {})

    def _timed(self, feeds: Feeds, options: Sequence[str]) -> None:
        shapes = _shapes({name: feeds[name] for name in self._dynamic})
        if self._built != shapes:
            spans = [f"--{which}Shapes={shapes}" for which in ("min", "opt", "max")] if shapes else []
            self._call(
                [f"--onnx={self._model}", f"--saveEngine={self._engine}", "--skipInference", *self._flags, *spans]
            )
            self._built = shapes
        given = [f"--shapes={shapes}"] if shapes else []
        loaded = [f"--loadInputs={self._stored(feeds)}", f"--warmUp={_WARM_UP_MS}", "--useCudaGraph"]
        self._call([f"--loadEngine={self._engine}", *given, *loaded, *options])

    def _stored(self, feeds: Feeds) -> str:
        """The feeds as raw files, and the option's value that names them."""
        paths = {name: self._folder / f"{number}.bin" for number, name in enumerate(feeds)}
        for name, path in paths.items():
            np.ascontiguousarray(feeds[name]).tofile(path)
        return ",".join(f"'{name}':{path}" for name, path in paths.items())

    def _call(self, options: Sequence[str]) -> None:
        """Run the command. Raises BackendFailed with its last error line."""
        try:
            done = subprocess.run(
                [COMMAND, *options], capture_output=True, text=True, errors="replace", timeout=_DEADLINE_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendFailed(f"{COMMAND} does not run: {error}", stage=COMMAND) from error
        self._log = done.stdout + done.stderr
        if done.returncode != 0:
            raise BackendFailed(f"{COMMAND} fails: {complaint(self._log)}", stage=COMMAND, log=self._log)


def exported(records: Sequence[Mapping[str, float]]) -> Timing:
    """The records of `--exportTimes`, in milliseconds. Raises BackendFailed where they are not of that form."""
    try:
        gpu = tuple(record["computeMs"] / 1e3 for record in records)
        copies = tuple((record["h2dMs"] + record["d2hMs"]) / 1e3 for record in records)
    except (KeyError, TypeError) as error:
        raise BackendFailed(f"its times are of another form: {error!r}", stage=COMMAND) from error
    if not gpu:
        raise BackendFailed("it exports no times", stage=COMMAND)
    return Timing(gpu, gpu, copies)


def complaint(log: str) -> str:
    """The last line that the command marks as an error, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "[E]" in line]
    return (errors or lines or ["it says nothing"])[-1]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BackendFailed(f"it leaves no readable times: {error}", stage=COMMAND) from error


def _shapes(feeds: Feeds) -> str:
    """As its options spell shapes: 'x':1x3x224x224,'n':scalar."""
    return ",".join(f"'{name}':{'x'.join(map(str, array.shape)) or 'scalar'}" for name, array in feeds.items())


def _open(shape: Sequence[int | str]) -> bool:
    return any(isinstance(dim, str) for dim in shape)
