"""What an exception says of a measured process: it crashed, had no memory, or cannot do what was asked here."""

from __future__ import annotations

from types import ModuleType
from typing import Literal

from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.messages import Failed

_OOM_WORDS = (
    "out of memory", "outofmemory", "insufficient memory", "cannot allocate memory", "bad_alloc", "[malloc",
    "cudamalloc",
)  # fmt: skip


def failed(error: Exception, *, elsewhere: bool = False) -> Failed:
    """Return the last event of a worker that ends with `error`; `elsewhere` says that its environment is another than
    the supervisor's, whose MLX and mlx-lm may lack what is asked of them."""
    if isinstance(error, Unavailable):
        return Failed(status="unavailable", message=str(error))
    message = f"{type(error).__name__}: {error}"
    if elsewhere and lacks(error):
        return Failed(status="unavailable", message=f"{message}: this environment lacks it")
    return Failed(status=classify(error), message=message)


def lacks(error: Exception) -> bool:
    """Whether `error` says that MLX, mlx-lm or another library lacks a module, a name, an argument or a model type."""
    if isinstance(error, AttributeError):
        return isinstance(error.obj, ModuleType | type)
    if isinstance(error, TypeError):
        return "unexpected keyword argument" in str(error) or "incompatible function arguments" in str(error)
    return isinstance(error, ImportError) or (isinstance(error, ValueError) and "Model type" in str(error))


def classify(error: Exception) -> Literal["crash", "oom", "unavailable"]:
    """Return the status that `error` means."""
    if isinstance(error, Unavailable):
        return "unavailable"
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _OOM_WORDS):
        return "oom"
    return "crash"
