"""Cross compilers, linking, TVM's runtime: what is found, and what each way of failing says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest
import support

from effc.backends.tvm.toolchain import bundle, compilers, device, machines, runtime
from effc.core.errors import BackendFailed, BackendMissing, BadInput, EffcError
from effc.core.files import sha256
from effc.core.target import Target

ELF = {"x86_64": 62, "aarch64": 183, "armv7l": 40, "android": 183}
"""The machine's number in an ELF header."""
EM_ARM_HARD_FLOAT = 0x400


@pytest.fixture
def no_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)


def object_file(folder: Path, machine: str) -> Path:
    """A function that calls the C library, compiled by whoever links."""
    source, target = folder / "code.c", folder / "code.o"
    source.write_text("float expf(float); float twice(float x) { return 2 * expf(x); }")
    words = ["-c", "-fPIC", "-O1", "-o", str(target), str(source)]
    subprocess.run([*compilers.compiler(machine).c, *words], check=True)
    return target


def linked(folder: Path, machine: str) -> bytes:
    """A library of one object file, compiled and linked below `folder`."""
    folder.mkdir()
    compilers.link([object_file(folder, machine)], folder / "deep" / "lib.so", machine)
    return (folder / "deep" / "lib.so").read_bytes()


def check(tmp_path: Path, machine: str) -> None:
    """The machine's ELF header, and the same bytes wherever it is linked."""
    made = linked(tmp_path / "one", machine)
    assert made == linked(tmp_path / "two", machine)
    assert (made[:4], int.from_bytes(made[18:20], "little")) == (b"\x7fELF", ELF[machine])
    assert str(tmp_path).encode() not in made
    if machine == "armv7l":
        assert int.from_bytes(made[36:40], "little") & EM_ARM_HARD_FLOAT


def test_link_with_what_is_here(tmp_path: Path) -> None:
    check(tmp_path, machines.platform.machine())


@pytest.mark.parametrize("machine", ["aarch64", "armv7l", "android"])
def test_link_with_zig(tmp_path: Path, no_compilers: None, machine: str) -> None:
    """No other compiler is on the path."""
    check(tmp_path, machine)


@pytest.mark.parametrize("machine,line", [("aarch64", "g++-aarch64-linux-gnu"), ("android", "pip install ziglang")])
def test_no_compiler(no_compilers: None, monkeypatch: pytest.MonkeyPatch, machine: str, line: str) -> None:
    monkeypatch.setattr(util, "find_spec", lambda *_: None)
    with pytest.raises(BackendMissing, match=f"no compiler makes libraries for {machine}") as caught:
        compilers.compiler(machine)
    assert line in caught.value.hint
    assert caught.value.exit_code == 5


def test_distributions_compiler_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_: name if name.startswith("aarch64-linux-gnu-g") else None)
    assert compilers.compiler("aarch64").cxx == ("aarch64-linux-gnu-g++",)
    assert compilers.compiler("armv7l").zig is not None
    assert compilers.compiler("armv7l").version().startswith("zig ")


def test_linker_refuses(tmp_path: Path) -> None:
    (tmp_path / "bad.o").write_text("no object")
    with pytest.raises(BackendFailed, match=r"could not link lib\.so") as caught:
        compilers.link([tmp_path / "bad.o"], tmp_path / "lib.so", "aarch64")
    assert caught.value.log


@pytest.mark.parametrize(
    "target,name",
    [
        ("tvm-arm64-int8", "aarch64"),
        ("tvm-x86-fp32:znver4", "x86_64"),
        ("tvm-armv7-fp32", "armv7l"),
        ("tvm-android-fp32", "android"),
    ],
)
def test_machine_of_target(target: str, name: str) -> None:
    assert machines.for_target(Target.parse(target)).name == name


def test_unknown_machine() -> None:
    with pytest.raises(BadInput, match="riscv64"):
        compilers.compiler("riscv64")


def wheel(folder: Path, package: runtime.Package, tag: str) -> Path:
    """A wheel that pip takes for the package's, with its library and headers."""
    stem = f"{package.name.replace('-', '_')}-{package.version}"
    path = folder / f"{stem}-{tag}-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(package.library, package.name)
        archive.writestr(f"{runtime.HEADERS}/tvm/ffi/{package.name}.h", "")
        archive.writestr("elsewhere.txt", "not wanted")
        metadata = f"Metadata-Version: 2.1\nName: {package.name}\nVersion: {package.version}\n"
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(f"{stem}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip can see, an empty cache, and a machine that is not aarch64."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    settings = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    for name, value in (settings | {"EFFC_CACHE": str(tmp_path / "cache")}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(machines.platform, "machine", lambda: "x86_64")
    return folder


def test_runtime_out_of_wheels(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched once, its digest checked, and only what a device needs is kept."""
    for name, package, tag in (("TVM", runtime.TVM, "py3-none"), ("FFI", runtime.FFI, "cp311-cp311")):
        digest = sha256(wheel(shelf, package, tag))
        monkeypatch.setattr(runtime, name, replace(package, wheels={"aarch64": digest}))
    found = runtime.runtime("aarch64")
    assert [path.read_text() for path in found.libraries] == ["apache-tvm", "apache-tvm-ffi"]
    assert (found.headers / "tvm" / "ffi" / "apache-tvm-ffi.h").is_file()
    assert not list(found.headers.parents[1].rglob("elsewhere.txt"))
    for path in shelf.iterdir():
        path.unlink()
    assert runtime.runtime("aarch64") == found


@pytest.mark.parametrize(
    "there,machine,kind,said",
    [
        (True, "aarch64", BackendFailed, "sha256 of apache_tvm-"),
        (False, "aarch64", BackendFailed, "could not download apache-tvm=="),
        (False, "armv7l", BackendMissing, "no TVM runtime is built for armv7l"),
    ],
    ids=["other bytes", "no such wheel", "no such machine"],
)
def test_no_runtime(shelf: Path, *, there: bool, machine: str, kind: type[EffcError], said: str) -> None:
    if there:
        wheel(shelf, runtime.TVM, "py3-none")
    with pytest.raises(kind, match=said):
        runtime.runtime(machine)
    assert not list(shelf.parent.rglob("libtvm_runtime.so"))


def test_runtime_of_this_machine_is_the_installed_one() -> None:
    found = runtime.runtime(machines.platform.machine())
    assert all(path.is_file() for path in found.libraries)
    assert (found.headers / "tvm" / "ffi" / "c_api.h").is_file()


@pytest.mark.parametrize("words,code", [(["aarch64 "], 2), (["armv7l"], 5)])
def test_runtime_as_a_program(capsys: pytest.CaptureFixture[str], words: list[str], code: int) -> None:
    assert runtime.main(words) == code
    assert capsys.readouterr().err.startswith("error (")


@pytest.mark.parametrize("installed,said", [((), "no qemu-aarch64"), (("qemu-aarch64",), "no C\\+\\+ library")])
def test_no_emulator(shelf: Path, monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], said: str) -> None:
    monkeypatch.delenv("QEMU_LD_PREFIX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name, **_: name if name in installed else None)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    with pytest.raises(BackendMissing, match=said) as caught:
        device.transport("aarch64")
    assert "apt-get install qemu-user g++-aarch64-linux-gnu" in caught.value.hint


def test_emulator_with_a_sysroot_of_ones_own(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEMU_LD_PREFIX", str(shelf))
    monkeypatch.setattr(shutil, "which", lambda name, **_: name)
    assert device.transport("aarch64", "max") == ("qemu-aarch64", "-cpu", "max")
    assert device.transport("x86_64") == ()
    assert [device.host(name) for name in ("aarch64", "x86_64")] == ["qemu", "native"]


def test_no_cmake(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle.shutil, "which", lambda name, **_: name if name in ("cc", "c++") else None)
    monkeypatch.setattr(compilers.Compiler, "version", lambda self: "1")
    with pytest.raises(BackendMissing, match="ninja is not installed") as caught:
        bundle.bundle("x86_64")
    assert caught.value.hint == "pip install cmake ninja"


def test_top_folder_configures(tmp_path: Path) -> None:
    """`cmake -S .` finds the runtime by itself where effc's Python is the first on the path."""
    cmake, ninja = (bundle._program(name) for name in ("cmake", "ninja"))
    tools = compilers.compiler(machines.platform.machine())
    if tools.zig:
        pytest.skip("no C compiler")
    words = ["-S", str(support.ROOT), "-B", str(tmp_path), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    words += [f"-DCMAKE_CXX_COMPILER={tools.cxx[0]}", f"-DPython3_EXECUTABLE={sys.executable}"]
    subprocess.run([cmake, *words], check=True, capture_output=True)
    assert (
        f"EFFC_TVM:STRING={runtime.runtime(machines.platform.machine())}" in (tmp_path / "CMakeCache.txt").read_text()
    )
