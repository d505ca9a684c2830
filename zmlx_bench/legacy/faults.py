"""What does not add up within one legacy record, recomputed from the record itself.

Stated figures are rounded, so a figure is called wrong only when no unrounded value could have given it.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from typing import Literal

from zmlx_bench.legacy.schema import Inconsistency, LegacyArm, LegacyRecord

COLD_FIRST_RUN = 1.3
"""A first prefill this many times slower than the median of the later ones is called cold."""

Stage = Literal["decode", "prefill"]


def half_unit(values: Sequence[float]) -> float:
    """Return half a unit in the last decimal place that any of `values` uses, at least one place being kept."""
    places = max((len(repr(value).partition(".")[2]) for value in values), default=1)
    return float(0.5 * 10 ** -max(places, 1))


def _runs(arm: LegacyArm, stage: Stage) -> tuple[float, ...]:
    return arm.decode_tok_s if stage == "decode" else arm.prefill_tok_s


def _stated_median(arm: LegacyArm, stage: Stage) -> float | None:
    return arm.stated_median_decode_tok_s if stage == "decode" else arm.stated_median_prefill_tok_s


def median_tok_s(arm: LegacyArm, stage: Stage) -> float | None:
    """Return an arm's median in tok/s: of its runs where there are any, else as stated, else None."""
    runs = _runs(arm, stage)
    return statistics.median(runs) if runs else _stated_median(arm, stage)


def speedup_of(baseline: LegacyArm, patched: LegacyArm) -> float | None:
    """Return the ratio of the decode medians, or None where one is absent."""
    below, above = median_tok_s(baseline, "decode"), median_tok_s(patched, "decode")
    return None if below is None or above is None else above / below


def _ratio_range(record: LegacyRecord, stage: Stage) -> tuple[float, float] | None:
    """Return the least and greatest ratio that medians rounded as stated allow."""
    bounds = []
    for arm in (record.baseline, record.patched):
        median = median_tok_s(arm, stage)
        if median is None:
            return None
        stated = _stated_median(arm, stage)
        seen = [*_runs(arm, stage), *([stated] if stated is not None else [])]
        bounds.append((median - half_unit(seen), median + half_unit(seen)))
    (low_base, high_base), (low, high) = bounds
    return low / high_base, high / low_base


def _outside(stated: float, allowed: tuple[float, float]) -> bool:
    slack = half_unit([stated])
    return not allowed[0] - slack <= stated <= allowed[1] + slack


def _medians(record: LegacyRecord) -> Iterator[Inconsistency]:
    arms = (("baseline", record.baseline), ("patched", record.patched))
    stages: tuple[Stage, Stage] = ("decode", "prefill")
    for name, arm in arms:
        for stage in stages:
            runs, stated = _runs(arm, stage), _stated_median(arm, stage)
            field = f"{record.where}.{name}.{stage}_tok_s"
            if runs and stated is not None:
                median = statistics.median(runs)
                if abs(median - stated) > half_unit([*runs, stated]) * 1.000001:
                    sentence = f"the median of the runs is {median:g} tok/s, the file says {stated:g}"
                    yield Inconsistency(code="median_not_of_runs", field=field, sentence=sentence)
            if runs and record.runs is not None and len(runs) != record.runs:
                sentence = f"{len(runs)} values stand for {record.runs} runs"
                yield Inconsistency(code="runs_missing", field=field, sentence=sentence)


def _ratios(record: LegacyRecord) -> Iterator[Inconsistency]:
    allowed = _ratio_range(record, "decode")
    if allowed is not None and record.stated_speedup is not None and _outside(record.stated_speedup, allowed):
        sentence = (
            f"the ratio of the medians lies between {allowed[0]:.4f} and {allowed[1]:.4f}, "
            f"the file says {record.stated_speedup:g}"
        )
        yield Inconsistency(code="speedup_not_ratio", field=f"{record.where}.decode_speedup", sentence=sentence)
    allowed = _ratio_range(record, "prefill")
    change = record.stated_prefill_change
    if allowed is not None and change is not None and _outside(1 + change, allowed):
        flipped = not _outside(1 - change, allowed)
        sentence = f"the medians give {allowed[0] - 1:+.4f} to {allowed[1] - 1:+.4f}, the file says {change:+.4f}"
        code = "prefill_sign_flipped" if flipped else "prefill_change_not_ratio"
        yield Inconsistency(code=code, field=f"{record.where}.prefill_change", sentence=sentence)


def _fidelity(record: LegacyRecord) -> Iterator[Inconsistency]:
    fidelity = record.fidelity
    if fidelity is None:
        return
    field = f"{record.where}.fidelity"
    if (fidelity.matched == fidelity.total) != (fidelity.verdict == "PASS"):
        sentence = f"{fidelity.verdict} with {fidelity.matched} of {fidelity.total} tokens matched"
        yield Inconsistency(code="fidelity_not_of_counts", field=field, sentence=sentence)
    if fidelity.total != record.tokens:
        sentence = f"{fidelity.total} tokens were compared of a budget of {record.tokens}"
        yield Inconsistency(code="budget_not_used", field=field, sentence=sentence)


def _cold_prefill(record: LegacyRecord) -> Iterator[Inconsistency]:
    for name, arm in (("baseline", record.baseline), ("patched", record.patched)):
        runs = arm.prefill_tok_s
        if len(runs) >= 2 and statistics.median(runs[1:]) > COLD_FIRST_RUN * runs[0]:
            ratio = statistics.median(runs[1:]) / runs[0]
            yield Inconsistency(
                code="cold_first_run",
                field=f"{record.where}.{name}.prefill_tok_s[0]",
                sentence=f"the first run is {ratio:.2f} times slower than the later ones and counts like them",
            )


def _option(command: str, name: str) -> str | None:
    found = re.search(rf"(?:^|\s)--{name}[ =](\S+)", command)
    return found.group(1) if found else None


def _command_complaints(record: LegacyRecord, command: str) -> Iterator[str]:
    for option, value in (("runs", record.runs), ("max-tokens", record.tokens)):
        given = _option(command, option)
        if value is not None and given is not None and given != str(value):
            yield f"it passes --{option} {given}, the record has {value}"
    for assignment in re.findall(r"ZMLX_[A-Z0-9_]+=[^\s)]+", record.notes or ""):
        if assignment not in command:
            yield f"the notes name {assignment}, the command does not set it"
    listed = re.search(r"--patterns((?: [a-z0-9_]+)+)", command)
    if listed and record.patterns is not None and set(listed.group(1).split()) != set(record.patterns):
        yield f"it patches {listed.group(1).strip()}, the record {' '.join(record.patterns)}"
    if re.search(r"kv\d", f"{record.capsule} {record.notes}") and "--kv-bits" not in command:
        yield "the record is of a quantised KV cache, the command has no --kv-bits"


def _command(record: LegacyRecord) -> Iterator[Inconsistency]:
    if record.command is not None:
        for complaint in _command_complaints(record, record.command):
            yield Inconsistency(
                code="command_does_not_reproduce",
                field=f"{record.where}.command",
                sentence=f"the command does not reproduce the run: {complaint}",
            )
    elif re.search(r"kv\d", record.capsule or ""):
        yield Inconsistency(
            code="kv_bits_missing",
            field=f"{record.where}.notes",
            sentence="the capsule's name says that the KV cache was quantised; no field says so",
        )


def _names(record: LegacyRecord) -> Iterator[Inconsistency]:
    if record.model is None:
        yield Inconsistency(code="model_not_named", field=f"{record.where}.model", sentence="no model is named")
    if record.variant is None:
        sentence = "no variant is named, only patterns, which several variants share"
        yield Inconsistency(code="variant_not_named", field=f"{record.where}.variant", sentence=sentence)


def record_faults(record: LegacyRecord) -> tuple[Inconsistency, ...]:
    """Return everything in `record` that does not add up."""
    finders = (_names, _medians, _ratios, _fidelity, _cold_prefill, _command)
    return tuple(fault for finder in finders for fault in finder(record))
