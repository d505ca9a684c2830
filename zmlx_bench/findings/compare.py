"""Comparison of what an artifact says with what is recomputed, leaf by leaf."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from zmlx_bench.findings.finding import Finding, finding

RELATIVE = 1e-9
"""Two platforms' `log`, `exp` and quantiles may differ in the last places; an edit does not stay below this."""


def same_number(stored: float, expected: float) -> bool:
    """Return whether two figures are the same but for the last places of floating point."""
    return math.isclose(stored, expected, rel_tol=RELATIVE, abs_tol=1e-12)


def differences(stored: Any, expected: Any, field: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (field, stored, expected) for every leaf that differs; the values are plain JSON values."""
    if isinstance(stored, dict) and isinstance(expected, dict):
        for key in [*expected, *(k for k in stored if k not in expected)]:
            yield from differences(stored.get(key), expected.get(key), f"{field}.{key}" if field else key)
    elif isinstance(stored, list) and isinstance(expected, list) and len(stored) == len(expected):
        for index, (mine, theirs) in enumerate(zip(stored, expected, strict=True)):
            yield from differences(mine, theirs, f"{field}[{index}]")
    elif _is_number(stored) and _is_number(expected):
        if not same_number(stored, expected):
            yield field, stored, expected
    elif stored != expected:
        yield field, stored, expected


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare_models(file: str, field: str, stored: BaseModel, expected: BaseModel, source: str) -> Iterator[Finding]:
    """Yield a finding for every field of `stored` that differs from `expected`; `source` says where that is from."""
    pairs = differences(stored.model_dump(mode="json"), expected.model_dump(mode="json"), field)
    for name, mine, theirs in pairs:
        yield finding(file, name, f"says {show(mine)}, {source} {show(theirs)}")


def show(value: Any) -> str:
    """Return a value as a person reads it."""
    if isinstance(value, float):
        return f"{value:.9g}"
    return "null" if value is None else str(value)
