"""Mapping shared by the layouts: families, dates, arms, and what is checked against other files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from zmlx_bench.legacy.faults import record_faults
from zmlx_bench.legacy.schema import (
    Inconsistency,
    LegacyFidelity,
    LegacyImport,
    LegacyRecord,
    LegacyShape,
    NotMeasured,
)
from zmlx_bench.legacy.source import Source, SourceModel
from zmlx_bench.schema.sealed import UNSEALED

Family = Literal["qwen3", "glm47", "other"]

MANY_RECORDS = 4
"""From so many records on, a patched peak that is never below the baseline's looks like a running maximum."""


class StatedFidelity(SourceModel):
    """`fidelity` as the capsules and summaries write it."""

    matched: int
    total: int
    verdict: Literal["PASS", "FAIL", "SKIP"]


def family_of(model: str) -> Family:
    """Return the family of a checkpoint's name."""
    if "Qwen3-30B-A3B" in model:
        return "qwen3"
    return "glm47" if "GLM-4.7-Flash" in model else "other"


def fidelity_of(stated: StatedFidelity) -> LegacyFidelity:
    """Map the fidelity of an arm that ran (never of a SKIP arm)."""
    if stated.verdict == "SKIP":
        raise ValueError("a skipped arm has no fidelity")
    return LegacyFidelity(verdict=stated.verdict, matched=stated.matched, total=stated.total)


def utc(moment: datetime) -> str:
    """Write an aware time as RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_of_stamp(stamp: str) -> str:
    """Map `20260210T224222Z` to RFC 3339; raise ValueError for anything else."""
    return utc(datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))


def date_faults(source: Source, stated: str, field: str = "meta.date") -> Iterator[Inconsistency]:
    """Compare a date without a zone with the date in the file's name, which the lab took from UTC."""
    named = re.search(r"_(20\d{6})(?:_|\.)", source.name)
    if named and stated[:10].replace("-", "") != named.group(1):
        yield Inconsistency(
            code="local_date",
            field=field,
            sentence=f"says {stated[:10]} without a zone, the file's name {named.group(1)}: local and UTC dates mixed",
        )
    if re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", stated):
        yield Inconsistency(code="time_without_zone", field=field, sentence=f"{stated!r} names no time zone")


def absent_files(source: Source, named: Sequence[str], field: str) -> Iterator[Inconsistency]:
    """Say which of the files that the source names do not lie beside it."""
    missing = [name for name in dict.fromkeys(named) if not source.beside(name).is_file()]
    if missing:
        few = ", ".join(name.rpartition("/")[2] for name in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        yield Inconsistency(
            code="capsule_absent",
            field=field,
            sentence=f"{len(missing)} of {len(set(named))} files named are not beside it: {few}{more}",
        )


def running_maximum(records: Sequence[LegacyRecord]) -> Iterator[Inconsistency]:
    """Say when the patched peak is never below the baseline's."""
    pairs = [
        (record.baseline.peak_mem_gb, record.patched.peak_mem_gb)
        for record in records
        if record.baseline.peak_mem_gb is not None and record.patched.peak_mem_gb is not None
    ]
    if len(pairs) >= MANY_RECORDS and all(patched >= baseline for baseline, patched in pairs):
        yield Inconsistency(
            code="peak_memory_running_maximum",
            field="peak_mem_gb",
            sentence=f"in none of {len(pairs)} records is the patched peak below the baseline's: "
            "the counter was not reset between them, so memory cannot be compared",
        )


def build(
    source: Source,
    shape: LegacyShape,
    records: Sequence[LegacyRecord],
    *,
    why_not: str | None = None,
    not_measured: Sequence[NotMeasured] = (),
    faults: Sequence[Inconsistency] = (),
) -> LegacyImport:
    """Put an import together: the file's own faults first, then each record's; sealed."""
    found = [*faults, *running_maximum(records), *(f for r in records for f in record_faults(r))]
    return LegacyImport(
        source_name=source.name,
        source_sha256=source.sha256,
        shape=shape,
        is_evidence=why_not is None,
        why_not=why_not,
        records=tuple(records),
        not_measured=tuple(not_measured),
        inconsistencies=tuple(found),
        content_sha256=UNSEALED,
    ).sealed()


def refused(source: Source, shape: LegacyShape, why_not: str, faults: Sequence[Inconsistency] = ()) -> LegacyImport:
    """Build the import of a file that is recognised and is no evidence, without records."""
    return build(source, shape, (), why_not=why_not, faults=faults)


def has(data: Any, *keys: str) -> bool:
    """Say whether `data` is an object with all of `keys`."""
    return isinstance(data, dict) and all(key in data for key in keys)
