"""What a container allows: memory and cores of Linux control groups, version 2 and 1, and the CPUs of this process.

Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the Linux kernel. A limit of any group
above counts for those below it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_LIMITS_2 = ("memory.max", "memory.high")
"""Above the first a process is killed, above the second it is slowed down until it has given memory back."""
_NO_LIMIT = 1 << 60
"""Bytes; version 1 writes a number near 2**63 for none."""


def memory_limit_gb(root: Path = _ROOT, own: Path = _OWN) -> float | None:
    """Return the memory that this process's control groups allow, GB; None without a limit."""
    found = [
        *(_number(folder / name) for folder in _folders(root, own, "") for name in _LIMITS_2),
        *(_number(folder / "memory.limit_in_bytes") for folder in _folders(root, own, "memory")),
    ]
    limits = [value for value in found if value is not None and value < _NO_LIMIT]
    return min(limits) / 1e9 if limits else None


def memory_left_gb(root: Path = _ROOT, own: Path = _OWN) -> float | None:
    """Return the memory that the control groups still allow, GB, file cache that can be dropped counted as free."""
    left = [
        *(
            _left(folder, name, "memory.current", "inactive_file")
            for folder in _folders(root, own, "")
            for name in _LIMITS_2
        ),
        *(
            _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            for folder in _folders(root, own, "memory")
        ),
    ]
    known = [value for value in left if value is not None]
    return max(0, min(known)) / 1e9 if known else None


def _left(folder: Path, limit_file: str, used_file: str, cache: str) -> int | None:
    limit, used = _number(folder / limit_file), _number(folder / used_file)
    if limit is None or limit >= _NO_LIMIT or used is None:
        return None
    lines = (line.split() for line in _text(folder / "memory.stat").splitlines())
    dropped = next((int(words[1]) for words in lines if len(words) == 2 and words[0] == cache), 0)
    return limit - used + dropped


def usable_cores(root: Path = _ROOT, own: Path = _OWN) -> int:
    """Return how many CPUs this process may keep busy: those it may run on, and what its quota comes to, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [*_quotas_2(root, own), *_quotas_1(root, own)]
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas)]))


def _quotas_2(root: Path, own: Path) -> Iterator[float]:
    for folder in _folders(root, own, ""):
        words = _text(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            yield int(words[0]) / int(words[1])


def _quotas_1(root: Path, own: Path) -> Iterator[float]:
    for folder in _folders(root, own, "cpu"):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota is not None and period:
            yield quota / period


def _folders(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and of those above it; `controller` is "" for version 2.

    In a container the group's path may be that of the host, which is not there: then the root is the container's own.
    """
    for line in _text(own).splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if (number == "0" and not names) if not controller else controller in names.split(","):
            top = root if not controller else root / controller
            if not top.is_dir():
                # Controllers that are mounted together may have no name of their own.
                top = root / names
            group = top / path.lstrip("/")
            if not group.is_dir():
                group = top
            yield group
            yield from (above for above in group.parents if above.is_relative_to(top))


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
