"""What hints tell users to type is there."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

from effc.cli import arguments

_FILES = "bundle compilers device emulated runtime simplifiers suite trtexec wheels"
SPEAK_FOR_OTHERS = {f"{name}.py" for name in _FILES.split()}
"""Files whose options are CMake's, a linker's, effc-run's, pip's, trtexec's and those of a command of their own."""


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every option of a parser and of its verbs."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from options(verb)


def test_the_options_that_hints_name_exist() -> None:
    known, package = set(options(arguments.parser())), Path(arguments.__file__).parents[1]
    files = {path for folder in (package, *package.iterdir()) for path in folder.glob("**/*.py")}
    named = {
        (option, path.name)
        for path in files
        if path.name not in SPEAK_FOR_OTHERS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", node.value)
    }
    assert len(named) > 50
    assert {pair for pair in named if pair[0] not in known} == set()
