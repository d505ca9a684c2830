"""What is wrong with a document, in one line for who wrote it: pydantic speaks of Python's types and of its own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from zmlx_bench.schema.base import KERNEL_REF, NAME, SHA256

_SAYS = {
    "missing": "is missing",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "literal_error": "must be {expected}",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must have {min_length} or more entries",
    "string_too_short": "must have {min_length} or more characters",
}
"""In our words, by pydantic's type of error."""
_PATTERNS = {
    NAME: "must be letters, digits, '_', '.' and '-', a letter or digit first, 100 at most",
    KERNEL_REF: "must be a kernel's name, or with a mode NAME.MODE, of small letters, digits and '_'",
    SHA256: "must be a SHA-256, 64 small hexadecimal digits",
}
_NOT_IN_FILE = re.compile(
    r"\[key\]|int|float|str|bool|constrained-\w+|(literal|nullable|list|tuple|dict|function-\w+)\[.*"
)
"""What pydantic adds to the place of an error: the branch of a union, and that a key is meant."""
_LONGEST = 40
"""Characters of a value that are told."""
_MOST_LISTED = 12
"""Fields that are told where none is like an unknown one."""


def first_error(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return what is wrong first as `field: message`, and how many other fields are; an unknown field goes first, for
    one that is missing may be it. `model`, where given, tells which fields are known there."""
    by_place: dict[tuple[Any, ...], list[Any]] = {}
    for one in sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden"):
        if one["type"] == "too_short" and len(one["input"]) >= one["ctx"]["min_length"]:
            # Pydantic counts the entries that are right; those that are wrong are told of.
            continue
        by_place.setdefault(_place(one), []).append(one)
    place, problems = next(iter(by_place.items()))
    said = " or ".join(dict.fromkeys(_said(one) for one in problems)).replace(" or must be ", " or ")
    if problems[0]["type"] == "extra_forbidden":
        said = _unknown(str(place[-1]), known_fields(model, place[:-1]) if model is not None else ())
    elif isinstance(given := problems[0]["input"], str | int | float) and len(repr(given)) <= _LONGEST:
        said += f", not {given!r}" if said.startswith("must be ") else ""
    more = len(by_place) - 1
    field = ".".join(map(str, place)) or "file"
    return f"{field}: {said}" + (f" (and {more} more)" if more else "")


def known_fields(model: type[BaseModel], place: Sequence[Any]) -> tuple[str, ...]:
    """Return the names of the fields of the table at `place` of a document; none where it is no table of fields."""
    models: Iterable[type[BaseModel]] = (model,)
    for part in place:
        # A key of a table of tables and an index of a list are no fields, and lead to the same models.
        if with_it := [one for one in models if part in one.model_fields]:
            models = [inside for one in with_it for inside in _models(one.model_fields[part].annotation)]
    return tuple(dict.fromkeys(name for one in models for name in one.model_fields))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _place(one: Any) -> tuple[Any, ...]:
    """Return where an error is, as the file has it; an unknown field may be called as a branch of a union is."""
    inside = len(one["loc"]) - (one["type"] == "extra_forbidden")
    return (*(part for part in one["loc"][:inside] if not _NOT_IN_FILE.fullmatch(str(part))), *one["loc"][inside:])


def _said(one: Any) -> str:
    about = one.get("ctx", {})
    if one["type"] == "string_pattern_mismatch" and about["pattern"] in _PATTERNS:
        return _PATTERNS[about["pattern"]]
    if one["type"] in _SAYS:
        return _SAYS[one["type"]].format(**about)
    return str(one["msg"]).removeprefix("Value error, ")


def _unknown(name: str, known: Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if nearest:
        return f"unknown field; did you mean {nearest[0]!r}?"
    listed = f"known: {', '.join(known)}" if 0 < len(known) <= _MOST_LISTED else "take it out"
    return f"unknown field; {listed}"
