"""Checks a checkpoint's folder before any process loads it, and computes its identity. Imports no MLX."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from zmlx_bench import files
from zmlx_bench.catalog.families import Known
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.base import content_hash

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_LARGEST_HEADER = 100_000_000
_INDEX = "model.safetensors.index.json"


def read_config(folder: Path, family: Known, *, trust_remote_code: bool) -> dict[str, Any]:
    """Return config.json of a checkpoint of `family`.

    UnusableInput when the folder is not a checkpoint, is of another architecture, or names code to run and
    `trust_remote_code` is false.
    """
    if not folder.is_dir():
        raise UnusableInput(f"checkpoint {folder}: is not a folder")
    path = folder / "config.json"
    if not path.is_file():
        raise UnusableInput(f"checkpoint {folder}: has no config.json; give the folder of an mlx-lm checkpoint")
    try:
        config = files.loads(files.read_text(path))
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{path}: {error}") from None
    if not isinstance(config, dict):
        raise UnusableInput(f"{path}: must hold a JSON object")
    model_type = config.get("model_type")
    wanted = family.facts.model_type
    if model_type != wanted:
        raise UnusableInput(f"{path}: model_type: is {model_type!r}, but {family.name} needs {wanted!r}")
    _refuse_code(folder, config, trust_remote_code=trust_remote_code)
    return config


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a checkpoint, checked to be whole; UnusableInput names the one that is not."""
    found = sorted(folder.glob("model*.safetensors"))
    if not found:
        pickles = [p.name for p in sorted(folder.iterdir()) if p.suffix in _PICKLES]
        hint = f" ({pickles[0]} is a pickle, which could run code; convert it with mlx_lm.convert)" if pickles else ""
        raise UnusableInput(f"checkpoint {folder}: has no model*.safetensors{hint}")
    for path in found:
        _check_whole(path)
    if missing := sorted((_indexed(folder) or set()) - {path.name for path in found}):
        raise UnusableInput(f"checkpoint {folder}: {missing[0]} is missing, which {_INDEX} names")
    return found


def _indexed(folder: Path) -> set[str] | None:
    index = folder / _INDEX
    if not index.is_file():
        return None
    try:
        named: set[str] = set(files.loads(files.read_text(index))["weight_map"].values())
    except (UnusableInput, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UnusableInput(f"{index}: weight_map: is missing or unreadable") from None
    return named


def has_weights(folder: Path) -> bool:
    """Return whether every weight file that the checkpoint names, or any where it names none, lies in its folder."""
    try:
        named = _indexed(folder)
    except UnusableInput:
        return False
    if named is None:
        return any(path.exists() for path in folder.glob("model*.safetensors"))
    return all((folder / name).exists() for name in named)


def context_length(config: dict[str, Any]) -> int | None:
    """Return the longest sequence that the model was made for, or None when the config does not say."""
    value = config.get("max_position_embeddings")
    return value if isinstance(value, int) and value > 0 else None


def config_hash(config: dict[str, Any]) -> str:
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


def _check_whole(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            raise UnusableInput(f"{path}: is empty or cut off; copy or download it again")
        (length,) = struct.unpack("<Q", head)
        if length > min(size - 8, _LARGEST_HEADER):
            raise UnusableInput(f"{path}: is cut off or not a safetensors file; copy or download it again")
        try:
            header = json.loads(file.read(length))
            end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            raise UnusableInput(f"{path}: is not a safetensors file; copy or download it again") from None
    if 8 + length + end != size:
        raise UnusableInput(f"{path}: is cut off ({size} of {8 + length + end} bytes); copy or download it again")
