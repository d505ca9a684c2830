"""Reads a file of evidence, whichever of the two kinds it is."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench.errors import UnusableInput
from zmlx_bench.files import loads, read_json, read_text
from zmlx_bench.legacy.schema import LegacyImport
from zmlx_bench.schema.capsule import Capsule


def is_legacy(path: Path) -> bool:
    """Return whether `path` is an import of the predecessor's; False also for what cannot be read."""
    try:
        content = loads(read_text(path))
    except (UnusableInput, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") == "legacy"


def read_evidence(path: Path) -> Capsule | LegacyImport:
    """Read a capsule or an import; UnusableInput names file and field."""
    if path.is_dir():
        raise UnusableInput(f"{path}: is a folder; give one of its files")
    return read_json(path, LegacyImport) if is_legacy(path) else read_json(path, Capsule)


def read_capsule(path: Path) -> Capsule:
    """Read a capsule that is to be measured again; an import of the predecessor's cannot be."""
    evidence = read_evidence(path)
    if isinstance(evidence, LegacyImport):
        raise UnusableInput(f"{path}: is an import of the predecessor's; it names no kernel that could run here")
    return evidence
