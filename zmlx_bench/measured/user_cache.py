"""Where what is built or compiled once for a user lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_cache_path(name: str) -> Path:
    """Return the folder `name` among the user's caches, there or not: where platformdirs has it.

    platformdirs itself is no part of mlx-lm, so the environment of a measured process may lack it.
    """
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / name
    return Path(os.environ.get("XDG_CACHE_HOME", "").strip() or Path.home() / ".cache") / name
