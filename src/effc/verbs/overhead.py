"""`python -m effc.verbs.overhead MODEL`: what a build takes beside the library's own call, calibration and proofs.

Each build is a process of its own, as a user starts it; targets take turns. Medians over the rounds are printed.
Bias correction and the search for delicate layers, which measure on data as calibration does, are left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from effc.core.manifest import MEASURED_NAME
from effc.core.target import Target, parse_targets

TARGETS = "rtx-fp32:sm89,rtx-fp16:sm89,rtx-int8:sm89"
STAGES = ("simplify", "legalize", "quantize", "emit")
ASIDE = ("prove", "calibrate", "engine", "reference", "verify")
_OPTIONS = ["--calib", "random", "--no-bias-correction", "--min-sqnr", "0", "--timing-cache", "none", "--overwrite"]

Seconds = Mapping[str, float]


def once(model: Path, target: Target, folder: Path) -> dict[str, float]:
    """Seconds of one build: `whole`, `own`, `other` (own, in no stage), and of each stage; `emit` without `engine`.

    Raises CalledProcessError when it fails.
    """
    command = [sys.executable, "-m", "effc.cli.main", "build", str(model), "--target", str(target), "-o", str(folder)]
    start = time.perf_counter()
    subprocess.run([*command, *_OPTIONS], check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - start
    told: Seconds = json.loads((folder / target.folder / MEASURED_NAME).read_text())["stages_s"]
    stages = {name: told.get(name, 0.0) for name in (*STAGES, *ASIDE)}
    stages["emit"] -= stages["engine"]
    own = whole - sum(stages[name] for name in ASIDE)
    return {"whole": whole, "own": own, "other": own - sum(stages[name] for name in STAGES), **stages}


def medians(model: Path, targets: Sequence[Target], rounds: int) -> dict[Target, Seconds]:
    """The median of each figure of `once` by target."""
    with tempfile.TemporaryDirectory(prefix="effc-overhead-") as folder:
        runs = [{target: once(model, target, Path(folder)) for target in targets} for _ in range(rounds)]
    return {t: {name: median(run[t][name] for run in runs) for name in runs[0][t]} for t in targets}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m effc.verbs.overhead", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--target", default=TARGETS, help=f"default {TARGETS}")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    found = medians(args.model, parse_targets(args.target), args.rounds)
    table = Table("seconds", *map(str, found))
    for name in next(iter(found.values())):
        table.add_row(name, *(f"{seconds[name]:.2f}" for seconds in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
