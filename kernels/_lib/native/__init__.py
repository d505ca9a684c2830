"""The native extension: C++ operations on mlx arrays, bit-identical to mlx's own on the CPU.

`load()` returns the extension module; it never compiles. `python kernels/_lib/native/build.py` does.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

from ..extension import Extension
from ..extension import NotBuilt as NotBuilt

EXTENSION = Extension(
    "the native kernels are", "_zmlx_native", Path(__file__).resolve().parent, "native", "ZMLX_NATIVE_DIR"
)
missing = EXTENSION.missing


@cache
def load() -> ModuleType:
    """The extension module; raise NotBuilt where there is no build for this mlx, these sources and this Python."""
    return EXTENSION.load()
