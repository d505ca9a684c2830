"""The lab's ledger: one JSON line a measurement, without the variant's name and without the command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from zmlx_bench.legacy.faults import speedup_of
from zmlx_bench.legacy.layouts import capsules
from zmlx_bench.legacy.layouts.common import absent_files, build, family_of, has, utc
from zmlx_bench.legacy.schema import (
    Inconsistency,
    LegacyArm,
    LegacyFidelity,
    LegacyImport,
    LegacyRecord,
    LegacyShape,
    NotMeasured,
)
from zmlx_bench.legacy.source import Source, SourceModel, read_source


class _Row(SourceModel):
    model_id: str
    patterns_applied: list[str]
    hardware: str
    notes: str
    macos_version: str
    mlx_version: str
    zmlx_version: str
    zmlx_commit: str
    python_version: str
    timestamp: str
    fidelity: Literal["PASS", "FAIL", "SKIP"]
    fidelity_detail: str
    decode_tps_baseline: float
    decode_tps_patched: float
    decode_speedup: float
    decode_runs_baseline: list[float]
    decode_runs_patched: list[float]
    prefill_tps_baseline: float
    prefill_tps_patched: float
    prefill_change: float
    peak_mem_baseline_gb: float
    peak_mem_patched_gb: float
    max_tokens: int
    runs: int


_ROWS = TypeAdapter(list[_Row])


def recognise(data: Any) -> LegacyShape | None:
    """Name the layout, or return None."""
    if not isinstance(data, list) or not data:
        return None
    same = all(has(row, "model_id", "decode_tps_baseline", "fidelity_detail") for row in data)
    return "ledger_rows" if same else None


def _capsule_of(notes: str) -> str | None:
    found = re.search(r"\bcapsule=(\S+)", notes)
    return found.group(1) if found else None


def _fidelity(row: _Row) -> LegacyFidelity | None:
    counts = re.match(r"(\d+)/(\d+) tokens", row.fidelity_detail)
    if counts is None or row.fidelity == "SKIP":
        return None
    return LegacyFidelity(verdict=row.fidelity, matched=int(counts.group(1)), total=int(counts.group(2)))


def _variant(source: Source, row: _Row, capsule: str | None) -> str | None:
    """Return the variant that the row's capsule names, where that lies beside the ledger and has the same runs."""
    path = source.beside(capsule) if capsule else None
    if path is None or not path.is_file():
        return None
    origin = read_source(path)
    shape = capsules.recognise(origin.data)
    if shape is None:
        return None
    runs = tuple(row.decode_runs_patched)
    found = [r.variant for r in capsules.load(origin, shape).records if r.patched.decode_tok_s == runs]
    return found[0] if len(found) == 1 else None


def _record(source: Source, line: int, row: _Row) -> LegacyRecord:
    capsule = _capsule_of(row.notes)
    baseline = LegacyArm(
        decode_tok_s=tuple(row.decode_runs_baseline),
        stated_median_decode_tok_s=row.decode_tps_baseline,
        stated_median_prefill_tok_s=row.prefill_tps_baseline,
        peak_mem_gb=row.peak_mem_baseline_gb,
    )
    patched = LegacyArm(
        decode_tok_s=tuple(row.decode_runs_patched),
        stated_median_decode_tok_s=row.decode_tps_patched,
        stated_median_prefill_tok_s=row.prefill_tps_patched,
        peak_mem_gb=row.peak_mem_patched_gb,
    )
    return LegacyRecord(
        where=f"line {line}",
        family=family_of(row.model_id),
        model=row.model_id,
        variant=_variant(source, row, capsule),
        patterns=tuple(row.patterns_applied),
        tokens=row.max_tokens,
        runs=row.runs,
        baseline=baseline,
        patched=patched,
        fidelity=_fidelity(row),
        stated_speedup=row.decode_speedup,
        stated_prefill_change=row.prefill_change,
        speedup=speedup_of(baseline, patched),
        device=row.hardware,
        os=f"macOS {row.macos_version}",
        python=row.python_version,
        mlx=row.mlx_version,
        zmlx=row.zmlx_version,
        commit=row.zmlx_commit,
        capsule=capsule,
        notes=row.notes,
        time_utc=utc(datetime.fromisoformat(row.timestamp)),
    )


def _order(rows: list[_Row]) -> Iterator[Inconsistency]:
    for index in range(1, len(rows)):
        if datetime.fromisoformat(rows[index].timestamp) < datetime.fromisoformat(rows[index - 1].timestamp):
            yield Inconsistency(
                code="rows_out_of_order",
                field=f"line {index + 1}.timestamp",
                sentence=f"{rows[index].timestamp} stands after {rows[index - 1].timestamp}",
            )


def _local_dates(source: Source, records: list[LegacyRecord]) -> Iterator[Inconsistency]:
    for record in records:
        path = source.beside(record.capsule) if record.capsule else None
        if path is None or not path.is_file() or record.time_utc is None:
            continue
        data = read_source(path).data
        date = data["meta"].get("date") if has(data, "meta") and isinstance(data["meta"], dict) else None
        if isinstance(date, str) and date != record.time_utc[:10]:
            yield Inconsistency(
                code="local_date",
                field=f"{record.where}.timestamp",
                sentence=f"is of {record.time_utc[:10]} UTC, its capsule {path.name} is dated {date}, a local date",
            )


def load(source: Source, shape: LegacyShape) -> LegacyImport:
    """Map the rows; raise pydantic's ValidationError when a field is not what it should be."""
    rows = _ROWS.validate_python(source.data)
    records: list[LegacyRecord] = []
    skipped: list[NotMeasured] = []
    faults = list(_order(rows))
    for line, row in enumerate(rows, start=1):
        if row.fidelity != "SKIP":
            records.append(_record(source, line, row))
            continue
        skipped.append(NotMeasured(where=f"line {line}", variant=None, reason=row.fidelity_detail))
        if row.decode_tps_patched == 0 or row.decode_speedup == 0:
            sentence = "an arm that never ran is stored with 0 tok/s, 0 GB and a speed-up of 0"
            faults.append(
                Inconsistency(code="skip_stored_as_zeros", field=f"line {line}.decode_speedup", sentence=sentence)
            )
    named = [capsule for row in rows if (capsule := _capsule_of(row.notes)) is not None]
    faults += [
        Inconsistency(
            code="capsule_not_named",
            field=f"{record.where}.notes",
            sentence="names no capsule, so nothing shows where its figures come from",
        )
        for record in records
        if record.capsule is None
    ]
    faults += [*absent_files(source, named, "notes"), *_local_dates(source, records)]
    why_not = None if records else "no row of it was measured"
    return build(source, shape, records, why_not=why_not, not_measured=skipped, faults=faults)
