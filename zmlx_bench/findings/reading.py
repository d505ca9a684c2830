"""Reading artifacts for a check: whatever is in a file becomes a model or a finding, never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from zmlx_bench.errors import UnusableInput
from zmlx_bench.files import read_json, refuse_outside
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.schema.base import StrictModel

Model = TypeVar("Model", bound=StrictModel)


def read(root: Path, path: Path, model: type[Model]) -> tuple[Model | None, list[Finding]]:
    """Read a JSON artifact; a file that cannot be read gives None and one finding."""
    name = relative(root, path)
    try:
        refuse_outside(root, path)
        return read_json(path, model), []
    except UnusableInput as error:
        return None, [unreadable(name, path, error)]


def unreadable(name: str, path: Path, error: UnusableInput) -> Finding:
    """Return the finding for a file that could not be read; the error's text starts with the path."""
    message = str(error).removeprefix(f"{path}: ")
    field, colon, rest = message.partition(": ")
    if colon and field and " " not in field:
        return finding(name, field, rest)
    return finding(name, "file", message)


def relative(root: Path, path: Path) -> str:
    """Return `path` inside the workspace with forward slashes; its name alone where it is outside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
