"""What macOS lets the GPU of a Mac use, and how many cores that GPU has."""

from __future__ import annotations

import re
import sys

from zmlx_bench.machine.command import output_of
from zmlx_bench.process import last_line

_WORKING_SET = "import mlx.core as mx; print(mx.device_info()['max_recommended_working_set_size'])"
_IMPORTS_S = 30.0
_PAGE = re.compile(r"page size of (\d+) bytes")
_COMPRESSOR = re.compile(r"^Pages occupied by compressor:\s+(\d+)\.", re.MULTILINE)
_CORES = re.compile(r'"gpu-core-count"\s*=\s*(\d+)')


def usable_memory_gb() -> float | None:
    """Return the memory that Metal recommends to use at most, GB; None where MLX cannot be asked.

    MLX is asked in a process of its own: nothing here imports it.
    """
    printed = output_of(sys.executable, "-c", _WORKING_SET, timeout_s=_IMPORTS_S)
    text = None if printed is None else last_line(printed.encode())
    return int(text) / 1e9 if text is not None and text.isdigit() and int(text) > 0 else None


def wired_limit_gb() -> float | None:
    """Return the limit that somebody set for memory wired for the GPU, GB; None for macOS's own."""
    text = output_of("sysctl", "-n", "iogpu.wired_limit_mb")
    return int(text) * 1024**2 / 1e9 if text is not None and text.isdigit() and int(text) > 0 else None


def compressed_gb() -> float | None:
    """Return the memory that macOS's compressor takes, GB."""
    text = output_of("vm_stat") or ""
    size, pages = _PAGE.search(text), _COMPRESSOR.search(text)
    return int(pages[1]) * int(size[1]) / 1e9 if size is not None and pages is not None else None


def gpu_cores() -> int | None:
    """Return how many cores the GPU has, which its name does not say: an M4 Max has 32 or 40."""
    found = _CORES.search(output_of("ioreg", "-rc", "AGXAccelerator", "-d1") or "")
    return int(found[1]) if found is not None else None
