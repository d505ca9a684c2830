"""The lab's repro capsules: `meta` and one object an arm; one variant, several, or several models."""

from __future__ import annotations

import re
from typing import Any

from pydantic import TypeAdapter

from zmlx_bench.legacy.faults import speedup_of
from zmlx_bench.legacy.layouts.common import (
    StatedFidelity,
    build,
    date_faults,
    family_of,
    fidelity_of,
    has,
)
from zmlx_bench.legacy.schema import (
    Inconsistency,
    LegacyArm,
    LegacyImport,
    LegacyRecord,
    LegacyShape,
    NotMeasured,
)
from zmlx_bench.legacy.source import Source, SourceModel


class _Meta(SourceModel):
    date: str
    device: str
    memory_gb: float
    macos: str
    mlx_version: str
    zmlx_version: str
    git_commit: str
    python: str
    note: str | None = None


class _Arm(SourceModel):
    prefill_tok_s: list[float]
    decode_tok_s: list[float]
    median_prefill: float
    median_decode: float
    peak_mem_gb: float
    patterns: list[str] | None = None


class _Summary(SourceModel):
    decode_speedup: float
    prefill_change: float


class _Entry(SourceModel):
    model: str
    variant: str | None = None
    max_tokens: int
    runs: int
    fidelity: StatedFidelity
    baseline: _Arm
    patched: _Arm
    summary: _Summary
    notes: str | None = None
    error: str | None = None


_ENTRIES = TypeAdapter(dict[str, _Entry])


def recognise(data: Any) -> LegacyShape | None:
    """Name the layout, or return None."""
    if not has(data, "meta") or not has(data["meta"], "git_commit", "zmlx_version"):
        return None
    entries = [value for key, value in data.items() if key != "meta"]
    if not entries or not all(has(entry, "model", "baseline", "patched", "fidelity") for entry in entries):
        return None
    if not all("variant" in entry for entry in entries):
        return "model_capsule"
    return "variant_capsule" if len(entries) == 1 else "multi_variant_capsule"


def _arm(stated: _Arm) -> LegacyArm:
    return LegacyArm(
        decode_tok_s=tuple(stated.decode_tok_s),
        prefill_tok_s=tuple(stated.prefill_tok_s),
        stated_median_decode_tok_s=stated.median_decode,
        stated_median_prefill_tok_s=stated.median_prefill,
        peak_mem_gb=stated.peak_mem_gb,
    )


def _command(meta: dict[str, Any], arm: str) -> str | None:
    named = meta.get(f"command_{arm}")
    if named is None and arm.rpartition("_")[2] in ("4bit", "8bit"):
        named = meta.get(f"command_{arm.rpartition('_')[2]}")
    return named if isinstance(named, str) else None


def _record(arm: str, entry: _Entry, meta: _Meta, command: str | None) -> LegacyRecord:
    baseline, patched = _arm(entry.baseline), _arm(entry.patched)
    notes = [text for text in (entry.notes, meta.note) if text]
    return LegacyRecord(
        where=arm,
        family=family_of(entry.model),
        model=entry.model,
        variant=entry.variant,
        patterns=None if entry.patched.patterns is None else tuple(entry.patched.patterns),
        tokens=entry.max_tokens,
        runs=entry.runs,
        baseline=baseline,
        patched=patched,
        fidelity=fidelity_of(entry.fidelity),
        stated_speedup=entry.summary.decode_speedup,
        stated_prefill_change=entry.summary.prefill_change,
        speedup=speedup_of(baseline, patched),
        device=meta.device,
        device_memory_gb=meta.memory_gb,
        os=f"macOS {meta.macos}",
        python=meta.python,
        mlx=meta.mlx_version,
        zmlx=meta.zmlx_version,
        commit=meta.git_commit,
        command=command,
        notes=" ".join(notes) or None,
        stated_date=meta.date,
    )


def _skipped(arm: str, entry: _Entry) -> tuple[NotMeasured, list[Inconsistency]]:
    reason = entry.error or "SKIP, without a reason"
    faults = []
    if entry.patched.median_decode == 0 or entry.summary.decode_speedup == 0:
        faults.append(
            Inconsistency(
                code="skip_stored_as_zeros",
                field=f"{arm}.patched",
                sentence="an arm that never ran is stored with 0 tok/s, 0 GB and a speed-up of 0",
            )
        )
    return NotMeasured(where=arm, variant=entry.variant, reason=reason), faults


def _kv_faults(source: Source, record: LegacyRecord) -> list[Inconsistency]:
    if record.command is None or "--kv-bits" in record.command or not re.search(r"_kv\d", source.name):
        return []
    return [
        Inconsistency(
            code="command_does_not_reproduce",
            field=f"{record.where}.command",
            sentence="the file's name says that the KV cache was quantised, the command has no --kv-bits",
        )
    ]


def load(source: Source, shape: LegacyShape) -> LegacyImport:
    """Map a capsule; raise pydantic's ValidationError when a field is not what it should be."""
    meta = _Meta.model_validate(source.data["meta"])
    entries = _ENTRIES.validate_python({key: value for key, value in source.data.items() if key != "meta"})
    records: list[LegacyRecord] = []
    skipped: list[NotMeasured] = []
    faults = list(date_faults(source, meta.date))
    for arm, entry in entries.items():
        if entry.fidelity.verdict == "SKIP":
            absent, more = _skipped(arm, entry)
            skipped.append(absent)
            faults += more
        else:
            record = _record(arm, entry, meta, _command(source.data["meta"], arm))
            records.append(record)
            faults += _kv_faults(source, record)
    others = sorted({record.model or "?" for record in records if record.family == "other"})
    why_not = f"of another model family than qwen3 and glm47: {', '.join(others)}" if others else None
    if why_not is None and not records:
        why_not = "no arm of it was measured"
    return build(source, shape, records, why_not=why_not, not_measured=skipped, faults=faults)
