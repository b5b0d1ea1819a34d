"""The budgets of every file: its length, its functions' length and arguments, its parting from this machine."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
import support

FILE_LINES, FUNCTION_LINES, ARGUMENTS = 400, 50, 5
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "Makefile", ".ci/*", "pyproject.toml", "tests/**/*.md")
    for path in support.ROOT.glob(pattern)
)
MACHINE_PATH = re.compile(r"(?<![\w.$~{}-])/(work|root|home|Users|tmp)/")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> list[Function]:
    """Every function and method of a file."""
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function)]


def arity(function: Function) -> int:
    """Arguments but for self and cls."""
    names = [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def named(path: Path) -> str:
    """The path as a test's id."""
    return str(path.relative_to(support.ROOT))


@pytest.mark.parametrize("path", support.sources(), ids=named)
def test_budgets(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES
    for function in functions(path):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= FUNCTION_LINES, f"{function.name} has {length} lines"
        assert path.is_relative_to(support.ROOT / "tests") or arity(function) <= ARGUMENTS, function.name


def test_functions_are_short() -> None:
    project = [path for path in support.sources() if not path.is_relative_to(support.ROOT / "tests")]
    lengths = sorted((f.end_lineno or f.lineno) - f.lineno + 1 for path in project for f in functions(path))
    assert lengths[len(lengths) // 2] <= 8


@pytest.mark.parametrize("path", [*support.sources(), *DOCUMENTS], ids=named)
def test_names_no_path_of_one_machine(path: Path) -> None:
    assert not MACHINE_PATH.search(path.read_text())


@pytest.mark.parametrize("name", support.TOP_FOLDERS)
def test_links_are_relative(name: str) -> None:
    link = support.ROOT / "src" / "effc" / name
    assert link.is_symlink() and link.readlink() == Path("..", "..", name)


def test_contracts_cover_everything() -> None:
    contracts = tomllib.loads((support.ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers, apart = (next(c for c in contracts if c["type"] == kind) for kind in ("layers", "independence"))
    package = support.ROOT / "src" / "effc"
    parts = {path.stem for path in package.iterdir() if path.is_dir() or path.suffix == ".py"} - {
        "__init__",
        "__pycache__",
    }
    assert set(layers["layers"]) == {f"effc.{part}" for part in parts}
    backends = {path.parent.name for path in (support.ROOT / "backends").glob("*/backend.py")}
    assert set(apart["modules"]) == {f"effc.backends.{name}" for name in backends}


@pytest.mark.parametrize("name", (*support.TOP_FOLDERS, "src/effc"))
def test_every_folder_is_a_package(name: str) -> None:
    """A folder without `__init__.py` would be missing from the wheel."""
    folders = {path.parent for path in support.sources() if path.is_relative_to(support.ROOT / name)}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]
