"""Hashes of large files, computed once: weights of 17 GB would hold up every command for seconds otherwise.

What is remembered of a file holds while its place, size, inode and times are what they were. It lies in the user's
cache, a small file each that is written whole, so that processes do not disturb each other and any of it may go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.errors import ZmlxError
from zmlx_bench.measured.user_cache import user_cache_path

WORTH = 1 << 24
"""Bytes; a smaller file is hashed before its hash could be looked up."""
SETTLED_NS = 2_000_000_000
"""A file that changed less than this ago could change again within the same tick of its file system's clock (FAT: 2 s),
so that nobody would see it."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def sha256(path: Path, *, again: bool = False) -> str:
    """Return the SHA-256 of a file; with `again` it is computed whatever is remembered."""
    place, before, now = _place(path), _state(path), time.time_ns()
    if place is None or before["size"] < WORTH:
        return files.sha256(path)
    if not again and (known := _recall(place, before)) is not None:
        return known
    found = files.sha256(path)
    if _state(path) == before and now - max(before["mtime_ns"], before["ctime_ns"]) > SETTLED_NS:
        with contextlib.suppress(ZmlxError):
            files.write_atomic(place, json.dumps({**before, "sha256": found}).encode() + b"\n")
    return found


def _place(path: Path) -> Path | None:
    """Return where the hash of this file is remembered; None for a user without a home."""
    try:
        folder = user_cache_path("zmlx") / "weights"
    except RuntimeError:
        return None
    return folder / f"{hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()}.json"


def _state(path: Path) -> dict[str, int]:
    about = path.stat()
    return {
        "size": about.st_size,
        "inode": about.st_ino,
        "mtime_ns": about.st_mtime_ns,
        "ctime_ns": about.st_ctime_ns,
    }


def _recall(place: Path, state: dict[str, int]) -> str | None:
    try:
        told = files.loads(files.read_text(place))
    except (ZmlxError, ValueError, RecursionError):
        return None
    known = told.pop("sha256", None) if isinstance(told, dict) else None
    return known if told == state and isinstance(known, str) and _SHA256.fullmatch(known) else None
