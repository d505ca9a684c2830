"""What a machine without a build, or with the wrong mlx, is told; and the build with sanitizers (slow)."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import mlx.core as mx
import pytest

from zmlx_bench.measured import loader
from zmlx_bench.measured.contract import Unavailable

from .conftest import KERNELS

BUILD = KERNELS / "_lib" / "native" / "build.py"
HERE = Path(__file__).parent


@pytest.fixture
def unbuilt(package: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.setenv("ZMLX_NATIVE_DIR", str(tmp_path))
    package.load.cache_clear()
    yield package
    package.load.cache_clear()


def test_without_a_build_one_sentence_says_what_to_run(unbuilt: ModuleType) -> None:
    with pytest.raises(unbuilt.NotBuilt, match=r"not built: .*run `.*build\.py`") as caught:
        unbuilt.load()
    assert "\n" not in str(caught.value)
    wiring = importlib.import_module(f"{loader.PACKAGE}._lib.native.wiring")
    wiring.load.cache_clear()  # another test may have loaded it through this package
    with pytest.raises(Unavailable, match="not built"):
        wiring.extension()


def test_another_processor_is_refused(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    wiring = importlib.import_module(f"{package.__name__}.wiring")
    monkeypatch.setattr(wiring.platform, "machine", lambda: "arm64")
    with pytest.raises(Unavailable, match="on arm64 mlx has others"):
        wiring.extension()


def test_another_mlx_is_refused(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx, "__version__", "0.99.0")
    assert package.missing() == "the native kernels are for mlx 0.32.4, not 0.99.0"


def test_the_tools_that_are_missing_are_named(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    extension = importlib.import_module(f"{loader.PACKAGE}._lib.extension")
    monkeypatch.setattr(extension.shutil, "which", lambda *_, **__: None)
    assert "no C++ compiler" in package.EXTENSION.missing_tools()


@pytest.mark.process
def test_a_current_build_is_not_built_again(native: ModuleType, package: ModuleType) -> None:
    done = subprocess.run([sys.executable, str(BUILD)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("current: ")


def sanitizer(name: str) -> str:
    found = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=False)
    return found.stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or shutil.which("g++") is None, reason="needs g++ and its sanitizers")
def test_no_undefined_behaviour(native: ModuleType, package: ModuleType, tmp_path: Path) -> None:
    """The tests of this folder, run once more against a build with ASan and UBSan."""
    env = {**os.environ, "ZMLX_NATIVE_DIR": str(tmp_path)}
    build = importlib.import_module(f"{loader.PACKAGE}._lib.extension.build").build
    build(package.EXTENSION, ["ZMLX_SANITIZE=ON"], tmp_path / package.EXTENSION.library_path().parent.name)
    libraries = [sanitizer(name) for name in ("libasan.so", "libubsan.so", "libstdc++.so")]
    env |= {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaks at exit
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    tests = [str(HERE / name) for name in ("test_identity.py", "test_router.py", "test_errors.py", "test_linear.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", *tests],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "is missing" not in done.stdout
    assert "not built" not in done.stdout
