"""Where MLX looks for a compiled kernel, and what it finds there."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import tempfile
from pathlib import Path

from zmlx_bench.measured.ahead.nvrtc import Compiled

_SPACE = "mlx::core::cu::"
_SEED = 0xC70F6907
"""Of the hash of a string in GNU's C++ library."""
READ, KERNELS, CODE = ".read", ".txt", ".ptx"
"""Ends of a module's files: what its text includes, what its kernels are called in the code, and the code."""
_LONGEST = 240
"""Characters of a module's name; somewhat above, MLX makes folders of it."""
_INCLUDED = re.compile(rb'^\s*#\s*include\s*"(/[^"\n]+)"', re.MULTILINE)


def module_name(kernel: str, text: bytes) -> str:
    """Return what MLX calls the module of a custom kernel: its name and the hash of its text.

    OSError or AttributeError where there is no GNU C++ library.
    """
    hashed = ctypes.CDLL("libstdc++.so.6")._ZSt11_Hash_bytesPKvmm
    hashed.restype = ctypes.c_size_t
    hashed.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t
    return f"{kernel}_{hashed(text, len(text), _SEED):x}"


def kernel_name(kernel: str) -> str:
    """Return the kernel's name in the text, with its namespace."""
    return _SPACE + kernel


def read_with(text: bytes) -> str:
    """Return the files that the text includes by their whole path, a line each: their SHA-256, two spaces, the path.

    What MLX calls a module says nothing of them. OSError where one cannot be read.
    """
    paths = sorted({os.fsdecode(name) for name in _INCLUDED.findall(text)})
    return "".join(f"{hashlib.sha256(Path(path).read_bytes()).hexdigest()}  {path}\n" for path in paths)


def unchanged(read: Path) -> bool:
    """Return whether the files that a module's text includes are there as they were, by its file that says so."""
    try:
        lines = [line.split("  ", 1) for line in os.fsdecode(read.read_bytes()).splitlines()]
        return all(hashlib.sha256(Path(path).read_bytes()).hexdigest() == known for known, path in lines)
    except (OSError, ValueError):
        return False


def there(where: Path, module: str) -> list[Path]:
    """Return a module's files where it has them all, else none."""
    found = [where / f"{module}{end}" for end in (READ, KERNELS, CODE)]
    return found if all(path.is_file() for path in found) else []


def put(where: Path, module: str, compiled: Compiled, read: str) -> list[Path]:
    """Write a compiled kernel as MLX finds it, with what it was `read_with`, and return its files.

    None where the name is too long for one. The code comes last: MLX takes a module that has its code for whole.
    """
    if len(module) > _LONGEST:
        return []
    where.mkdir(parents=True, exist_ok=True)
    names = "".join(f"{kernel}\t{mangled}\n" for kernel, mangled in compiled.names.items())
    for end, content in ((READ, os.fsencode(read)), (KERNELS, names.encode("ascii")), (CODE, compiled.code)):
        handle, name = tempfile.mkstemp(dir=where)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(where / f"{module}{end}")
    return there(where, module)
