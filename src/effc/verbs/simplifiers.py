"""`make bench-simplify`: effc beside other simplifiers, a table of nodes, seconds and bytes in docs/simplifier.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import onnx

from effc import zoo
from effc.bench import chains, large_run, nodetests
from effc.bench.peers import simplifiers
from effc.bench.peers.comparison import Comparison, Length, Result, Row
from effc.bench.peers.simplifiers import GROWTH, Attempt, Simplifier
from effc.core.encode import to_json
from effc.core.errors import EffcError
from effc.core.files import write_atomic
from effc.verbs import simplifiers_page

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
ANY = "any"
LENGTHS = (1_000, 10_000, 50_000)


def models(names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Names and files: those named (files, light networks, zoo models), or else all that can be had here."""
    light = {path.stem: path for path in sorted(LIGHT.glob("*.onnx"))}
    for name in names or (*light, *(model.name for model in zoo.models())):
        if name in light or Path(name).is_file():
            yield Path(name).stem, light.get(name, Path(name))
            continue
        try:
            yield name, zoo.fetch(name)
        except EffcError as error:
            print(f"{name}: left out ({error.what})", file=sys.stderr)


def rows(name: str, model: Path, others: Sequence[Simplifier], rounds: int) -> list[Row]:
    """A row, and for a light network a second one in which outputs may be of any size."""
    own = [simplifiers.effc()] + ([simplifiers.effc(ANY)] if model.parent == LIGHT else [])
    results = dict(zip((s.name for s in (*others, *own)), _results(model, (*others, *own), rounds), strict=True))
    before = simplifiers.node_count(simplifiers.read(model)), simplifiers.file_bytes(model)
    limits = [GROWTH, float("inf")][: len(own)]
    told = tuple(results[other.name] for other in others)
    titles = [name, f"{name}, any size"]
    return [
        Row(title, *before, limit, results[mine.name], told)
        for title, limit, mine in zip(titles, limits, own, strict=False)
    ]


def _results(model: Path, each: Sequence[Simplifier], rounds: int) -> list[Result]:
    """Every simplifier's result; in each round they take turns, and one that failed runs no more."""
    with tempfile.TemporaryDirectory(prefix="effc-simplifiers-") as folder:
        attempts: dict[str, list[Attempt]] = {simplifier.name: [] for simplifier in each}
        outputs = {s.name: Path(folder) / str(index) / "out.onnx" for index, s in enumerate(each)}
        for _ in range(rounds):
            for simplifier in each:
                if not any(past.failure for past in attempts[simplifier.name]):
                    attempts[simplifier.name].append(_attempt(simplifier, model, outputs[simplifier.name]))
        return [_result(model, outputs[s.name], s.name, attempts[s.name]) for s in each]


def _attempt(simplifier: Simplifier, model: Path, output: Path, deadline: float = simplifiers.DEADLINE_S) -> Attempt:
    output.parent.mkdir(exist_ok=True)
    output.unlink(missing_ok=True)
    return simplifiers.attempt(simplifier, model, output, deadline)


def _result(model: Path, output: Path, name: str, attempts: Sequence[Attempt]) -> Result:
    seconds = median(each.seconds for each in attempts)
    if failure := attempts[-1].failure:
        return Result(name, seconds, None, failure)
    try:
        return Result(name, seconds, simplifiers.judge(model, output))
    except Exception as error:  # whatever a file that others wrote may hold
        return Result(name, seconds, None, f"its output cannot be read: {error}"[:160])


def lengths(others: Sequence[Simplifier]) -> Iterator[Length]:
    """Seconds on generated graphs of growing length, one run each; who failed at one is not tried on longer ones."""
    each = (*others, simplifiers.effc())
    for shape in chains.SHAPES:
        failed: set[str] = set()
        for count in LENGTHS:
            yield (length := _length(shape, count, [s for s in each if s.name not in failed]))
            failed |= {s.name for s in each if length.seconds.get(s.name) is None}


def _length(shape: str, count: int, each: Sequence[Simplifier]) -> Length:
    with tempfile.TemporaryDirectory(prefix="effc-lengths-") as name:
        folder = Path(name)
        onnx.save(model := chains.SHAPES[shape](count), folder / "in.onnx")
        tried = {
            s.name: _attempt(s, folder / "in.onnx", folder / s.name / "out.onnx", simplifiers.LENGTH_DEADLINE_S)
            for s in each
        }
        done = folder / simplifiers.effc().name / "out.onnx"
        after = simplifiers.node_count(simplifiers.read(done)) if done.is_file() else None
        seconds = {name: None if each.failure else each.seconds for name, each in tried.items()}
        print(f"{shape} of {count}: {seconds}", flush=True)
        return Length(shape, simplifiers.node_count(model), after, seconds)


def node_tests() -> dict[str, int]:
    """How many of ONNX's node tests came out how."""
    return dict(Counter(outcome.kind.value for outcome in nodetests.judged(nodetests.cases())))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a line a model as it comes, write the page; 1 where a peer is better."""
    parser = argparse.ArgumentParser(prog="effc.verbs.simplifiers", description=__doc__)
    parser.add_argument("--models", default="", help="names or files, separated by commas; all when left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=simplifiers.ENVIRONMENT, help="environment with the peers")
    parser.add_argument("--page", type=Path, help="write the page there")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    args = parser.parse_args(argv)
    others = simplifiers.peers(args.peers)
    found: list[Row] = []
    for name, model in models([each for each in args.models.split(",") if each]):
        for row in rows(name, model, others, args.rounds):
            print(simplifiers_page.line(row), flush=True)
            found.append(row)
    comparison = Comparison(tuple(found), args.rounds)
    if args.page:
        told, large = tuple(lengths(others)), large_run.section()
        comparison = replace(comparison, lengths=told, node_tests=node_tests(), large_run=large)
        write_atomic(args.page, simplifiers_page.page(comparison).encode())
    if args.json:
        write_atomic(args.json, to_json(comparison).encode())
    return int(any(row.lost for row in found))


if __name__ == "__main__":
    sys.exit(main())
