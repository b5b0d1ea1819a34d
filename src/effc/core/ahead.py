"""Children started before anyone asks them: they import while the modules that will ask them are imported here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from effc.core.worker import Worker

_waiting: dict[str, Worker] = {}


@contextmanager
def started(modules: Sequence[str]) -> Iterator[None]:
    """Start a child for each module, which imports it; those that nobody has taken end with the context."""
    workers = {module: Worker(module, preload=(module,)) for module in modules}
    _waiting.update(workers)
    try:
        yield
    finally:
        for module, worker in workers.items():
            if _waiting.get(module) is worker:
                _waiting.pop(module).kill()


def take(module: str, stage: str, deadline: float) -> Worker:
    """The child that was started for the module, or a new one; the taker ends it."""
    worker = _waiting.pop(module, None)
    if worker is None:
        return Worker(stage, deadline=deadline, preload=(module,))
    worker.stage, worker.deadline = stage, deadline
    return worker
