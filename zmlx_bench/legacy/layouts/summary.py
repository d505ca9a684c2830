"""The lab's run summaries: one result a variant, medians only, with the capsule and command of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from zmlx_bench.errors import UnusableInput
from zmlx_bench.legacy.faults import speedup_of
from zmlx_bench.legacy.layouts import capsules
from zmlx_bench.legacy.layouts.common import (
    Family,
    StatedFidelity,
    absent_files,
    build,
    fidelity_of,
    has,
    utc_of_stamp,
)
from zmlx_bench.legacy.schema import (
    Inconsistency,
    LegacyArm,
    LegacyImport,
    LegacyRecord,
    LegacyShape,
    NotMeasured,
)
from zmlx_bench.legacy.source import Source, SourceModel, read_source


class _Decode(SourceModel):
    baseline: float
    patched: float
    speedup: float


class _Prefill(SourceModel):
    baseline: float
    patched: float
    change: float


class _Memory(SourceModel):
    baseline: float
    patched: float


class _Metrics(SourceModel):
    fidelity: StatedFidelity
    decode: _Decode
    prefill: _Prefill
    memory_gb: _Memory


class _Result(SourceModel):
    variant: str
    return_code: int
    capsule: str
    command: list[str]
    metrics: _Metrics | None = None


class _Summary(SourceModel):
    suite: Literal["qwen3", "glm47"]
    timestamp_utc: str
    runs: int
    max_tokens: int
    variants: list[str]
    results: list[_Result]


def recognise(data: Any) -> LegacyShape | None:
    """Name the layout, or return None."""
    return "run_summary" if has(data, "suite", "timestamp_utc", "results", "variants") else None


def _arm(decode: float, prefill: float, memory: float) -> LegacyArm:
    return LegacyArm(stated_median_decode_tok_s=decode, stated_median_prefill_tok_s=prefill, peak_mem_gb=memory)


def _record(index: int, result: _Result, metrics: _Metrics, summary: _Summary, family: Family) -> LegacyRecord:
    decode, prefill, memory = metrics.decode, metrics.prefill, metrics.memory_gb
    baseline = _arm(decode.baseline, prefill.baseline, memory.baseline)
    patched = _arm(decode.patched, prefill.patched, memory.patched)
    return LegacyRecord(
        where=f"results[{index}]",
        family=family,
        model=None,
        variant=result.variant,
        patterns=None,
        tokens=summary.max_tokens,
        runs=summary.runs,
        baseline=baseline,
        patched=patched,
        fidelity=fidelity_of(metrics.fidelity),
        stated_speedup=decode.speedup,
        stated_prefill_change=prefill.change,
        speedup=speedup_of(baseline, patched),
        command=" ".join(result.command),
        capsule=result.capsule,
        time_utc=utc_of_stamp(summary.timestamp_utc),
    )


def _against_capsule(source: Source, record: LegacyRecord) -> Iterator[Inconsistency]:
    """Compare a result with the capsule it names, where that lies beside the summary."""
    path = source.beside(record.capsule or "")
    if not path.is_file():
        return
    data = read_source(path).data
    if capsules.recognise(data) is None or record.variant not in data:
        raise UnusableInput(f"{path}: named by {source.name}, but holds no arm {record.variant!r}")
    origin = capsules.load(read_source(path), "variant_capsule")
    for twin in (other for other in origin.records if other.where == record.variant):
        pairs = (
            ("decode.baseline", record.baseline.stated_median_decode_tok_s, twin.baseline.stated_median_decode_tok_s),
            ("decode.patched", record.patched.stated_median_decode_tok_s, twin.patched.stated_median_decode_tok_s),
            ("decode.speedup", record.stated_speedup, twin.stated_speedup),
            ("prefill.change", record.stated_prefill_change, twin.stated_prefill_change),
        )
        for field, here, there in pairs:
            if here != there:
                yield Inconsistency(
                    code="capsule_disagrees",
                    field=f"{record.where}.metrics.{field}",
                    sentence=f"says {here}, its capsule {path.name} says {there}",
                )
        if twin.command is not None and twin.command != record.command:
            yield Inconsistency(
                code="command_differs",
                field=f"{record.where}.command",
                sentence=f"names another command than its capsule {path.name}: {record.command!r} "
                f"against {twin.command!r}",
            )


def load(source: Source, shape: LegacyShape) -> LegacyImport:
    """Map a summary; raise pydantic's ValidationError when a field is not what it should be."""
    summary = _Summary.model_validate(source.data)
    records: list[LegacyRecord] = []
    skipped: list[NotMeasured] = []
    for index, result in enumerate(summary.results):
        metrics = result.metrics
        if metrics is None or metrics.fidelity.verdict == "SKIP":
            reason = f"no metrics (return code {result.return_code})" if metrics is None else "SKIP"
            skipped.append(NotMeasured(where=f"results[{index}]", variant=result.variant, reason=reason))
        else:
            records.append(_record(index, result, metrics, summary, summary.suite))
    named = [result.capsule for result in summary.results]
    faults = list(absent_files(source, named, "results[].capsule"))
    faults += [fault for record in records for fault in _against_capsule(source, record)]
    why_not = None if records else "no arm of it was measured"
    return build(source, shape, records, why_not=why_not, not_measured=skipped, faults=faults)
