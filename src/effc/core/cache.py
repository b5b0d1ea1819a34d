"""Where what can be made again is kept: fetched models, drawn data, calibration statistics."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "EFFC_CACHE"


def cache_folder() -> Path:
    """`$EFFC_CACHE`, or `effc` in the user's cache folder ($XDG_CACHE_HOME, `~/.cache`)."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(VARIABLE) or Path(home) / "effc")
