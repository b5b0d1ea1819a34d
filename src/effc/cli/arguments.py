"""Every verb's arguments, and how their text becomes typed values. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from effc import __version__
from effc.core.errors import BadInput
from effc.core.options import DEFAULT_METHOD, DEFAULT_MIN_SQNR, HARDWARE, IO_MODES, METHODS, ShapeRange, Tracker
from effc.core.target import Target, parse_targets

Shape = tuple[int | str, ...]
MAX_THREADS = 1024
MAX_DIM = 2**31 - 1
MAX_GROWTH_PERCENT = 1e6
MAX_WORKSPACE_MIB = 1 << 24
MAX_SECONDS = 30 * 24 * 3600
MAX_SQNR = 80.0


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are reported as every other error is."""

    def error(self, message: str) -> NoReturn:
        """Raise BadInput in place of printing and leaving."""
        raise BadInput(message, where=self.prog, hint=f"`{self.prog} --help` lists the arguments")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Raises BadInput when it is wrong."""
    return parser().parse_args(words)


def stated(args: argparse.Namespace) -> tuple[str, ...]:
    """The verb's own options that are not as they are by default, as they are spelled."""
    verb = Parser()
    _VERBS[args.verb][1](verb)
    return tuple(
        action.option_strings[-1]
        for action in verb._actions
        if action.option_strings and getattr(args, action.dest, action.default) != action.default
    )


def parser() -> Parser:
    """The parser of all verbs."""
    made = Parser(prog="effc", description="One ONNX model in, verified and benchmarked artifacts out.")
    made.add_argument("--version", action="version", version=f"effc {__version__}")
    verbs = made.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (summary, fill) in _VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        fill(verb)
        if name != "zoo":
            _common(verb)
    return made


def shape(text: str) -> tuple[str, Shape]:
    """`name:1x3x224x224`: dims are positive integers or symbol names; commas may stand for the x."""
    name, colon, tail = text.rpartition(":")
    dims = tail.split("," if "," in tail else "x")
    if not (colon and name) or not all(dim.isidentifier() or (dim.isdecimal() and _is_dim(dim)) for dim in dims):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a shape; write for example input:1x3x224x224 or input:N,3,H,W"
        )
    return name, tuple(int(dim) if dim.isdecimal() else dim for dim in dims)


def _is_dim(text: str) -> bool:
    return 0 < int(text) <= MAX_DIM


def shape_range(text: str) -> tuple[str, ShapeRange]:
    """`name:1x3x224x224,8x3x224x224,32x3x224x224`: least, best and greatest dims; one alone stands for all three."""
    name, colon, tail = text.rpartition(":")
    dims = [part.split("x") for part in tail.split(",")]
    if not (colon and name) or len(dims) not in (1, 3) or not all(d.isdecimal() for part in dims for d in part):
        wanted = "write MIN,OPT,MAX, for example input:1x3x224x224,8x3x224x224,32x3x224x224"
        raise argparse.ArgumentTypeError(f"{text!r} is not a range of shapes; {wanted}")
    parsed = [tuple(int(d) for d in part) for part in dims]
    if any(size > MAX_DIM for part in parsed for size in part):
        raise argparse.ArgumentTypeError(f"{text!r} has a dim above {MAX_DIM}")
    return name, ShapeRange(*(parsed if len(parsed) == 3 else parsed * 3))


def seconds(text: str) -> float:
    """`90`, `90s`, `15m` or `2h`, in seconds."""
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
    number = text[:-1] if factor else text
    if not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write for example 90s, 15m or 2h")
    if int(number) * (factor or 1.0) > MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MAX_SECONDS // 3600}h")
    return int(number) * (factor or 1.0)


def tracker(text: str) -> Tracker:
    """`host:port,key`."""
    address, _, key = text.partition(",")
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and key):
        raise argparse.ArgumentTypeError(f"{text!r} names no tracker; write host:port,key")
    return Tracker(host, int(port), key)


def level(text: str) -> int:
    """A builder optimization level, 0 to 5."""
    if text not in tuple("012345"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a level from 0 to 5")
    return int(text)


def targets(text: str) -> tuple[Target, ...]:
    """A comma-separated list of targets."""
    return parse_targets(text)


def positive(text: str) -> int:
    """An integer from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """Names apart by commas, one at least."""
    found = tuple(name for name in text.split(",") if name)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing; leave it out to keep all")
    return found


def growth(text: str) -> float | None:
    """A percentage as a fraction; None for `any`."""
    if text == "any":
        return None
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0.0 <= percent <= MAX_GROWTH_PERCENT:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a percentage nor `any`")
    return percent / 100


def workspace(text: str) -> int:
    """MiB of memory that a GPU could have."""
    if positive(text) > MAX_WORKSPACE_MIB:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MAX_WORKSPACE_MIB} MiB")
    return int(text)


def seed(text: str) -> int:
    """An integer from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer from 0 on")
    return int(text)


def threads(text: str) -> int:
    """A number of threads that a machine could have."""
    if positive(text) > MAX_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MAX_THREADS} threads")
    return int(text)


def percent(text: str) -> float:
    """A number in (0, 100]."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 < value <= 100.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 100")
    return value


def decibels(text: str) -> float:
    """A ratio in dB that float16 could keep, from 0 to 80."""
    if text in ("0", "0.0") or percent(text) <= MAX_SQNR:
        return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is more than the {MAX_SQNR:g} dB that float16 could keep")


def points(text: str) -> float:
    """A number of points in [0, 100]."""
    return 0.0 if text in ("0", "0.0") else percent(text)


def _common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    verb.add_argument("-v", "--verbose", action="store_true", help="show third-party logs and tracebacks")


def _model(verb: argparse.ArgumentParser, what: str = "ONNX file") -> None:
    verb.add_argument("model", type=Path, metavar="MODEL", help=what)
    verb.add_argument(
        "--shape", type=shape, action="append", default=[], metavar="NAME:DIMS", help="fix an input's dims; repeatable"
    )


def _proof(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--no-proof", dest="proof", action="store_false", help="skip the proof of equal outputs")


def _overwrite(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--overwrite", action="store_true", help="replace what is there")


def _threads(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--threads", type=threads, default=1, metavar="N", help="CPU threads of the runtime (1)")


def _preprocess(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--preprocess", default="", metavar="SPEC", help="how images become inputs")


def _metric(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--metric", default="", metavar="MODULE:FUNCTION", help="a fraction that replaces top-1")


def _calibration(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--calib", metavar="DATA", help=".npz, folder, module:function or `random`")
    _preprocess(verb)
    verb.add_argument(
        "--method", choices=METHODS, default=DEFAULT_METHOD, help=f"ranges from statistics ({DEFAULT_METHOD})"
    )
    verb.add_argument("--percentile", type=percent, default=99.99, help="mass kept by --method percentile (99.99)")
    verb.add_argument("--samples", type=positive, metavar="N", help="calibrate with at most N samples")
    verb.add_argument("--seed", type=seed, default=0, help="seed of sampling and of random data (0)")
    verb.add_argument("--no-bias-correction", dest="bias_correction", action="store_false", help="leave biases alone")
    verb.add_argument(
        "--keep-float", action="append", default=[], metavar="GLOB", help="nodes to keep float; repeatable"
    )


def _build(verb: argparse.ArgumentParser) -> None:
    _model(verb, "ONNX file, or a sealed package to finish")
    verb.add_argument("--target", type=targets, default=(), metavar="T,..", help="what to build; see `effc targets`")
    verb.add_argument("-o", "--output", type=Path, metavar="DIR", help="a folder for each target goes here")
    _calibration(verb)
    verb.add_argument("--eval", metavar="DATA", help="samples, with labels if known, to verify each artifact with")
    verb.add_argument("--max-drop", type=points, metavar="POINTS", help="top-1 points an artifact may lose (exit 4)")
    _metric(verb)
    verb.add_argument(
        "--min-sqnr",
        type=decibels,
        default=DEFAULT_MIN_SQNR,
        metavar="DB",
        help=f"float16: with --calib, layers stay in float32 until outputs keep this ({DEFAULT_MIN_SQNR:g}; 0: off)",
    )
    verb.add_argument("--io", choices=IO_MODES, default="onnx", help="the interface: the model's own, or the backend's")
    _proof(verb)
    verb.add_argument("--no-reference", dest="reference", action="store_false", help="leave reference.npz out")
    verb.add_argument("--dry-run", action="store_true", help="say what would be built, and whether it could be")
    _tuning(verb.add_argument_group("TVM libraries"))
    _engine(verb.add_argument_group("TensorRT engines"))
    _overwrite(verb)
    _threads(verb)


def _tuning(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tune", type=seconds, metavar="TIME", help="measure tiles for so long (5m) at most; resumes")
    group.add_argument(
        "--rpc", type=tracker, metavar="HOST:PORT,KEY", help="measure on a device that this tracker lends"
    )


def _engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--shape-range",
        type=shape_range,
        action="append",
        default=[],
        metavar="NAME:MIN,OPT,MAX",
        help="dims of a dynamic input; repeated for the same input it opens another profile",
    )
    group.add_argument(
        "--defer", action="store_true", help="seal a package that `effc build PACKAGE` finishes on the GPU machine"
    )
    group.add_argument("--workspace", type=workspace, metavar="MIB", help="limit of scratch memory in MiB")
    group.add_argument("--builder-level", type=level, metavar="0..5", help="how long to search for fast kernels")
    group.add_argument("--no-tf32", dest="tf32", action="store_false", help="float32 without rounding to TF32")
    group.add_argument("--timing-cache", metavar="FILE", help="measured kernels to reuse; `none` for none")
    group.add_argument("--weight-streaming", action="store_true", help="weights may stay in host memory")
    group.add_argument("--hardware-compatible", choices=HARDWARE, default="", help="other GPUs may load the engine")
    group.add_argument("--version-compatible", action="store_true", help="newer TensorRT may load the engine")
    group.add_argument("--refit", action="store_true", help="weights may be replaced later")
    group.add_argument(
        "--build-timeout", type=seconds, default=7200.0, metavar="TIME", help="stop an engine build after it (2h)"
    )


def _check(verb: argparse.ArgumentParser) -> None:
    _model(verb)
    verb.add_argument("--target", type=targets, default=(), metavar="T,..", help="targets to check (all)")


def _simplify(verb: argparse.ArgumentParser) -> None:
    _model(verb)
    verb.add_argument("output", type=Path, metavar="OUT", help="ONNX file to write")
    verb.add_argument(
        "--opset", type=positive, metavar="N", help="write this opset (the input's); newer ones fuse more"
    )
    verb.add_argument(
        "--max-growth",
        type=growth,
        default=0.01,
        metavar="P",
        help="how much larger than IN the file may be: 1%% (the default), or `any` to store every constant whole",
    )
    verb.add_argument("--outputs", type=names, default=(), metavar="NAME,..", help="keep these outputs alone")
    verb.add_argument("--drop-unused-inputs", action="store_true", help="drop inputs that no output depends on")
    _proof(verb)
    _overwrite(verb)


def _quantize(verb: argparse.ArgumentParser) -> None:
    _model(verb)
    _calibration(verb)
    verb.add_argument(
        "--target", type=Target.parse, default=Target("ort", "int8"), metavar="T", help="whose scheme (ort-int8)"
    )
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.onnx", help="ONNX file to write")
    _proof(verb)
    _overwrite(verb)


def _verify(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("artifact", type=Path, metavar="ARTIFACT", help="folder that `effc build` wrote")
    verb.add_argument("--data", metavar="DATA", help="samples, with labels if known; needs --model")
    verb.add_argument("--model", type=Path, help="the ONNX file that it was built from")
    _preprocess(verb)
    verb.add_argument("--samples", type=positive, metavar="N", help="verify with at most N samples")
    _metric(verb)
    _threads(verb)


def _bench(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT", help="folders, or an .onnx as baseline")
    _threads(verb)
    verb.add_argument("--rounds", type=positive, default=9, help="turns that each artifact takes (9)")
    verb.add_argument("--min-time", type=float, default=2.0, metavar="S", help="timed seconds for each artifact (2)")
    verb.add_argument("--streams", type=positive, default=1, metavar="N", help="batches in flight on a GPU (1)")
    verb.add_argument(
        "--peers", default="", metavar="P,..", help="what else runs the .onnx: trtexec, ort-cuda, ort-tensorrt, torch"
    )


def _explain(verb: argparse.ArgumentParser) -> None:
    what = "folder that `effc build` wrote, or TensorRT's layer information (engine.json)"
    verb.add_argument("artifact", type=Path, metavar="ARTIFACT", help=what)


def _run(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("artifact", type=Path, metavar="ARTIFACT", help="folder that `effc build` wrote")
    verb.add_argument("--input", type=Path, required=True, metavar="X.npz", help="arrays for the inputs, by ONNX name")
    verb.add_argument("-o", "--output", type=Path, required=True, metavar="Y.npz", help="where the outputs go")
    _overwrite(verb)
    _threads(verb)


def _zoo(verb: argparse.ArgumentParser) -> None:
    actions = verb.add_subparsers(dest="action", metavar="ACTION", required=True)
    _common(actions.add_parser("list", help="list the models", description="List the models."))
    fetch = actions.add_parser("fetch", help="download a model", description="Download a model.")
    fetch.add_argument("name", metavar="NAME", help="as `effc zoo list` spells it")
    fetch.add_argument("-o", "--output", type=Path, metavar="OUT.onnx", help="copy it there (it stays in the cache)")
    data = actions.add_parser("data", help="write labelled samples", description="Write labelled samples.")
    data.add_argument("name", metavar="NAME", help="as `effc zoo list` spells it")
    data.add_argument("--split", choices=("calib", "eval"), default="eval", help="which part (eval)")
    data.add_argument("--count", type=positive, default=200, metavar="N", help="how many samples (200)")
    data.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.npz", help="where they go")
    for action in (fetch, data):
        _overwrite(action)
        _common(action)


def _nothing(verb: argparse.ArgumentParser) -> None:
    del verb


Fill = Callable[[argparse.ArgumentParser], None]
_VERBS: dict[str, tuple[str, Fill]] = {
    "build": ("build verified artifacts for one or more targets", _build),
    "check": ("say what a model costs, and what of it each target cannot take or is slow at", _check),
    "simplify": ("write a simpler model with equal outputs", _simplify),
    "quantize": ("write an ONNX model with Q/DQ by a target's scheme", _quantize),
    "verify": ("compare an artifact with the float model", _verify),
    "bench": ("time artifacts against each other", _bench),
    "explain": ("say which layer runs in which precision, and why it is no faster", _explain),
    "run": ("run an artifact on a .npz of inputs", _run),
    "targets": ("list the targets and whether they can be built here", _nothing),
    "doctor": ("say what is installed, what is missing and how to get it", _nothing),
    "zoo": ("real models by name, and labelled data for them", _zoo),
}
