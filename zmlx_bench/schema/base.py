"""What all schemas share: strictness, names, times, and the canonical form that content hashes are taken over."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, StringConstraints
from pydantic.json_schema import JsonSchemaValue

Raw = dict[str, Any]
"""A document as it was decoded: plain data that nothing has validated."""


class StrictModel(BaseModel):
    """Base of all schemas: unknown fields, NaN and infinities are errors, and instances do not change."""

    updates: ClassVar[tuple[Callable[[Raw], Raw], ...]] = ()
    """`update_to_2`, `update_to_3`, ...: what brings an older document of this format to the present version."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe each field by the docstring below it."""
        from zmlx_bench.schema.described import descriptions  # where a schema is shown, and nowhere else

        found = handler(core_schema)
        fields = handler.resolve_ref_schema(found)["properties"]
        for name, text in descriptions(cls).items():
            fields[name]["description"] = text
        return found


def _is_utc(value: str) -> str:
    parsed = datetime.fromisoformat(value)
    if not value.endswith("Z") or parsed.utcoffset() is None:
        raise ValueError("must be RFC 3339 in UTC, such as 2026-02-10T12:00:00Z")
    return value


NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$"
KERNEL_REF = r"^[a-z0-9_]{1,60}(\.[a-z0-9_]{1,60})?$"
SHA256 = r"^[0-9a-f]{64}$"

Name = Annotated[str, StringConstraints(pattern=NAME)]
"""An identifier that is safe as a file name: letters, digits, '_', '.', '-'."""

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,254}$")]
"""The name of a file in a folder: never a path."""

WeightFile = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f]+$")]
"""The name of a weight file, which its owner chose: never a path."""

KernelRef = Annotated[str, StringConstraints(pattern=KERNEL_REF)]
"""`kernel` or `kernel.mode`; without a mode it means mode `stock`."""

Sha256 = Annotated[str, StringConstraints(pattern=SHA256)]
Digest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|(full|synthetic|tiny|path|hub)-[0-9a-f]{16})$")]
"""Of a checkpoint: a SHA-256, or the identity of version 1 where the checkpoint was not at hand to be hashed again."""
UtcTime = Annotated[str, AfterValidator(_is_utc)]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]

Backend = Literal["metal", "cuda", "cpu"]
CheckpointKind = Literal["full", "synthetic", "tiny", "path", "hub"]
Role = Literal["baseline", "null", "incumbent", "variant"]
Estimator = Literal["mean", "bisquare"]
"""What says where the blocks of a session lie: their mean, or an M-estimate that outliers do not move."""
Status = Literal["ok", "crash", "timeout", "oom", "unavailable"]


def is_name(text: str) -> bool:
    """Return whether a text is a `Name`."""
    return re.fullmatch(NAME, text) is not None


def utc_now() -> str:
    """Return the present time as RFC 3339 in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def canonical_json(value: Any) -> bytes:
    """Serialise `value` with sorted keys and no spaces: the byte form under every content hash."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def content_hash(value: Any) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
