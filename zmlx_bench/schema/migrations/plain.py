"""Changes of plain data that may hold anything: what is not as expected stays as it is, and validation says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Plain = dict[str, Any]


def renamed(fields: Plain, old: str, new: str) -> Plain:
    """Return `fields` with `old` under the name `new`, in its place; unchanged where `new` is there already."""
    if old not in fields or new in fields:
        return fields
    return {new if name == old else name: value for name, value in fields.items()}


def inside(fields: Plain, name: str, change: Callable[[Plain], Plain]) -> Plain:
    """Return `fields` with the object under `name` changed; unchanged where there is none."""
    part = fields.get(name)
    return {**fields, name: change(part)} if isinstance(part, dict) else fields


def without(fields: Plain, *names: str) -> Plain:
    """Return `fields` without those named."""
    return {name: value for name, value in fields.items() if name not in names}
