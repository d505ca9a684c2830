"""What a safetensors file says of itself: its tensors and where they lie. Nothing of them is loaded.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zmlx_bench.errors import UnusableInput

_LARGEST_HEADER = 100_000_000
_AGAIN = "copy or download it again"
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file."""

    dtype: Any
    shape: Any
    begin: int
    """Byte of the file at which it begins."""
    end: int


def tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; UnusableInput where the file is cut off or not of this format.

    Bytes behind the last tensor are let be, as MLX lets them be.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise UnusableInput(f"{path}: is no regular file, and mlx-lm would load it; remove it")
            first = file.read(8)
            if len(first) < 8:
                raise UnusableInput(f"{path}: is empty or cut off; {_AGAIN}")
            (length,) = struct.unpack("<Q", first)
            if length > min(about.st_size - 8, _LARGEST_HEADER):
                raise UnusableInput(f"{path}: is cut off or not a safetensors file; {_AGAIN}")
            found = _parsed(path, file.read(length), 8 + length)
    except FileNotFoundError:
        raise UnusableInput(f"{path}: is a link to a file that is not there; {_AGAIN}") from None
    except OSError as error:
        raise UnusableInput(f"{path}: cannot be read: {error.strerror or error}") from None
    end = max((tensor.end for tensor in found.values()), default=8 + length)
    if end > about.st_size:
        raise UnusableInput(f"{path}: is cut off ({about.st_size} of {end} bytes); {_AGAIN}")
    return found


def _parsed(path: Path, header: bytes, start: int) -> dict[str, Tensor]:
    try:
        entries = json.loads(header)
        return {
            name: Tensor(
                entry["dtype"], entry["shape"], start + entry["data_offsets"][0], start + entry["data_offsets"][1]
            )
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise UnusableInput(f"{path}: is not a safetensors file; {_AGAIN}") from None


def content(path: Path, tensor: Tensor) -> bytes:
    """Return the SHA-256 of a tensor's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(tensor.begin)
        left = tensor.end - tensor.begin
        while left > 0 and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.digest()
