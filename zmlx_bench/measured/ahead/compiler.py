"""Compiles the texts of custom kernels as the MLX of this process would, several at once in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from zmlx_bench.measured.ahead import modules, one, toolkit

_AT_ONCE = 16
"""Processes, where there are as many processors; each takes 0.4 GB."""


class Compiler:
    """The compiler, headers and options of the MLX that this process has loaded.

    OSError or ValueError where they are not found.
    """

    def __init__(self, mlx: str, architecture: str) -> None:
        """`mlx` is its version, `architecture` as `sm_90a`."""
        library = Path(loaded("libmlx.so"))
        self._nvrtc = loaded("libnvrtc.so")
        self._headers = {name: text.decode("latin-1") for name, text in toolkit.headers(library).items()}
        self._options = toolkit.options(library, architecture)
        self._where = temporary() / "mlx" / mlx / "ptx"
        self._made: dict[bytes, list[Path]] = {}

    def compile(self, texts: Mapping[bytes, str], alive: Callable[[], None] = lambda: None) -> list[Path]:
        """Put the kernels of these texts and names where MLX looks for them, and return their files.

        RuntimeError where a process fails: its text does not compile, which MLX says of it too, or it was killed. The
        others are put there. `alive` is called after each.
        """
        new = [text for text in texts if text not in self._made]
        failed = []
        with ThreadPoolExecutor(min(_AT_ONCE, processors())) as pool:
            for each in as_completed([pool.submit(self._make, text, texts[text]) for text in new]):
                failed += [code] if (code := each.result()) else []
                alive()
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(new)} kernels were not compiled: exit codes {failed}")
        self._made.update({text: modules.there(self._where, _module(text, texts[text])) for text in new})
        return [path for text in texts for path in self._made[text]]

    def _make(self, text: bytes, name: str) -> int:
        """Return the exit code of the text's process, 0 where it needs none."""
        module = _module(text, name)
        if modules.there(self._where, module):
            return 0
        asked = one.Asked(
            nvrtc=self._nvrtc,
            where=str(self._where),
            module=module,
            kernel=modules.kernel_name(name),
            text=text.decode("latin-1"),
            headers=self._headers,
            options=self._options,
        )
        # What it prints is the log's.
        command = [sys.executable, "-m", one.MODULE]
        return subprocess.run(command, input=asked.encoded(), stdout=subprocess.DEVNULL, check=False).returncode


def _module(text: bytes, name: str) -> str:
    return modules.module_name(name, text)


def processors() -> int:
    """Return how many processors this process may run on."""
    return len(os.sched_getaffinity(0))


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
