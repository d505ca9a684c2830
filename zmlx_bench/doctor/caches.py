"""What zmlx keeps in the user's cache, and what of it takes most."""

from __future__ import annotations

from zmlx_bench import files
from zmlx_bench.doctor.checkup import Observation
from zmlx_bench.measured.user_cache import user_cache_path

KINDS = {
    "environments": "environments",
    "native": "extension builds",
    "graph": "extension builds",
    "compiled": "compiled kernels",
    "cuda": "compiled kernels",
    "token_ids": "token ids of prompts",
    "weights": "hashes of weights",
    "mlx-metal": "MLX's Metal library for tests",
}
"""What lies in a folder of the cache; another one is called by its name."""

_LEAST = 50_000
"""Bytes: what takes less is not named."""


def observation() -> Observation:
    """Say how much each kind of what is kept takes, the largest first."""
    try:
        place = user_cache_path("zmlx")
    except RuntimeError:
        return Observation(subject="caches", level="good", found="this user has no home: nothing is kept")
    taken: dict[str, int] = {}
    for entry in sorted(place.iterdir()) if place.is_dir() else ():
        kind = KINDS.get(entry.name, entry.name)
        taken[kind] = taken.get(kind, 0) + files.size(entry)
    if not taken:
        return Observation(subject="caches", level="good", found=f"{place} holds nothing")
    largest = sorted(taken.items(), key=lambda one: (-one[1], one[0]))
    parts = [f"{kind} {_shown(of)}" for kind, of in largest if of >= _LEAST] or ["little of everything"]
    found = f"{_shown(sum(taken.values()))} in {place}: {', '.join(parts)}; all of it is made again when it is needed"
    return Observation(subject="caches", level="good", found=found)


def _shown(taken: int) -> str:
    return f"{taken / 1e9:.1f} GB" if taken >= 1e9 else f"{taken / 1e6:.1f} MB"
