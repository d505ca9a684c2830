"""Comparison of what an artifact says with what is recomputed, leaf by leaf."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

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
    """Yield a finding for every field of `stored` that differs from `expected`; `source` says where that is from.

    A field that the stored document lacks, because it is older than the field, is not compared.
    """
    if stored == expected:
        return
    for name, mine, theirs in differences(*_written(stored, expected), field):
        yield finding(file, name, f"says {show(mine)}, {source} {show(theirs)}")


def _written(stored: Any, expected: Any) -> tuple[Any, Any]:
    """Return both as plain values, of models only what was written in `stored`."""
    if isinstance(stored, BaseModel) and isinstance(expected, BaseModel):
        names = [name for name in type(stored).model_fields if name in stored.model_fields_set]
        pairs = {name: _written(getattr(stored, name), getattr(expected, name)) for name in names}
        return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}
    if isinstance(stored, tuple) and isinstance(expected, tuple) and len(stored) == len(expected):
        parts = [_written(mine, theirs) for mine, theirs in zip(stored, expected, strict=True)]
        return [mine for mine, _ in parts], [theirs for _, theirs in parts]
    return to_jsonable_python(stored), to_jsonable_python(expected)


def show(value: Any) -> str:
    """Return a value as a person reads it."""
    if isinstance(value, float):
        return f"{value:.9g}"
    return "null" if value is None else str(value)
