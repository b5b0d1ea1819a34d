"""Calls of the real TensorRT-RTX that tests make in a child, where the library may be loaded."""

from __future__ import annotations

import warnings
from pathlib import Path

from effc.backends.tensorrt import library, logs
from effc.backends.tensorrt.build import cache, engine


def timing_cache(contents: bytes | None, folder: Path) -> tuple[list[str], bytes]:
    """Attach the timing cache `folder/own` with these contents (None: no file) and keep it; notes, and what was kept.

    TensorRT-RTX has the whole interface, and reads and writes the format; it only measures nothing.
    """
    warnings.simplefilter("ignore", DeprecationWarning)
    own, notes = folder / "own", list[str]()
    if contents is not None:
        own.write_bytes(contents)
    trt = library.load("rtx")
    builder = trt.Builder(logs.logger(trt, logs.Log()))
    times = cache.attach(builder.create_builder_config(), (own,), notes.append)
    cache.keep(times, folder / "kept", notes.append)
    cache.keep(times, folder / "kept" / "below a file", notes.append)
    return notes, (folder / "kept").read_bytes()


def build_unheard(job: engine.Job) -> None:
    """Build while nobody takes the reports any more."""

    def report(done: int, total: int) -> None:
        raise BrokenPipeError(f"{done} of {total}")

    engine.build(job, report=report)
