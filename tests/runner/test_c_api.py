"""libeffc: linked into a C program, and loaded at run time."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import support
import tvm_models

from effc.backends.tvm.toolchain.bundle import Bundle, bundle
from effc.backends.tvm.toolchain.compilers import compiler

EXAMPLE = support.ROOT / "runner" / "example.c"


@pytest.fixture(scope="module")
def example(checked: Bundle, sanitizers: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as its reader would build it: against the bundle alone, here with its sanitizers."""
    program, library = tmp_path_factory.mktemp("example") / "example", checked.library.parent
    words = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-fsanitize={sanitizers}", str(EXAMPLE)]
    words += [f"-I{checked.folder / 'include'}", f"-L{library}", "-leffc", f"-Wl,-rpath,{library}"]
    words += [f"-Wl,-rpath-link,{library}", "-o", str(program)]
    subprocess.run([*compiler(platform.machine()).c, *words], check=True)
    return program


@pytest.mark.parametrize("name", tvm_models.INTERFACES)
def test_linked(example: Path, libraries: Path, name: str) -> None:
    """Its inputs come through stdin, of one row where that is free; it prints the first value of each output."""
    given = tvm_models.feeds(name, rows=1)
    sent = b"".join(values.tobytes() for values in given.values())
    done = subprocess.run([example, libraries / name], input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = tvm_models.expected(name, given)
    sizes = [f"{info.name} {info.dtype} {wanted[info.name].size * 4} bytes" for info in tvm_models.INTERFACES[name][1]]
    assert done.stdout.decode().splitlines() == sizes


@pytest.mark.parametrize(
    "folder,sent,said",
    [("nowhere", b"", "nowhere: it is not an artifact"), ("dense", b"short", "input 'x' has 5 bytes")],
)
def test_linked_tells_what_is_wrong(example: Path, libraries: Path, folder: str, sent: bytes, said: str) -> None:
    done = subprocess.run([example, libraries / folder], input=sent, capture_output=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr.decode()


LOADED = """
import ctypes, os, sys
import numpy as np

class Info(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("dtype", ctypes.c_char_p), ("item_bytes", ctypes.c_size_t),
                ("rank", ctypes.c_size_t), ("shape", ctypes.POINTER(ctypes.c_int64)), ("scale", ctypes.c_double),
                ("zero_point", ctypes.c_int32)]

class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("rank", ctypes.c_size_t),
                ("shape", ctypes.POINTER(ctypes.c_int64))]

effc = ctypes.CDLL(sys.argv[1])
effc.effc_error.restype = ctypes.c_char_p
effc.effc_inputs.restype = effc.effc_outputs.restype = ctypes.c_size_t
size, shape = ctypes.c_size_t, ctypes.c_int64 * 2

cpus = sorted(os.sched_getaffinity(0))

def fails(status, code, *said):
    text = effc.effc_error().decode()
    assert status == code and all(part in text for part in said), (status, text)

def load(name, threads):
    model = ctypes.c_void_p()
    return effc.effc_load(f"{sys.argv[2]}/{name}".encode(), threads, ctypes.byref(model)), model

def put(model, values):
    values = np.ascontiguousarray(values)
    return effc.effc_set(model, size(0), values.ctypes, size(values.nbytes), shape(*values.shape))

def get(model):
    tensor = Tensor()
    status = effc.effc_get(model, size(0), ctypes.byref(tensor))
    if status:
        return status, None
    data = ctypes.string_at(tensor.data, tensor.bytes)
    return status, np.frombuffer(data, "f4").reshape(tensor.shape[: tensor.rank])

threads = min(2, len(cpus))
status, model = load("integer", threads)
assert status == 0, effc.effc_error()
assert os.sched_getaffinity(0) == {cpus[-threads]}
for index, values in enumerate((np.ones((4, 32), "i1"), np.ones((4, 8), "f4"))):
    assert effc.effc_set(model, size(index), values.ctypes, size(values.nbytes), None) == 0
assert effc.effc_run(model) == 0, effc.effc_error()
others = [os.sched_getaffinity(int(name)) for name in os.listdir("/proc/self/task") if int(name) != os.getpid()]
assert threads == 1 or {cpus[-1]} in others
effc.effc_free(model)

fails(load("nowhere", 1)[0], 2, "it is not an artifact")
fails(load("dense", -1)[0], 2, "-1 is not a number of threads")
fails(load("dense", 100000)[0], 2, "this process may use")
status, model = load("dense", 1)
assert status == 0, effc.effc_error()
assert (effc.effc_inputs(model), effc.effc_outputs(model)) == (1, 1)
info = Info()
assert effc.effc_input_info(model, size(0), ctypes.byref(info)) == 0
assert (info.name, info.dtype, info.item_bytes, info.shape[: info.rank]) == (b"x", b"float32", 4, [-1, 8])
assert info.scale == 0
fails(effc.effc_input_info(model, size(1), ctypes.byref(info)), 2, "no tensor of that index")
fails(effc.effc_output_info(model, size(9), ctypes.byref(info)), 2, "no tensor of that index")
fails(effc.effc_run(model), 2, "input 'x' is not set")
fails(get(model)[0], 2, "before the first run")
fails(effc.effc_set(model, size(0), b"", size(0), None), 2, "no shape is given")
fails(put(model, np.zeros((2, 7), "f4")), 2, "has shape 2x7, the artifact takes Nx8")
fails(effc.effc_set(model, size(0), b"1234", size(4), shape(2, 8)), 2, "has 4 bytes, and float32 2x8 takes 64")
fails(effc.effc_set(model, size(0), b"", size(0), shape(-2, 8)), 2, "has shape -2x8")
fails(effc.effc_set(model, size(3), b"", size(0), None), 2, "no tensor of that index")
second = load("dense", 0)[1]
given = np.load(sys.argv[3])["x"]
for rows in (5, 2, 2, 0):
    x = given[:rows]
    for one in (model, second):
        assert put(one, x) == 0 and effc.effc_run(one) == 0, effc.effc_error()
    (_, y), (_, again) = get(model), get(second)
    assert y.shape == (rows, 4) and (y == again).all()
    assert rows == 0 or abs(y - np.load(sys.argv[3])["y"][:rows]).max() < 1e-6
fails(put(model, np.zeros((1, 9), "f4")), 2, "has shape 1x9")
assert put(model, given[:1]) == 0 and effc.effc_run(model) == 0
effc.effc_free(model)
effc.effc_free(second)
effc.effc_free(None)
print("whole")
"""


def test_loaded(libraries: Path, tmp_path: Path) -> None:
    """Every function from a process that did not link it: right answers, and a status and a text for what is wrong."""
    given = tvm_models.feeds("dense", rows=5)
    np.savez(tmp_path / "data.npz", **given, **tvm_models.expected("dense", given))
    library = bundle(platform.machine()).library
    command = [sys.executable, "-c", LOADED, str(library), str(libraries), str(tmp_path / "data.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "whole", done.stderr
