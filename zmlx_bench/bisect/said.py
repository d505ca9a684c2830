"""What a finished session of a bisection says of a version."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zmlx_bench import printable
from zmlx_bench.analysis.decision import contrast as speeds
from zmlx_bench.analysis.decision.adapter import session_evidence
from zmlx_bench.analysis.fidelity import answers, common_prefix, same_tokens
from zmlx_bench.analysis.likeness import Change, change, likeness, name_of
from zmlx_bench.schema.bisection import BisectionStep, Divergence, Figure
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.plan import Contrast
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.run import Run
from zmlx_bench.schema.session import Session


@dataclass(frozen=True)
class Ran:
    """A finished session with its capsules, by variant."""

    session: Session
    capsules: Mapping[str, Capsule]


def by_speed(ran: Ran, contrast: Contrast, policy: Policy, step: BisectionStep) -> BisectionStep:
    """Say whether the ends differ in decode speed, or which of them a version is like."""
    evidence = session_evidence(ran.session, ran.capsules.items(), policy, {})
    found = speeds.against_good(evidence, contrast, policy)
    if contrast.asked is None:
        return _of_ends(found, step)
    like = speeds.like(evidence, contrast, policy)
    why = "" if like != "undecided" else f"not told apart from either end after {ran.session.blocks} blocks"
    return step.model_copy(update={"said": like, "why": why, "figure": _figure(found)})


def by_memory(ran: Ran, contrast: Contrast, step: BisectionStep) -> BisectionStep:
    """Say whether the ends differ in peak memory as MLX counts it, or which of them a version is like."""
    logs = [_peaks(ran.capsules[name]) for name in (contrast.good, contrast.bad, contrast.asked) if name is not None]
    looks = (min(map(len, logs)),)
    good, bad = logs[0][: looks[0]], logs[1][: looks[0]]
    if contrast.asked is None or contrast.sign is None:
        return _of_ends(change(good, bad, looks, 1, 0.0, "mean"), step)
    asked = logs[2][: looks[0]]
    like = name_of(int(likeness(good, bad, asked, contrast.sign, looks, 1, 0.0, "mean")))
    found = change(good, asked, looks, 1, 0.0, "mean")
    why = "" if like != "undecided" else "its peak memory is not told apart from either end's"
    return step.model_copy(update={"said": like, "why": why, "figure": _figure(found)})


def by_tokens(good: Ran, ran: Ran, arms: tuple[str, str], step: BisectionStep) -> BisectionStep:
    """Say whether a version's tokens are the good end's; `arms` are the good end's in its session, and its own.

    Tokens that are neither end's are a change too: the first lies before this version.
    """
    mine, reference = ran.capsules[arms[1]], good.capsules[arms[0]]
    repeats = _same(good.session, _baseline(reference), _baseline(mine), reference, mine)
    if repeats is not None:
        why = f"the stock model does not repeat its own tokens (prompt {repeats.prompt}, token {repeats.token})"
        return step.model_copy(update={"said": "undecided", "why": why})
    for capsule in (reference, mine):
        if not _steady(capsule):
            why = f"{capsule.variant.name} does not repeat its own tokens"
            return step.model_copy(update={"said": "undecided", "why": why})
    found = _same(good.session, _variant(reference), _variant(mine), reference, mine)
    if found is None:
        return step.model_copy(update={"said": "good"})
    return step.model_copy(update={"said": "bad", "divergence": _explained(found, (mine, reference))})


def failed(ran: Ran, name: str, step: BisectionStep) -> BisectionStep | None:
    """Say that a version does not load or run; None where its processes ended well."""
    capsule = ran.capsules.get(name)
    if capsule is not None and capsule.status == "ok":
        return None
    runs: Sequence[Run] = () if capsule is None else capsule.own_runs
    message = next((run.message for run in runs if run.status != "ok"), None)
    status = "unavailable" if capsule is None else capsule.status
    return step.model_copy(update={"said": "skipped", "why": f"{status}: {printable.said(message) or 'no message'}"})


def _of_ends(found: Change, step: BisectionStep) -> BisectionStep:
    said = {"changed": "bad", "same": "good", "undecided": "undecided"}[found.kind]
    why = "the ends are not told apart" if said == "undecided" else ""
    return step.model_copy(update={"said": said, "why": why, "figure": _figure(found)})


def _figure(found: Change) -> Figure | None:
    return None if found.ratio is None else Figure(ratio=found.ratio, low=found.low, high=found.high)


def _peaks(capsule: Capsule) -> list[float]:
    """Return ln of the peak memory of each block's process."""
    runs = sorted((run for run in capsule.runs.variant if run.status == "ok"), key=lambda run: run.block or 0)
    return [math.log(run.generations[0].peak_mem_gb) for run in runs if run.generations[0].peak_mem_gb > 0]


def _baseline(capsule: Capsule) -> tuple[Run, ...]:
    return (*capsule.fidelity_runs.baseline, *capsule.runs.baseline)


def _variant(capsule: Capsule) -> tuple[Run, ...]:
    return (*capsule.fidelity_runs.variant, *capsule.runs.variant)


def _steady(capsule: Capsule) -> bool:
    of_each = answers(_variant(capsule)).values()
    return all(same_tokens(generations, capsule.outputs, capsule.tokens) for generations in of_each)


def _same(
    session: Session, first: Sequence[Run], other: Sequence[Run], its: Capsule, others: Capsule
) -> Divergence | None:
    """Return the first token, in the order of the prompts, in which two arms differ; None where they do not."""
    good, bad = answers(first), answers(other)
    for prompt in (one.id for one in session.plan.prompts.prompt):
        if prompt not in good or prompt not in bad:
            continue
        a, b = its.outputs[good[prompt][0].output], others.outputs[bad[prompt][0].output]
        at = common_prefix(a, b)
        if at < max(len(a), len(b)):
            return Divergence(
                prompt=prompt,
                token=at,
                good=a[at] if at < len(a) else None,
                bad=b[at] if at < len(b) else None,
                margin=None,
            )
    return None


def _explained(found: Divergence, capsules: Sequence[Capsule]) -> Divergence:
    """Return a divergence with the baseline's margin there, where one of the two leaves the baseline's tokens there."""
    for capsule in capsules:
        fidelity = capsule.figures.fidelity
        for one in () if fidelity is None else fidelity.prompts:
            if one.prompt == found.prompt and one.first_divergence == found.token:
                return found.model_copy(update={"margin": one.baseline_margin})
    return found
