"""What this process has used of the machine."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

import mlx.core as mx

from zmlx_bench.measured.messages import Done, Prefix

_STATUS = Path("/proc/self/status")
_PEAK = re.compile(rb"VmHWM:\s*(\d+)")
_MOST_STATUS = 16384


class Usage:
    """Tells what this process has used; made before anything is timed, so that no file is opened between two tokens."""

    def __init__(self) -> None:
        self._status = os.open(_STATUS, os.O_RDONLY) if _STATUS.exists() else None

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
        )

    def done(self) -> Done:
        """Return the last event of a job that came through."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Done(
            peak_rss_gb=self.peak_rss_bytes() / 1e9,
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
