"""What answers at once imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "sympy", "rich", "PIL", "ai_edge_litert", "networkx")
CHILD = """
import sys
from effc.cli.main import main
try:
    main({words!r})
except SystemExit:
    pass
print("loaded:", *[name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["build", "--help"], ["nonsense"]], ids=" ".join)
def test_starts_without_heavy_imports(words: list[str]) -> None:
    code = CHILD.format(words=words, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
