"""Checks a checkpoint's folder before any process loads it, and computes its identity. Imports no MLX."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zmlx_bench import files
from zmlx_bench.catalog.families import Architecture
from zmlx_bench.checkpoints import safetensors
from zmlx_bench.checkpoints.safetensors import Tensor
from zmlx_bench.errors import UnusableInput
from zmlx_bench.printable import encodable, shown
from zmlx_bench.schema.base import content_hash

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_WEIGHTS = "model*.safetensors"
"""What mlx-lm loads."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "*.tiktoken", "tiktoken.model", "vocab.json", "vocab.txt")
_NUMBERED = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})\.safetensors")
_LENGTHS = ("max_position_embeddings", "n_positions")
_INDEX = "model.safetensors.index.json"


def read_config(folder: Path, family: Architecture, *, trust_remote_code: bool) -> dict[str, Any]:
    """Return config.json of a checkpoint of `family`.

    UnusableInput when the folder is not a checkpoint, is of another architecture, or names code to run and
    `trust_remote_code` is false.
    """
    config = _config(folder)
    model_type = config.get("model_type")
    wanted = family.model_type
    if model_type not in (wanted, *family.also):
        raise UnusableInput(
            f"{folder / 'config.json'}: model_type: is {shown(model_type)}, but {family.name} needs {wanted!r}"
        )
    _refuse_code(folder, config, trust_remote_code=trust_remote_code)
    return config


def model_type(folder: Path) -> str:
    """Return which architecture of mlx-lm a checkpoint is of; UnusableInput when the folder is not a checkpoint."""
    found = _config(folder).get("model_type")
    if not isinstance(found, str) or not found:
        raise UnusableInput(
            f"{folder / 'config.json'}: model_type: is {shown(found)}; "
            "must name an architecture of mlx-lm, such as 'llama'"
        )
    return found


def _config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UnusableInput(f"checkpoint {folder}: is a file, not a folder; give the folder that it lies in")
    path = folder / "config.json"
    if not path.is_file():
        raise UnusableInput(f"checkpoint {folder}: has no config.json; give the folder of an mlx-lm checkpoint")
    try:
        # As mlx-lm reads it: the last of two equal keys counts, and infinity is a number.
        config = json.loads(files.read_text(path), parse_constant=lambda name: {"__float__": name})
        config_hash(config)
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise UnusableInput(f"{path}: must hold a JSON object")
    return config


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that mlx-lm loads of a checkpoint; what else lies there does not matter.

    UnusableInput for weights that are not whole, not all here, or not the same from one process to the next.
    """
    found = _safetensors(folder)
    if not found:
        pickles = [p.name for p in sorted(folder.iterdir()) if p.suffix in _PICKLES]
        hint = f" ({pickles[0]} is a pickle, which could run code; convert it with mlx_lm.convert)" if pickles else ""
        raise UnusableInput(f"checkpoint {folder}: has no model*.safetensors{hint or '; copy or download it again'}")
    _refuse_unreachable(folder, found)
    held = {path: safetensors.tensors(path) for path in found}
    if (missing := _missing(folder, held)) is not None:
        raise UnusableInput(f"checkpoint {folder}: {missing} is missing; finish its download or copy it again")
    _refuse_ambiguous(held)
    return found


def lacks(folder: Path) -> str | None:
    """Return what a folder lacks of a checkpoint, the tokenizer aside; None where it has config and weights."""
    if not (folder / "config.json").is_file():
        return "its config.json"
    return None if has_weights(folder) else "weights (model*.safetensors), all or a part"


def has_tokenizer(folder: Path) -> bool:
    """Return whether a file that a tokenizer can be made of lies in the folder, as far as such files have names."""
    return any(path.is_file() for pattern in _TOKENIZERS for path in folder.glob(pattern))


def has_weights(folder: Path) -> bool:
    """Return whether every weight file that the checkpoint needs lies in its folder."""
    found = _safetensors(folder)
    if not found or not all(path.exists() for path in found):
        return False
    index = _indexed(folder)
    if index is not None and set(index.values()) <= {path.name for path in found}:
        return True
    return _missing(folder, {path: _tensors_or_none(path) for path in found}) is None


def _safetensors(folder: Path) -> list[Path]:
    return sorted(folder.glob(_WEIGHTS))


def _tensors_or_none(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.tensors(path)
    except UnusableInput:
        return {}


def _missing(folder: Path, held: Mapping[Path, Mapping[str, Tensor]]) -> str | None:
    """Return a weight file that is not there and whose tensors no other file holds; None where nothing lacks.

    mlx-lm never reads the index. One that names none of the files is the leftover of another layout, such as that of
    the weights before they were quantised; one that cannot be read is no index.
    """
    here = {path.name for path in held}
    index = _indexed(folder)
    if index is not None and not here.isdisjoint(index.values()):
        tensors = {name for found in held.values() for name in found}
        return min((file for name, file in index.items() if file not in here and name not in tensors), default=None)
    for name in sorted(here):
        if (numbered := _NUMBERED.fullmatch(name)) is not None:
            stem, count = numbered["stem"], int(numbered["count"])
            files = (f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1))
            if (lost := next((file for file in files if file not in here), None)) is not None:
                return lost
    return None


def _indexed(folder: Path) -> dict[str, str] | None:
    """Return the file of each tensor as the index tells it; None without one that can be read."""
    index = folder / _INDEX
    try:
        named = json.loads(files.read_text(index))["weight_map"]
        return {str(tensor): str(file) for tensor, file in named.items()}
    except (UnusableInput, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _refuse_unreachable(folder: Path, found: Sequence[Path]) -> None:
    """Raise UnusableInput for names that mlx-lm or MLX cannot open."""
    link = "rename it, or give a link to it with a plain name"
    for path in found:
        if str(path) != encodable(str(path)):
            raise UnusableInput(f"checkpoint {path}: is not UTF-8 as a path, and MLX cannot open it; {link}")
    if sorted(glob.glob(str(folder / _WEIGHTS))) != sorted(map(str, found)):  # noqa: PTH207 - as mlx-lm looks for them
        raise UnusableInput(f"checkpoint {folder}: mlx-lm takes its path for a pattern, because of [, * or ?; {link}")


def _refuse_ambiguous(held: Mapping[Path, Mapping[str, Tensor]]) -> None:
    """Raise UnusableInput where two files hold a tensor in two versions: mlx-lm takes whichever the system lists last.

    Evidence would not say which of them was measured.
    """
    first: dict[str, Path] = {}
    for path, tensors in held.items():
        for name, tensor in tensors.items():
            other = first.setdefault(name, path)
            if other == path:
                continue
            before = held[other][name]
            same_kind = (before.dtype, before.shape) == (tensor.dtype, tensor.shape)
            if not same_kind or safetensors.content(other, before) != safetensors.content(path, tensor):
                raise UnusableInput(
                    f"{path}: {name}: is another one than in {other.name}, and mlx-lm loads either, as the folder's "
                    "order falls; remove one of the two files"
                )


def context_length(config: dict[str, Any]) -> int | None:
    """Return the longest sequence that the model was made for, or None when the config does not say."""
    inner = config.get("text_config")
    for holder in (config, inner if isinstance(inner, dict) else {}):
        for name in _LENGTHS:
            value = holder.get(name)
            if isinstance(value, int) and value > 0:
                return value
    return None


def config_hash(config: Any) -> str:
    """Return the SHA-256 of the config's canonical JSON."""
    return content_hash(config)


def _refuse_code(folder: Path, config: dict[str, Any], *, trust_remote_code: bool) -> None:
    if trust_remote_code:
        return
    places = [("config.json", key) for key in ("model_file", "auto_map") if key in config]
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file():
        try:
            declared = json.loads(files.read_text(tokenizer))
        except (ValueError, RecursionError) as error:
            raise UnusableInput(f"{tokenizer}: {error}") from None
        if isinstance(declared, dict) and "auto_map" in declared:
            places.append((tokenizer.name, "auto_map"))
    if places:
        name, key = places[0]
        raise UnusableInput(
            f"{folder / name}: {key}: names code that loading would run; "
            "read it, then allow it with --trust-remote-code"
        )
