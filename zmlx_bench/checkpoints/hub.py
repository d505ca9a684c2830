"""Checkpoints from the Hugging Face hub: found in the local cache, or downloaded."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench.checkpoints import folder
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.printable import one_line

_ELSEWHERE = "connect to the network, or copy it here and name its folder"
PATTERNS = [
    "*.json", "model*.safetensors", "*.txt", "*.jinja", "*.jsonl", "*.py", "*.tiktoken", "tokenizer.model",
    "tiktoken.model",
]  # fmt: skip
"""What mlx-lm downloads."""


def split(reference: str) -> tuple[str, str | None]:
    """Split `ID@REVISION` into its parts."""
    repo, _, revision = reference.partition("@")
    return repo, revision or None


def cached(repo: str, revision: str | None = None, cache: Path | None = None) -> Path | None:
    """Return the snapshot's folder when the local cache (`cache`: another folder than the hub's) holds all of it.

    A snapshot of configuration and tokenizer alone, as loading a tokenizer leaves it, is not cached, nor are weights
    alone.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repo, revision=revision, allow_patterns=PATTERNS, local_files_only=True, cache_dir=cache
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError, ValueError):
        return None
    snapshot = Path(found)
    try:
        return snapshot if folder.lacks(snapshot) is None and folder.has_tokenizer(snapshot) else None
    except PermissionError:
        # Another user's cache, whose blobs are not for this one.
        return None


def fetch(
    repo: str, revision: str | None = None, named_by: str = "checkpoint", *, known: bool = False, or_else: str = ""
) -> Path:
    """Return the snapshot's folder, downloading what is missing; errors say what to do without a network.

    `named_by` is what they begin with, `or_else` what else to do. What is not `known` to be a hub id may have been
    meant as a folder.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    held = cached(repo, revision)
    if held is not None:
        return held
    elsewhere = f"{_ELSEWHERE}{or_else}"
    what, no_folder = f"{named_by} {repo}", "" if known else "no folder here, "
    try:
        found = Path(snapshot_download(repo, revision=revision, allow_patterns=PATTERNS))
    except HFValidationError:
        raise UnusableInput(f"{named_by} {repo!r}: neither a folder nor a hub id of the form OWNER/NAME") from None
    except GatedRepoError:
        raise UnusableInput(f"{what}: is gated; accept its terms on the hub and run `hf auth login`") from None
    except RevisionNotFoundError:
        raise UnusableInput(f"{what}: has no revision {revision!r}") from None
    except RepositoryNotFoundError:
        raise UnusableInput(f"{what}: is {no_folder}no repository on the hub (or a private one)") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, RuntimeError, ValueError) as error:
        raise CannotHere(
            f"{what}: is {no_folder}not in the local cache and cannot be downloaded ({_short(error)}); {elsewhere}"
        ) from None
    if (lacking := folder.lacks(found)) is not None:
        # Where the hub cannot be asked, its client gives what the cache has.
        raise CannotHere(f"{what}: the local cache lacks {lacking} and the hub did not give it; {elsewhere}")
    return found


def commit_of(snapshot: Path) -> str:
    """Return the commit of a snapshot's folder, which the cache names after it."""
    return snapshot.name


def blobs_of(snapshot: Path) -> dict[str, str]:
    """Return the hub's blob id of each file: the cache links every file to a blob named by it."""
    return {
        path.relative_to(snapshot).as_posix(): path.resolve().name
        for path in sorted(snapshot.rglob("*"))
        if path.is_symlink()
    }


def _short(error: Exception) -> str:
    return one_line(str(error), 160) or type(error).__name__
