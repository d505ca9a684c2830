"""What an exception says of a measured process: it crashed, had no memory, or cannot do what was asked here."""

from __future__ import annotations

from typing import Literal

from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.messages import Failed

_OOM_WORDS = (
    "out of memory", "outofmemory", "insufficient memory", "cannot allocate memory", "bad_alloc", "[malloc",
    "cudamalloc",
)  # fmt: skip


def failed(error: Exception) -> Failed:
    """Return the last event of a worker that ends with `error`."""
    return Failed(status=classify(error), message=f"{type(error).__name__}: {error}")


def classify(error: Exception) -> Literal["crash", "oom", "unavailable"]:
    """Return the status that `error` means."""
    if isinstance(error, Unavailable):
        return "unavailable"
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _OOM_WORDS):
        return "oom"
    return "crash"
