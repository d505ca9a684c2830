"""What is compiled ahead is what MLX would compile, and lies whole where MLX looks for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.measured.ahead import library
from zmlx_bench.measured.ahead import compiler as compilers
from zmlx_bench.measured.ahead import elf, modules, toolkit
from zmlx_bench.measured.ahead.compiler import Compiler, architecture
from zmlx_bench.measured.ahead.nvrtc import Compiled

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="compiles a library of Linux"),
]
NAME = "custom_kernel_triple"


@pytest.fixture(scope="module")
def mlx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library.made(tmp_path_factory.mktemp("mlx"))


@pytest.fixture
def compiler(mlx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    nvrtc = library.compiler()
    if nvrtc is None:
        pytest.skip("NVRTC is not installed")
    monkeypatch.setattr(compilers, "loaded", lambda part: nvrtc if "nvrtc" in part else str(mlx))
    monkeypatch.setattr(compilers, "temporary", lambda: tmp_path)
    return Compiler("1.2.3", "sm_90a")


def test_the_headers_that_a_library_carries_are_found_by_their_names(mlx: Path) -> None:
    found = toolkit.headers(mlx)
    assert found == {f"mlx/backend/cuda/device/{name}": text.encode() for name, text in library.CARRIED.items()}


def test_a_library_without_them_says_so(mlx: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "libmlx.so"
    subprocess.run(["strip", "-o", str(stripped), str(mlx)], check=True)
    with pytest.raises(ValueError, match="no table of symbols"):
        toolkit.headers(stripped)
    with pytest.raises(ValueError, match=r"does not carry mlx/backend/cuda/device/utils\.cuh"):
        toolkit.headers(_renamed(mlx, tmp_path / "other.so"))
    with pytest.raises(ValueError, match="no 64-bit ELF"):
        elf.objects(b"MZ", b"x")


def _renamed(mlx: Path, path: Path) -> Path:
    path.write_bytes(mlx.read_bytes().replace(b"jit_source_utils", b"jit_source_atils"))
    return path


def test_options_are_mlx_own(mlx: Path) -> None:
    root = mlx.parents[1]
    assert toolkit.options(mlx, architecture(9, 0)) == [
        "--device-as-default-execution-space",
        "--gpu-architecture=sm_90a",
        f"--include-path={root / 'include'}",
        f"--include-path={root.parent / 'nvidia/cu13/include'}",
    ]
    assert (architecture(8, 9), architecture(12, 0)) == ("sm_89", "sm_120a")


def test_a_kernel_lies_whole_where_mlx_looks_and_is_compiled_once(compiler: Compiler, tmp_path: Path) -> None:
    files = compiler.compile({library.TEXT: NAME})
    where = tmp_path / "mlx" / "1.2.3" / "ptx"
    module = modules.module_name(NAME, library.TEXT)
    assert sorted(files) == sorted(where.iterdir()) == [where / f"{module}{end}" for end in (".ptx", ".read", ".txt")]
    assert (where / f"{module}.txt").read_text() == (
        "mlx::core::cu::custom_kernel_triple\t_ZN3mlx4core2cu20custom_kernel_tripleEPKfPf\n"
    )
    code = where / f"{module}.ptx"
    assert code.read_bytes().startswith(b"\x7fELF")
    known = code.stat().st_mtime_ns
    assert compiler.compile({library.TEXT: NAME}) == files
    assert Compiler("1.2.3", "sm_90a").compile({library.TEXT: NAME}) == files
    assert code.stat().st_mtime_ns == known


def test_several_are_compiled_and_each_says_that_it_lives(compiler: Compiler) -> None:
    texts = {library.TEXT.replace(b"THREE", str(number).encode()): NAME for number in range(2)}
    ended: list[None] = []
    files = compiler.compile(texts, lambda: ended.append(None))
    assert len(files) == 6
    assert len(ended) == 2


def test_where_a_text_does_not_compile_not_all_are_there(compiler: Compiler, tmp_path: Path) -> None:
    broken = library.TEXT.replace(b"THREE", b"FOUR")
    lacking = b'#include "%s"\n' % str(tmp_path / "none.h").encode() + library.TEXT
    ended: list[None] = []
    with pytest.raises(RuntimeError, match=r"2 of 3 kernels were not compiled: exit codes \[1, 1\]"):
        compiler.compile({broken: NAME, library.TEXT: NAME, lacking: NAME}, lambda: ended.append(None))
    assert len(ended) == 3
    assert [path.stem for path in tmp_path.rglob("*.ptx")] == [modules.module_name(NAME, library.TEXT)]


def test_where_a_process_is_killed_not_all_are_there(
    mlx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel of a system without memory does; here the compiler's library does so when it is loaded."""
    source, killing = tmp_path / "nvrtc.cpp", tmp_path / "nvrtc.so"
    source.write_text("#include <csignal>\n__attribute__((constructor)) void now() { raise(SIGKILL); }\n")
    subprocess.run(["g++", "-shared", "-fPIC", "-o", str(killing), str(source)], check=True)
    monkeypatch.setattr(compilers, "loaded", lambda part: str(killing if "nvrtc" in part else mlx))
    monkeypatch.setattr(compilers, "temporary", lambda: tmp_path)
    with pytest.raises(RuntimeError, match=r"1 of 1 kernels were not compiled: exit codes \[-9\]"):
        Compiler("1.2.3", "sm_90a").compile({library.TEXT: NAME})


def test_a_module_is_called_as_mlx_calls_it() -> None:
    # The hash is GNU's std::hash<std::string> of the text.
    assert modules.module_name("k", b"hello \0 there, what a text") == f"k_{2604167370194416045:x}"


def test_what_a_text_includes_is_held_to_what_it_was(tmp_path: Path) -> None:
    header = tmp_path / "a header.cuh"
    header.write_text("one")
    text = b'#include <cuda.h>\n  # include "%s"\n#include "relative.h"\n' % str(header).encode()
    read = modules.read_with(text)
    assert read.endswith(f"  {header}\n")
    assert read.count("\n") == 1
    files = modules.put(tmp_path / "ptx", "m", Compiled(b"code", {"k": "_k"}), read)
    (kept,) = (path for path in files if path.suffix == modules.READ)
    assert modules.unchanged(kept)
    header.write_text("two")
    assert not modules.unchanged(kept)
    header.unlink()
    assert not modules.unchanged(kept)
    kept.write_text("no hash\n")
    assert not modules.unchanged(kept)


def test_a_name_of_which_mlx_makes_folders_is_left_to_mlx(tmp_path: Path) -> None:
    assert modules.put(tmp_path, "m" * 241, Compiled(b"code", {}), "") == []
    assert len(modules.put(tmp_path, "m" * 240, Compiled(b"code", {}), "")) == 3
