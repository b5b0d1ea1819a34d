"""Importing this fills the tables of families: every file of this folder is found, none is listed."""

from __future__ import annotations

import importlib
import pkgutil

from effc.backends.tvm import ops

for _entry in sorted(pkgutil.iter_modules(ops.__path__), key=lambda e: e.name):
    importlib.import_module(f"{ops.__name__}.{_entry.name}")
