"""Children started before anyone asks them: they import while the modules that will ask them are imported here."""

from __future__ import annotations

from effc.core.worker import Worker

_waiting: dict[str, Worker] = {}


def start(module: str) -> None:
    """Start a child that imports the module."""
    _waiting[module] = Worker(module, preload=(module,))


def take(module: str, stage: str, deadline: float) -> Worker:
    """The child that was started for the module, or a new one."""
    worker = _waiting.pop(module, None)
    if worker is None:
        return Worker(stage, deadline=deadline, preload=(module,))
    worker.stage, worker.deadline = stage, deadline
    return worker


def stop() -> None:
    """End the children that nobody took."""
    while _waiting:
        _waiting.popitem()[1].kill()
