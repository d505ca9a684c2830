"""What zmlx keeps in the user's cache, and what it takes."""

from __future__ import annotations

from zmlx_bench.doctor.checkup import Observation
from zmlx_bench.environments.kept import size
from zmlx_bench.measured.user_cache import user_cache_path

LARGE_GB = 5.0
_REMEDY = "zmlx environments remove NAME takes one out; any other folder of the cache may be deleted, and comes again"


def observation() -> Observation:
    """Say what each part of the cache takes; a note where that is much."""
    root = user_cache_path("zmlx")
    parts = {path.name: size(path) / 1e9 for path in sorted(root.iterdir()) if path.is_dir()} if root.is_dir() else {}
    if not parts:
        return Observation(subject="caches", level="good", found=f"nothing in {root}")
    total = sum(parts.values())
    listed = ", ".join(f"{name} {taken:.2f} GB" for name, taken in parts.items())
    found = f"{total:.2f} GB in {root}: {listed}"
    if total <= LARGE_GB:
        return Observation(subject="caches", level="good", found=found)
    return Observation(subject="caches", level="note", found=found, remedy=_REMEDY)
