"""The timing cache: what TensorRT measured of its kernels on one GPU, kept for the next build."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from effc.backends.tensorrt.api import IBuilderConfig, ITimingCache
from effc.core.cache import cache_folder
from effc.core.errors import BadInput
from effc.core.files import write_atomic
from effc.core.options import EngineOptions

SLOT = "timing.cache"
"""The file of a package that brings measured kernels along."""
_NOT_MEASURED = ("timeout_s", "workspace_mb", "capabilities")


def place(wanted: str | None, machine: Mapping[str, str], options: EngineOptions) -> Path | None:
    """Where the cache lies: where the user wants it, nowhere (""), or by default in effc's own cache folder.

    Args:
        machine: names and versions of the GPU and of the library; times measured on another say nothing.
    """
    if wanted is not None:
        return Path(wanted).absolute() if wanted else None
    measured = {key: value for key, value in asdict(options).items() if key not in _NOT_MEASURED}
    facts = json.dumps([dict(machine), measured], sort_keys=True)
    name = re.sub(r"[^\w.]+", "-", " ".join(machine.values())).strip("-").lower()
    return cache_folder().absolute() / "timing" / f"{name}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.cache"


def attach(config: IBuilderConfig, sources: tuple[Path, ...], note: Callable[[str], None]) -> ITimingCache:
    """Give the build the first cache that is there and serves; an unreadable, damaged or foreign one is noted."""
    for path in sources:
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            note(f"the timing cache {path} cannot be read ({error}); it is not used")
            continue
        if not data:
            continue
        cache = config.create_timing_cache(data)
        if config.set_timing_cache(cache, False):
            return cache
        note(f"the timing cache {path} is damaged, or from another GPU or version; it is not used")
    empty = config.create_timing_cache(b"")
    config.set_timing_cache(empty, False)
    return empty


def keep(cache: ITimingCache, path: Path, note: Callable[[str], None]) -> None:
    """Write the cache, whole or not at all; that it cannot be written is no reason to lose an engine."""
    try:
        write_atomic(path, bytes(cache.serialize()))
    except BadInput as error:
        note(f"the timing cache was not kept: {error}")
