"""Artifacts that carry a hash of themselves, so that an edit shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Self

from pydantic import PrivateAttr

from zmlx_bench.schema.base import Raw, Sha256, StrictModel, content_hash

HASH = "content_sha256"
UNSEALED = "0" * 64
"""In the place of the hash until `sealed` computes it."""


class Sealed(StrictModel):
    """A document with the hash of all its other fields as they were written: one that lacks an optional field, and
    one of an older version, keep the hash that they have."""

    content_sha256: Sha256
    """SHA-256 over the canonical JSON of all other fields, so that an edit shows."""

    hashed: ClassVar[Mapping[int, Callable[[Raw], Raw]]] = {}
    """For versions whose hash left something out: what of a document it is over."""

    _intact: bool = PrivateAttr(True)

    @property
    def intact(self) -> bool:
        """Whether the document that this was read from is what was hashed; true for one that was not read."""
        return self._intact

    def sealed(self) -> Self:
        """Return a copy with the hash of the document that `files.dump_json` writes."""
        return self.model_copy(update={HASH: content_hash(self.model_dump(mode="json", exclude={HASH}))})

    def compare_with(self, document: Raw) -> None:
        """Note whether `document`, which this was read from, is what was hashed."""
        version = document.get("schema_version")
        form = self.hashed.get(version) if isinstance(version, int) else None
        content = {name: value for name, value in document.items() if name != HASH}
        self._intact = content_hash(form(content) if form else content) == self.content_sha256
