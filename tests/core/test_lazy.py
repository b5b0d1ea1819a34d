from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLANTED = """
import sys
from effc.core.lazy import postpone

sys.path.insert(0, sys.argv[1])
postpone("planted", "absent", "pair.late")
import pair, planted
from pair import late
print("imported")
print(planted.number, late.number, pair.late is late)
try:
    import absent
except ModuleNotFoundError as error:
    print(error)
"""
SYMBOLS = """
import sys
from effc.compiler import ir
import onnx_ir

print("sympy.core" in sys.modules)
print((onnx_ir.SymbolicDim("n") + 1).value)
"""


def printed(code: str, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_a_postponed_module_is_loaded_at_its_first_use(tmp_path: Path) -> None:
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair" / "__init__.py").touch()
    for name in ("planted", "pair/late"):
        (tmp_path / f"{name}.py").write_text(f"print('{name} runs')\nnumber = 7\n")
    found = printed(PLANTED, str(tmp_path))
    assert found == ["imported", "planted runs", "pair/late runs", "7 7 True", "No module named 'absent'"]


def test_symbolic_dims_are_computed_with_all_the_same() -> None:
    assert printed(SYMBOLS) == ["False", "n + 1"]
