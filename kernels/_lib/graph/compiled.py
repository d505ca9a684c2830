"""The machine code of a program for the current GPU, compiled once and kept in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from types import ModuleType

from zmlx_bench.measured.user_cache import user_cache_path

from .headers import cuda_include

_DIGEST = hashlib.sha256().digest_size
"""Bytes of the code's hash, with which a kept file begins."""


def machine_code(extension: ModuleType, text: str) -> bytes:
    """Return the machine code of a program; RuntimeError from NVRTC.

    It is kept by the text, the compiler's version and its options, the GPU's architecture among them.
    """
    include = cuda_include("cuda_bf16.h")
    # As MLX's own: its words leave functions without an execution space.
    options = ["--device-as-default-execution-space", "--std=c++17", f"--include-path={include}"]
    options.append(f"--gpu-architecture={extension.architecture()}")
    known = hashlib.sha256("\0".join([text, extension.compiler(), *options]).encode()).hexdigest()[:24]
    path = user_cache_path("zmlx") / "cuda" / f"{known}.cubin"
    code = _kept(path)
    if code is None:
        code = bytes(extension.compile(text, options))
        with contextlib.suppress(OSError):
            _keep(path, code)
    return code


def _kept(path: Path) -> bytes | None:
    """Return what was kept, or None where nothing was or it is no longer what was written."""
    try:
        found = path.read_bytes()
    except OSError:
        return None
    digest, code = found[:_DIGEST], found[_DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(path: Path, code: bytes) -> None:
    """Write the code with its hash; another process sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
