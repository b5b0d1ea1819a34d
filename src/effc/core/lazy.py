"""Modules that are loaded when something is first asked of them, whoever imports them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


@dataclass(frozen=True)
class _Postponing(MetaPathFinder):
    """Finds the named modules as the usual finder does, with a loader that waits."""

    names: frozenset[str]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None for every other module, which the finders behind this one find."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self.names else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def postpone(*names: str) -> None:
    """Let `import` of these modules load them only when an attribute is asked for, within other libraries too."""
    sys.meta_path.insert(0, _Postponing(frozenset(names)))
