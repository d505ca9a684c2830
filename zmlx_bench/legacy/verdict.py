"""What the predecessor's evidence is worth: it can reject a variant for its tokens, and never makes a CANDIDATE.

Its baseline and patched arms ran in one process each, one after the other: there are no pairs and no A/A arm,
so no interval can be given. What remains is what a reader would say about the figures at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from zmlx_bench.legacy.schema import LegacyImport, LegacyRecord

LAB_MINIMUM_RUNS = {200: 3, 1024: 2}
"""The lab's own rule for each budget."""


@dataclass(frozen=True)
class LegacyMeasurement:
    """A record with the file it comes from."""

    source: str
    counts: bool
    """False for an aggregate's copy, which may speak against a variant and never for it."""
    record: LegacyRecord

    @property
    def when(self) -> str:
        """Sortable time as far as the file tells."""
        return self.record.time_utc or self.record.stated_date or ""


@dataclass(frozen=True)
class LegacyVerdict:
    """The verdict on one variant of a family over all imported files."""

    family: str
    variant: str
    """The lab's name, or its patterns and place where the file gives no name."""
    verdict: Literal["REJECT", "HOLD", "INCONCLUSIVE"]
    reason: Literal["fidelity", "not_faster", "unpaired"]
    why: tuple[str, ...]
    """Sentences, the gravest first."""
    measurements: tuple[LegacyMeasurement, ...]
    """Each measurement once, the earliest first."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The files it rests on."""
        return tuple(dict.fromkeys(m.source for m in self.measurements))


def _same_measurement(record: LegacyRecord) -> tuple[object, ...]:
    """Return what two files that tell of the same process have in common."""
    base, patched = record.baseline, record.patched
    return (record.tokens, base.stated_median_decode_tok_s, patched.stated_median_decode_tok_s, record.runs)


def _label(source: str, record: LegacyRecord) -> str:
    if record.variant is not None:
        return record.variant
    return f"{'+'.join(record.patterns or ()) or 'unnamed'} ({source}, {record.where})"


def _groups(imports: Iterable[LegacyImport]) -> dict[tuple[str, str], list[LegacyMeasurement]]:
    groups: dict[tuple[str, str], list[LegacyMeasurement]] = {}
    for legacy in sorted(imports, key=lambda i: (not i.is_evidence, i.shape, i.source_name)):
        for record in legacy.records:
            if record.family == "other":
                continue
            group = groups.setdefault((record.family, _label(legacy.source_name, record)), [])
            if all(_same_measurement(record) != _same_measurement(m.record) for m in group):
                group.append(LegacyMeasurement(legacy.source_name, legacy.is_evidence, record))
    return groups


def _figure(measurement: LegacyMeasurement) -> str:
    record = measurement.record
    ratio = "no ratio" if record.speedup is None else f"{record.speedup:.4f}x"
    return f"{ratio} at {record.tokens} tokens ({measurement.source})"


def _fidelity_failures(measurements: Sequence[LegacyMeasurement]) -> Iterator[str]:
    for measurement in measurements:
        fidelity = measurement.record.fidelity
        if measurement.counts and fidelity is not None and fidelity.matched < fidelity.total:
            yield (
                f"only {fidelity.matched} of {fidelity.total} tokens are the baseline's, "
                f"at {_figure(measurement)}: a speed-up of another text"
            )


def _not_faster(measurements: Sequence[LegacyMeasurement]) -> Iterator[str]:
    """Say what the latest figure of each budget is where it is not above 1, or where an aggregate's is not."""
    for tokens in sorted({m.record.tokens for m in measurements}):
        at_budget = [m for m in measurements if m.record.tokens == tokens and m.record.speedup is not None]
        slow = [m for m in at_budget if (m.record.speedup or 0) <= 1]
        fast = [m for m in at_budget if (m.record.speedup or 0) > 1]
        if slow and slow[-1].when >= max((m.when for m in fast), default=""):
            best = max(fast, key=lambda m: m.record.speedup or 0.0, default=None)
            against = "" if best is None else f", after {_figure(best)}"
            yield f"not faster than the unpatched model when last measured: {_figure(slow[-1])}{against}"


def _beaten(measurements: Sequence[LegacyMeasurement], imports: Sequence[LegacyImport], family: str) -> Iterator[str]:
    """Say which other variant did better in the same file at the same budget."""
    for measurement in measurements:
        mine = measurement.record
        if mine.speedup is None:
            continue
        rivals = [
            other
            for legacy in imports
            if legacy.source_name == measurement.source and legacy.shape == "run_summary"
            for other in legacy.records
            if other.tokens == mine.tokens and other.family == family and other.variant != mine.variant
        ]
        best = max(rivals, key=lambda r: r.speedup or 0.0, default=None)
        if best is not None and best.speedup is not None and best.speedup > mine.speedup:
            yield (
                f"beaten at {mine.tokens} tokens in {measurement.source}: "
                f"{mine.speedup:.4f}x against {best.speedup:.4f}x of {best.variant}"
            )


def _weaknesses(measurements: Sequence[LegacyMeasurement]) -> Iterator[str]:
    counting = [m for m in measurements if m.counts]
    yield (
        f"unpaired: {len(counting)} process{'' if len(counting) == 1 else 'es'}, each with the baseline first and "
        "the patched model after it, no A/A arm; the runs of one process are one sample, so there is no interval"
    )
    ratios = [m.record.speedup for m in counting if m.record.speedup is not None]
    if len(ratios) > 1 and min(ratios) <= 1 < max(ratios):
        yield f"its processes disagree: from {min(ratios):.4f}x to {max(ratios):.4f}x"
    models = sorted({m.record.model.rpartition("/")[2] for m in measurements if m.record.model is not None})
    if len(models) > 1:
        yield f"its figures are of different checkpoints: {', '.join(models)}"
    for tokens, least in LAB_MINIMUM_RUNS.items():
        runs = [m.record.runs for m in counting if m.record.tokens == tokens]
        if not runs:
            yield f"nothing measured at {tokens} tokens"
        elif max(r or 0 for r in runs) < least:
            yield f"{max(r or 0 for r in runs)} runs at {tokens} tokens, fewer than the lab's own minimum of {least}"


def legacy_verdicts(imports: Sequence[LegacyImport]) -> tuple[LegacyVerdict, ...]:
    """Return the verdict on every variant that the imports measured, by family and name."""
    verdicts = []
    for (family, variant), group in sorted(_groups(imports).items()):
        measurements = tuple(sorted(group, key=lambda m: m.when))
        if not any(m.counts for m in measurements):
            continue
        failures = tuple(_fidelity_failures(measurements))
        contradicted = tuple(_not_faster(measurements))
        context = (*_beaten(measurements, imports, family), *_weaknesses(measurements))
        if failures:
            verdict = LegacyVerdict(family, variant, "REJECT", "fidelity", failures, measurements)
        elif contradicted:
            why = (*contradicted, *context)
            verdict = LegacyVerdict(family, variant, "HOLD", "not_faster", why, measurements)
        else:
            verdict = LegacyVerdict(family, variant, "INCONCLUSIVE", "unpaired", context, measurements)
        verdicts.append(verdict)
    return tuple(verdicts)
