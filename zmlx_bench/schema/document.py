"""From a decoded document to its model: brought to the present version first, and held against its seal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from zmlx_bench.schema.base import Raw, StrictModel
from zmlx_bench.schema.sealed import Sealed

Model = TypeVar("Model", bound=StrictModel)
NO_TEXT = "holds half a surrogate pair, which is no text and cannot be hashed"


def newest(model: type[StrictModel]) -> int:
    """Return the version of the format that this zmlx writes."""
    return 1 + len(model.updates)


def updated(raw: Any, model: type[StrictModel]) -> Any:
    """Return the document at the present version; ValueError when a newer zmlx wrote it."""
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        return raw
    if version > newest(model):
        raise ValueError(f"schema_version: {version} is newer than this zmlx knows ({newest(model)}); update zmlx")
    for update in model.updates[version - 1 :]:
        raw = update(raw)
    return raw


def read(raw: Any, model: type[Model], part: Callable[[Raw], Raw] | None = None) -> Model:
    """Validate a document of any version; `part` takes what is not wanted out of it, once it is hashed.

    Raises ValidationError for what is no such document, ValueError for one that is newer or holds no text.
    """
    whole = updated(raw, model)
    value = model.model_validate(part(whole) if part is not None and isinstance(whole, dict) else whole)
    if isinstance(value, Sealed):
        try:
            value.compare_with(raw)
        except UnicodeEncodeError:
            raise ValueError(NO_TEXT) from None
    return value
