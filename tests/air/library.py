"""MLX's own Metal library out of its Mac wheels, and the kernels in it as LLVM bitcode, by name.

The wheels are downloaded by pip, checked by hash and kept in the user's cache; a machine that cannot have them, or
that lacks llvmlite, skips the tests that ask, with the reason.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import mmap
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

from zmlx_bench.measured.user_cache import user_cache_path

VERSION = "0.32.4"


class Wheel(NamedTuple):
    """A build of the library: pip's name of the platform and what the wheel and the library in it must be."""

    platform: str
    sha256: str
    metallib_bytes: int


WHEELS = {
    "macos14": Wheel(
        "macosx_14_0_arm64", "8019b2db622599267d66cc168b2f0dbf5af929790a6c3b3913e00eabc42a7947", 146_876_416
    ),
    "macos26": Wheel(
        "macosx_26_0_arm64", "514df92d41a286895d2564b4b18f4da45096bd7a4a0c47e1042f345ad5a7f936", 214_156_448
    ),
}
_IN_WHEEL = "mlx/lib/mlx.metallib"
_SECONDS = 300
_WRAPPED = b"\xde\xc0\x17\x0b"


class _Missing(Exception):
    """The wheel cannot be had here."""


def bitcode(build: str, name: str) -> bytes:
    """Return the plain LLVM bitcode of a kernel of the build, one of WHEELS; raises KeyError for a name not in it."""
    data, places = _opened(build)
    offset, size = places[name]
    code = data[offset : offset + size]
    if code[:4] == _WRAPPED:  # Apple's compiler puts a header around it
        _, _, start, length, _ = struct.unpack("<5I", code[:20])
        code = code[start : start + length]
    return code


@functools.cache
def _opened(build: str) -> tuple[mmap.mmap, dict[str, tuple[int, int]]]:
    path = _path(build)
    if isinstance(path, str):
        pytest.skip(path)
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return data, _places(data)


def _places(data: mmap.mmap) -> dict[str, tuple[int, int]]:
    """Return offset and size of each function's bitcode: a list of tagged fields says both beside the name."""
    listed, _, _, _, _, _, start, _ = struct.unpack("<8Q", data[24:88])
    (count,) = struct.unpack_from("<I", data, listed)
    at, found = listed + 4, {}
    for _ in range(count):
        (size,) = struct.unpack_from("<I", data, at)
        fields, field = {}, at + 4
        while (tag := data[field : field + 4]) != b"ENDT":
            (length,) = struct.unpack_from("<H", data, field + 4)
            fields[tag] = data[field + 6 : field + 6 + length]
            field += 6 + length
        offset = struct.unpack("<3Q", fields[b"OFFT"])[2]
        found[fields[b"NAME"].rstrip(b"\0").decode()] = (start + offset, struct.unpack("<Q", fields[b"MDSZ"])[0])
        at += size
    return found


@functools.cache
def _path(build: str) -> Path | str:
    """Return where the library lies, or why it cannot be had. A failure is remembered: every test would wait for it."""
    if importlib.util.find_spec("llvmlite") is None:
        return "needs llvmlite, which the set-up of the development environment installs"
    wheel = WHEELS[build]
    folder = user_cache_path("zmlx") / "mlx-metal" / VERSION / wheel.platform
    path = folder / "mlx.metallib"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "download.lock"):
            if not path.is_file() or path.stat().st_size != wheel.metallib_bytes:
                _download(wheel, path)
    except (OSError, _Missing) as error:
        return f"MLX's Mac wheel for {wheel.platform} cannot be had here: {error}"
    return path


def _download(wheel: Wheel, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        asked = ("--platform", wheel.platform, "--python-version", "3.12", "--only-binary=:all:", "--no-deps")
        quiet = ("--quiet", "--disable-pip-version-check", "--retries", "0", "--timeout", "15")
        pip = (sys.executable, "-m", "pip", "download", *asked, *quiet, "--dest", folder, f"mlx-metal=={VERSION}")
        try:
            done = subprocess.run(pip, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise _Missing(f"pip took more than {_SECONDS} s") from error
        if done.returncode != 0:
            raise _Missing((done.stderr.strip() or "pip failed").splitlines()[-1])
        (found,) = Path(folder).glob("*.whl")
        with found.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != wheel.sha256:
            raise AssertionError(f"{found.name} has sha256 {digest}, not {wheel.sha256}")
        # Complete before it has its name: an interrupted copy is no library.
        unpacked = Path(folder, "mlx.metallib")
        with zipfile.ZipFile(found) as archive, archive.open(_IN_WHEEL) as source, unpacked.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        unpacked.replace(path)
