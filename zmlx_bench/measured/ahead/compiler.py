"""Compiles the texts of custom kernels as the MLX of this process would, several at once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zmlx_bench.measured.ahead import modules, toolkit
from zmlx_bench.measured.ahead.nvrtc import Nvrtc

_AT_ONCE = 8


class Compiler:
    """The compiler, headers and options of the MLX that this process has loaded.

    OSError or ValueError where they are not found.
    """

    def __init__(self, mlx: str, architecture: str) -> None:
        """`mlx` is its version, `architecture` as `sm_90a`."""
        library = Path(loaded("libmlx.so"))
        self._nvrtc = Nvrtc(loaded("libnvrtc.so"))
        self._headers = toolkit.headers(library)
        self._options = toolkit.options(library, architecture)
        self._where = temporary() / "mlx" / mlx / "ptx"
        self._made: dict[bytes, list[Path]] = {}

    def compile(self, texts: Mapping[bytes, str]) -> list[Path]:
        """Put the kernels of these texts and names where MLX looks for them, and return their files.

        One that does not compile has none: MLX says why, where it is called.
        """
        new = [text for text in texts if text not in self._made]
        with ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
            made = pool.map(self._make, new, [texts[text] for text in new])
            self._made.update(zip(new, made, strict=True))
        return [path for text in texts for path in self._made[text]]

    def _make(self, text: bytes, name: str) -> list[Path]:
        module, kernel = modules.module_name(name, text), modules.kernel_name(name)
        try:
            if found := modules.there(self._where, module):
                return found
            read = modules.read_with(text)
            compiled = self._nvrtc.compile(text, f"{module}.cu", [kernel], self._headers, self._options)
            return modules.put(self._where, module, compiled, read)
        except (OSError, RuntimeError):
            return []


def architecture(major: int, minor: int) -> str:
    """Return what MLX compiles for on a device of this compute capability."""
    return f"sm_{major}{minor}{'a' if major >= 9 else ''}"


def loaded(part: str) -> str:
    """Return the file of a library of this process."""
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line.rstrip("\n").partition("/")
            if path[1] and part in path[2].rpartition("/")[2]:
                return "/" + path[2]
    raise OSError(f"{part} is not loaded")


def temporary() -> Path:
    """Return the folder below which MLX keeps what it compiled."""
    return Path(tempfile.gettempdir())
