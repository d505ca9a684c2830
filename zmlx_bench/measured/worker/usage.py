"""What this process has used of the machine."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from zmlx_bench.measured.messages import Done


def done() -> Done:
    """Return the last event of a job that came through."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return Done(
        peak_rss_gb=peak_rss_bytes() / 1e9,
        page_faults_minor=usage.ru_minflt,
        page_faults_major=usage.ru_majflt,
        cpu_s=usage.ru_utime + usage.ru_stime,
    )


def peak_rss_bytes() -> int:
    """Return the largest resident set of this process.

    Linux carries the parent's maximum through fork and exec into ru_maxrss, so that a small worker would report
    its supervisor; VmHWM belongs to this program alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
