"""What this process has used of the machine."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import struct
import sys
from pathlib import Path

import mlx.core as mx

from zmlx_bench.measured.messages import Done, Prefix

_STATUS = Path("/proc/self/status")
_PEAK = re.compile(rb"VmHWM:\s*(\d+)")
_MOST_STATUS = 16384

_INFO_V4 = 4
"""Flavour of `proc_pid_rusage` whose answer, `struct rusage_info_v4` of macOS's <sys/resource.h>, is 16 bytes and then
35 numbers of 64 bits."""
_MOST_FOOTPRINT = 16 + 28 * 8
"""Byte of that answer at which `ri_lifetime_max_phys_footprint` begins."""
_ROOM_BYTES = 1024
"""For the answer; later versions of macOS may write more than was asked for."""


class Usage:
    """Tells what this process has used; made before anything is timed, so that no file is opened between two tokens."""

    def __init__(self) -> None:
        self._status = os.open(_STATUS, os.O_RDONLY) if _STATUS.exists() else None
        # The first time it loads a library.
        peak_footprint_gb()

    def prefix(self, tokens: int) -> Prefix:
        """Return what a shorter budget of `tokens` tokens took, now that its last one is out."""
        peak, cache = mx.get_peak_memory() / 1e9, mx.get_cache_memory() / 1e9
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Prefix(
            tokens=tokens,
            peak_mem_gb=peak,
            cache_gb=cache,
            peak_rss_gb=self.peak_rss_bytes() / 1e9,
            page_faults_minor=used.ru_minflt,
            page_faults_major=used.ru_majflt,
            peak_footprint_gb=peak_footprint_gb(),
        )

    def done(self) -> Done:
        """Return the last event of a job that came through."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Done(
            peak_rss_gb=self.peak_rss_bytes() / 1e9,
            peak_footprint_gb=peak_footprint_gb(),
            page_faults_minor=used.ru_minflt,
            page_faults_major=used.ru_majflt,
            cpu_s=used.ru_utime + used.ru_stime,
        )

    def peak_rss_bytes(self) -> int:
        """Return the largest resident set of this process.

        Linux carries the parent's maximum through fork and exec into ru_maxrss, so that a small worker would report
        its supervisor; VmHWM belongs to this program alone.
        """
        if self._status is not None and (found := _PEAK.search(os.pread(self._status, _MOST_STATUS, 0))):
            return int(found[1]) * 1024
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_footprint_gb() -> float | None:
    """Return the largest phys_footprint of this process, GB, which counts what macOS wired, compressed and swapped of
    it; None elsewhere."""
    if sys.platform != "darwin":
        return None
    answer = ctypes.create_string_buffer(_ROOM_BYTES)
    try:
        status = ctypes.CDLL("/usr/lib/libproc.dylib").proc_pid_rusage(os.getpid(), _INFO_V4, answer)
    except (OSError, AttributeError):
        return None
    return most_footprint_bytes(answer.raw) / 1e9 if status == 0 else None


def most_footprint_bytes(answer: bytes) -> int:
    """Return the largest phys_footprint that an answer of `proc_pid_rusage` tells, bytes."""
    (found,) = struct.unpack_from("=Q", answer, _MOST_FOOTPRINT)
    return int(found)
