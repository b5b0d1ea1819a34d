"""Every command and link in the documents is real."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import support

from effc.cli.arguments import parse

DOCUMENTS = [*support.ROOT.glob("*.md"), *(support.ROOT / "docs").rglob("*.md")]
FENCE = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def commands(program: str) -> list[str]:
    """The lines in code blocks of the documents that call `program`."""
    blocks = (block for path in DOCUMENTS for block in FENCE.findall(path.read_text()))
    lines = (line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines())
    return sorted({line for line in lines if line.split(" ")[0] == program})


@pytest.mark.parametrize("command", commands("effc"))
def test_command_parses(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    assert parse(words).verb == words[0]


@pytest.mark.parametrize("command", commands("make"))
def test_make_target_exists(command: str) -> None:
    targets = re.findall(r"^(\w+):.*## ", (support.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert shlex.split(command, comments=True)[1] in targets


def test_documents_have_commands() -> None:
    assert {"make demo", "make test"} <= {command.split(" #")[0].strip() for command in commands("make")}
    assert len(commands("effc")) >= 10


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(support.ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    broken = [link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()]
    assert not broken
