"""The child that the ONNX libraries run in: a crash, a hang or a bomb there costs one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import onnx

from effc.compiler import oracle, upgrade
from effc.core import ahead
from effc.core.errors import BackendFailed, EffcError

DEADLINE_S = 120.0
_STAGE = "frontend"


class Apart:
    """One child for all calls; one that a library has taken down is replaced at the next call."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._worker = ahead.take(upgrade.__name__, _STAGE, DEADLINE_S)

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.__exit__(kind, value, trace)

    def call(self, function: str, *args: object) -> Any:
        """Call `module:function`. Raises what `Worker.call` does."""
        if not self._worker.alive:
            self._worker.close()
            self._start()
        return self._worker.call(function, *args)

    def preload(self, *modules: str) -> None:
        """Let the child import modules while it has nothing else to do."""
        self._worker.preload(*modules)

    def evaluate(self, model: onnx.ModelProto, outputs: Sequence[str]) -> Mapping[str, oracle.Array]:
        """Tensors of a model without inputs. Raises EffcError when it cannot be run."""
        try:
            results: list[dict[str, oracle.Array]] = self.call(
                f"{oracle.__name__}:evaluate", model.SerializeToString(), [{}], tuple(outputs)
            )
        except BackendFailed as error:
            raise EffcError(error.what, where=oracle.STAGE) from error
        return results[0]
