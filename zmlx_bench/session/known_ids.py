"""Token ids of prompts that were made before: the process that makes them imports transformers, which takes seconds.

They hold for the same texts, files beside the weights, and versions of what reads these. Files that could make others
of them the next time, a checkpoint's own code, a template that reads the clock or a reader that is edited where it is
installed, are asked every time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import ZmlxError
from zmlx_bench.machine.backend import edited_in_place, installed
from zmlx_bench.measured import encode as encoder
from zmlx_bench.measured.user_cache import user_cache_path
from zmlx_bench.schema.base import StrictModel, content_hash
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.session.compiled import UNUSED_S
from zmlx_bench.session.encode import encode

_READ_BY = ("mlx-lm", "transformers", "tokenizers", "jinja2", "sentencepiece", "tiktoken")
_WEIGHTS = {".safetensors", ".gguf", ".bin", ".npz", ".pt", ".pth"}
_CLOCK = b"strftime_now"
"""By which a chat template reads the clock."""
_MOST_BYTES = 1 << 28
"""Of the files beside the weights: in a folder that holds more lies something else."""


class Kept(StrictModel):
    """What the file of a question holds."""

    encoded: Encoded
    sha256: str
    """The content hash of `encoded`."""


def encoded(located: Located, prompts: PromptSet, pieces: Sequence[str] = (), kept: Path | None = None) -> Encoded:
    """Return what `encode` returns, with its errors, without its process where the same was asked before.

    `kept` is where it is remembered, by default in the user's cache; what cannot be kept is made again.
    """
    key = _key(located, prompts, pieces)
    if key is None:
        return encode(located, prompts, pieces=pieces)
    with contextlib.suppress(RuntimeError):
        kept = kept or user_cache_path("zmlx") / "token_ids"
    place = None if kept is None else kept / f"{key}.json"
    if place is not None and (known := _recalled(place, prompts)) is not None:
        return known
    found = encode(located, prompts, pieces=pieces)
    if place is not None:
        with contextlib.suppress(ZmlxError, OSError):
            files.write_atomic(place, files.dump_json(Kept(encoded=found, sha256=_hash(found))))
            _prune(place.parent)
    return found


def _key(located: Located, prompts: PromptSet, pieces: Sequence[str]) -> str | None:
    """Return by what token ids are remembered; None where they may be others the next time."""
    if located.checkpoint.trust_remote_code or any(map(edited_in_place, _READ_BY)):
        return None
    texts = [[prompt.id, prompt.text] for prompt in prompts.prompt]
    versions = [platform.python_version(), *map(installed, _READ_BY)]
    known = hashlib.sha256(json.dumps([texts, list(pieces), versions]).encode("ascii"))
    known.update(Path(encoder.__file__).read_bytes())
    taken = 0
    try:
        beside = sorted(path for path in located.path.rglob("*") if path.is_file() and path.suffix not in _WEIGHTS)
        for path in beside:
            taken += path.stat().st_size
            if taken > _MOST_BYTES or _CLOCK in (content := path.read_bytes()):
                return None
            name = path.relative_to(located.path).as_posix()
            known.update(json.dumps([name, hashlib.sha256(content).hexdigest()]).encode("ascii"))
    except OSError:
        return None
    return known.hexdigest()


def _recalled(place: Path, prompts: PromptSet) -> Encoded | None:
    try:
        kept = Kept.model_validate_json(place.read_bytes())
        kept.encoded.check(prompts)
        # Tells when it was last used.
        place.touch()
    except (OSError, ValueError):
        return None
    return kept.encoded if kept.sha256 == _hash(kept.encoded) else None


def _hash(encoded: Encoded) -> str:
    return content_hash(encoded.model_dump(mode="json"))


def _prune(kept: Path) -> None:
    for path in kept.glob("*.json"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > UNUSED_S:
                path.unlink()
