"""LiteRTRunner: an artifact in LiteRT's interpreter with XNNPACK. Runs in a child process."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from effc.backends.base import Array, Feeds, Timing
from effc.backends.tflite.explain import Operator
from effc.core import host


class LiteRTRunner:
    """`backends.base.Runner` over `ai_edge_litert`."""

    def __init__(self, folder: Path, file: str, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_path=str(folder / file), num_threads=threads)
        self._inputs: dict[str, int] = {}
        self._outputs: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._interpreter.allocate_tensors()
        self._refresh()

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """One inference; a dynamic batch follows the feeds."""
        self._set(feeds)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def measure(self, feeds: Feeds, iterations: int) -> Timing:
        """Seconds of each `invoke`, inputs set once."""
        self._set(feeds)
        seconds = []
        for _ in range(iterations):
            start = time.perf_counter()
            self._interpreter.invoke()
            seconds.append(time.perf_counter() - start)
        return Timing(tuple(seconds))

    def facts(self) -> dict[str, float | int | str]:
        """Operators in all and delegated, and the process's peak memory in MB."""
        ops = self._interpreter._get_ops_details()
        delegates = [op for op in ops if op["op_name"] == "DELEGATE"]
        own = [op for op in ops if op["op_name"] != "DELEGATE"]
        outside = self._outside(own, delegates)
        return {
            "ops_total": len(own),
            "ops_delegated": len(own) - len(outside),
            "ops_builtin": ", ".join(f"{n} {c}" for n, c in sorted(Counter(op["op_name"] for op in outside).items())),
            "runtime": "LiteRT",
            "peak_rss_mb": host.peak_rss_mb(),
        }

    def op_types(self) -> Counter[tuple[str, str]]:
        """How many operators there are of each name and output type, before delegation."""
        types = {d["index"]: np.dtype(d["dtype"]).name for d in self._interpreter.get_tensor_details()}
        own = [op for op in self._interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
        return Counter((op["op_name"], types.get(int(op["outputs"][0]), "")) for op in own)

    def operators(self) -> list[Operator]:
        """Every operator of the model with its types, and whether a delegate took it over."""
        details = {int(d["index"]): d for d in self._interpreter.get_tensor_details()}
        ops = self._interpreter._get_ops_details()
        own = [op for op in ops if op["op_name"] != "DELEGATE"]
        outside = {op["index"] for op in self._outside(own, [op for op in ops if op["op_name"] == "DELEGATE"])}
        return [_operator(op, details, delegated=op["index"] not in outside) for op in own]

    @staticmethod
    def _outside(own: list[Any], delegates: list[Any]) -> list[Any]:
        """The operators that no delegate took over: those none of whose outputs a delegate makes or hides.

        An operator is inside when a delegate puts its output out, or when only operators that are inside read it and
        no delegate takes it in.
        """
        made = {int(t) for op in delegates for t in op["outputs"]}
        given = {int(t) for op in delegates for t in op["inputs"]} - made
        readers: dict[int, list[int]] = {}
        for number, op in enumerate(own):
            for tensor in op["inputs"]:
                readers.setdefault(int(tensor), []).append(number)
        inside: set[int] = set()
        for number in reversed(range(len(own))):
            outputs = {int(t) for t in own[number]["outputs"]}
            hidden = all(t not in given and readers.get(t) and inside.issuperset(readers[t]) for t in outputs)
            if outputs & made or hidden:
                inside.add(number)
        return [op for number, op in enumerate(own) if number not in inside]

    def _set(self, feeds: Feeds) -> None:
        wanted = {name: feeds[name].shape for name in self._inputs}
        if wanted != self._shapes:
            self._shapes = {}  # not those of a resize that failed half-way
            for name, shape in wanted.items():
                self._interpreter.resize_tensor_input(self._inputs[name], list(shape))
            self._interpreter.allocate_tensors()
            self._refresh()
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, np.asarray(feeds[name], order="C"))

    def _refresh(self) -> None:
        """Names to tensor indices by the signature, which keeps the ONNX names."""
        signature = self._interpreter._get_full_signature_list()["serving_default"]
        self._inputs = dict(signature["inputs"])
        self._outputs = dict(signature["outputs"])
        details = {d["index"]: d["shape"] for d in self._interpreter.get_input_details()}
        self._shapes = {name: tuple(int(d) for d in details[index]) for name, index in self._inputs.items()}


def _operator(op: Any, details: dict[int, Any], *, delegated: bool) -> Operator:
    reads, makes = (tuple(int(t) for t in op[side] if int(t) >= 0) for side in ("inputs", "outputs"))
    made = details[makes[0]]
    given = next((np.dtype(details[t]["dtype"]).name for t in reads if t in details), "")
    shape = tuple(int(dim) for dim in made["shape"])
    return Operator(op["op_name"], made["name"], reads, makes, given, np.dtype(made["dtype"]).name, shape, delegated)
