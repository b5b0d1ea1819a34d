"""`effc check`: what it tells of models, what blocks, what only warns, and what bad input gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import support
from cli_support import Command

from effc.cli.render_check import families, number, percent
from effc.core.target import Target
from effc.verbs.check import every_target

HEAD = '<ir_version: 10, opset_import: ["": 21]>'
SLOW = f"{HEAD} slow (float[1,4] x) => (float[2,4] y) {{ r = Constant<value_ints = [2,1]>() y = Tile(x, r) }}"
SYMBOLIC = f"{HEAD} open (float[N,3,H,W] x) => (float[N,3,H,W] y) {{ h = Relu(x) y = Mul(h, x) }}"
CONTROL = f"""{HEAD} control (bool c, float[2,3] x) => (float[2,3] y) {{
  y = If<
    then_branch = t () => (float[2,3] a) {{ a = Relu(x) }}, else_branch = e () => (float[2,3] b) {{ b = Neg(x) }}
  >(c)
}}"""
SCALAR = f"{HEAD} scalar (float s, float[2,3] x) => (float[2,3] y) {{ y = Mul(x, s) }}"
NESTED = f"""{HEAD} nested (bool c, float[3,3] x) => (float y) {{
  a = Relu(x)
  y = If<
    then_branch = t () => (float p) {{ s = Sin(a) p = Det(s) }},
    else_branch = e () => (float q) {{ n = Neg(a) q = Det(n) }}
  >(c)
}}"""
TOO_SMALL = f"""{HEAD} small (float[1,3,H,9] x, float[4,3,5,5] w) => (float[1,4,K,5] y) {{ y = Conv(x, w) }}"""


def written(text: str, folder: Path) -> Path:
    """The model as a file."""
    path = folder / "model.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return path


CODES = [
    ("a slow kernel is a warning", SLOW, "tflite-fp32", [], 0, (0, 1)),
    ("so is an op without a schedule", SLOW, "tvm-x86-fp32", [], 0, (0, 1)),
    ("no kernel at all in int8 blocks", SLOW, "tflite-int8", [], 3, (1, 1)),
    ("symbolic dims block", SYMBOLIC, "tflite-fp32", [], 3, (1, 0)),
    ("they do not where they are fixed", SYMBOLIC, "tflite-fp32", ["--shape", "x:1x3x8x8"], 0, (0, 0)),
    ("nor where a target has them", SYMBOLIC, "rtx-fp32", [], 0, (0, 0)),
    ("a scalar input has no dims to fix", SCALAR, "tflite-fp32", [], 0, (0, 0)),
    ("nor has it in a library", SCALAR, "tvm-x86-fp32", [], 0, (0, 0)),
    ("control flow blocks", CONTROL, "tflite-fp32", [], 3, (1, 0)),
]


@pytest.mark.parametrize(
    ("text", "target", "more", "code", "counts"), [c[1:] for c in CODES], ids=[c[0] for c in CODES]
)
def test_blockers_and_warnings(  # noqa: PLR0917
    text: str, target: str, more: list[str], code: int, counts: tuple[int, int], tmp_path: Path, effc: Command
) -> None:
    ran = effc("check", written(text, tmp_path), "--target", target, *more, "--json")
    assert ran.code == code, ran.out
    (told,) = ran.json["targets"]
    assert bool(told["refusals"]) == bool(counts[0])
    assert bool(told["cautions"]) == bool(counts[1])
    assert all(refusal["hint"] for refusal in told["refusals"])


def test_json_tells_cost_and_memory(effc: Command) -> None:
    model = support.FIXTURES / "mnist_minimobile.onnx"
    estimate = effc("check", model, "--target", "ort-int8", "--json").json["estimate"]
    assert estimate["at"] == {"N": 1} and estimate["error"] == ""
    costs, memory = estimate["costs"], estimate["memory"]
    assert costs["flops"] > 2 * costs["macs"] > 4e6
    assert costs["parameter_bytes"] == 4 * costs["parameters"]
    assert sum(row["macs"] for row in costs["ops"]) == costs["macs"]
    assert sum(row["share"] for row in costs["ops"]) == pytest.approx(1)
    assert memory["weights"] >= costs["parameter_bytes"] and memory["activations"] > 28 * 28 * 4


def test_the_batch_scales_what_is_counted(effc: Command) -> None:
    model = support.FIXTURES / "mnist_minimobile.onnx"
    one, four = (
        effc("check", model, "--target", "ort-fp32", "--shape", f"input:{n}x1x28x28", "--json").json["estimate"]
        for n in (1, 4)
    )
    assert four["costs"]["macs"] == 4 * one["costs"]["macs"]
    assert four["costs"]["parameters"] == one["costs"]["parameters"]
    assert four["memory"]["activations"] == 4 * one["memory"]["activations"]


def test_symbolic_dims_and_the_text_that_fixes_them(tmp_path: Path, effc: Command) -> None:
    path = written(SYMBOLIC, tmp_path)
    (found,) = effc("check", path, "--target", "ort-fp32", "--json").json["open"]
    assert found == {"name": "x", "symbols": ["N", "H", "W"], "fix": "x:1x3x1x1"}
    assert effc("check", path, "--target", "ort-fp32", "--shape", found["fix"], "--json").json["open"] == []


def test_what_cannot_be_counted_is_told(tmp_path: Path, effc: Command) -> None:
    ran = effc("check", written(TOO_SMALL, tmp_path), "--target", "ort-fp32")
    assert ran.code == 0, ran.err
    assert "not counted" in ran.out and "1x4x-3x5" in ran.out


def test_shares_count_the_nodes_that_are_taken(tmp_path: Path, effc: Command) -> None:
    text = f"{HEAD} g (float[4,4] x) => (float y) {{ a = Relu(x) b = Erf(a) c = Sin(b) y = Det(c) }}"
    told = {t["target"]: t for t in effc("check", written(text, tmp_path), "--json").json["targets"]}
    assert told["tflite-fp32"]["share"] == 0.5
    assert told["rtx-fp32"]["share"] == 0.75
    assert told["ort-fp32"]["share"] == 1.0
    hints = {refusal["op"]: refusal["hint"] for refusal in told["tflite-fp32"]["refusals"]}
    assert "Gelu" in hints["Erf"] and hints["Det"].startswith("ort-fp32")
    seen = effc("check", written(text, tmp_path)).out
    assert "below 95%" in seen and "blocked" in seen


@pytest.mark.parametrize("target", ["tflite-fp32", "tvm-x86-fp32"])
def test_a_hint_to_fix_dims_can_be_followed(target: str, tmp_path: Path, effc: Command) -> None:
    path = written(SYMBOLIC, tmp_path)
    ran = effc("check", path, "--target", target, "--json").json
    (refusal,) = ran["targets"][0]["refusals"]
    assert refusal["hint"].endswith(f" --shape {ran['open'][0]['fix']}")
    assert effc("check", path, "--target", target, *refusal["hint"].split()[-2:]).code == 0


def test_what_lies_in_a_blocked_node_is_blocked_with_it(tmp_path: Path, effc: Command) -> None:
    """Neither does it count as supported, nor is such a target named as one that would take it."""
    told = {t["target"]: t for t in effc("check", written(NESTED, tmp_path), "--json").json["targets"]}
    assert told["ort-fp32"]["share"] == 1.0
    for name in ("tflite-fp32", "tvm-x86-fp32"):
        assert told[name]["share"] == 1 / told[name]["nodes"] < 0.25
    hints = {refusal["hint"] for refusal in told["rtx-fp32"]["refusals"]}
    assert hints and all("tflite" not in hint and "tvm" not in hint and " more" not in hint for hint in hints)


def test_every_refusal_has_a_hint(odd: Path, effc: Command) -> None:
    ran = effc("check", odd, "--json")
    assert all(refusal["hint"] for target in ran.json["targets"] for refusal in target["refusals"])


UNINSTALLED = """
import importlib.util as util, sys
LIBRARIES = {"tvm", "tvm_ffi", "ai_edge_litert", "flatbuffers", "networkx", "tensorrt", "tensorrt_rtx", "tensorrt_cu12"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in LIBRARIES:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
found = util.find_spec
util.find_spec = lambda name, *rest: None if name.partition(".")[0] in LIBRARIES else found(name, *rest)
from effc.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_no_library_is_needed(tmp_path: Path, effc: Command) -> None:
    """The same answers for all targets where no backend is installed, with the lines that install them."""
    path = written(SLOW, tmp_path)
    words = [sys.executable, "-c", UNINSTALLED, "check", str(path), "--json"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 3, ran.stderr
    without, here = json.loads(ran.stdout)["targets"], effc("check", path, "--json").json["targets"]
    assert [{**told, "install": ""} for told in without] == [{**told, "install": ""} for told in here]
    assert all(told["install"].startswith("pip install") for told in without if not told["target"].startswith("ort"))


def test_all_targets_are_asked(effc: Command) -> None:
    ran = effc("check", support.FIXTURES / "fashion_minires.onnx", "--json")
    assert ran.code == 0
    assert [Target.parse(told["target"]) for told in ran.json["targets"]] == list(every_target())
    native = {told["target"]: told["native"] for told in ran.json["targets"]}
    assert all((native[name] is None) == name.endswith("fp32") for name in native)
    assert all(share is None or share > 0.99 for share in native.values())


BAD = [
    ("a file that is not there", "none.onnx", None),
    ("a folder", ".", None),
    ("an empty file", "m.onnx", b""),
    ("text", "m.onnx", b"hello"),
    ("a cut file", "m.onnx", (support.FIXTURES / "mnist_minimobile.onnx").read_bytes()[:4000]),
    ("a zip", "m.onnx", b"PK\x03\x04" + bytes(64)),
    ("numpy data", "m.npz", None),
]


@pytest.mark.parametrize(("name", "data"), [c[1:] for c in BAD], ids=[c[0] for c in BAD])
def test_bad_files(name: str, data: bytes | None, tmp_path: Path, effc: Command) -> None:
    np.savez(tmp_path / "m.npz", x=np.zeros(3))
    if data is not None:
        (tmp_path / name).write_bytes(data)
    ran = effc("check", tmp_path / name)
    assert ran.code == 2
    assert ran.err.startswith("error (bad input): ") and "Traceback" not in ran.err
    assert effc("check", tmp_path / name, "--json").json["error"]["exit_code"] == 2


USAGE = [["--target", ""], ["--target", "tflite-fp32,none-int8"], ["--shape", "input:1x1x28"], ["--shape", "x:1"]]


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_bad_usage(words: list[str], effc: Command) -> None:
    ran = effc("check", support.FIXTURES / "mnist_minimobile.onnx", *words)
    assert ran.code == 2, ran.out
    assert ran.err.startswith("error (bad input): ")


NUMBERS = [(0, "", "0"), (12, "B", "12 B"), (999, "", "999"), (1000, "", "1 k"), (3_487_816, "", "3.49 M")]


@pytest.mark.parametrize(("count", "unit", "text"), [*NUMBERS, (999_990, "B", "1 MB"), (19.6e9, "", "19.6 G")])
def test_numbers(count: float, unit: str, text: str) -> None:
    assert number(count, unit) == text


def test_all_is_all() -> None:
    assert (percent(1.0), percent(0.9999), percent(0.95)) == ("100%", "99.9%", "95%")


ASKED = ["ort-fp32", "trt-fp32", "trt-int8", "tvm-x86-int8", "tvm-arm64-int8", "tvm-x86-fp32"]
FAMILIES = [
    (["ort-fp32"], "ort-fp32"),
    (["trt-fp32", "trt-int8"], "trt-*"),
    (["tvm-x86-int8", "tvm-arm64-int8"], "tvm-*-int8"),
    (["trt-int8", "tvm-x86-int8", "tvm-arm64-int8", "tvm-x86-fp32"], "trt-int8, tvm-*"),
    (ASKED, "ort-fp32, trt-*, tvm-*"),
]


@pytest.mark.parametrize(("names", "text"), FAMILIES)
def test_families(names: list[str], text: str) -> None:
    assert families(names, ASKED) == text
