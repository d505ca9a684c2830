"""The words of a notebook entry, written once, when the decision is recorded: nothing compares them with later ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from zmlx_bench.analysis.decision import GroupDecision, GroupKey, GroupVerdict, judge_session
from zmlx_bench.analysis.decision.verdict import BudgetFigures, SessionVerdict
from zmlx_bench.ledger.evidence_reader import SessionCapsules, named_by
from zmlx_bench.printable import clean, printable
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.machine import cores_told
from zmlx_bench.schema.policy import Policy

SHORT = 12
"""Hex digits of a hash that are shown."""


def prose_of(
    sessions: Sequence[SessionCapsules], decision: GroupDecision, incumbent: str | None, policy: Policy
) -> tuple[str, ...]:
    """Write what these sessions, latest first, say about their group, as lines of Markdown."""
    key, label = sessions[0].key, named_by(sessions).label
    capsules = {path: capsule for session in sessions for path, capsule in session.capsules.items()}
    shown = [s for s in sessions if any(s.evidence.session in v.rests_on for v in decision.verdicts)]
    sections = [
        f"**Question.** {_question(key, label, decision, incumbent)}",
        "**Kernels.**\n\n" + "\n".join(_kernels(capsules.values(), decision)),
        "**Primary capsules.**\n\n" + "\n".join(_primary(capsules, decision)),
        "**Key results.** Paired by block against the mean of baseline and null arm; intervals are "
        f"{policy.interval_level:.0%}, not adjusted for the number of variants.\n\n"
        + "\n".join(_results(shown, decision, policy)),
        "**Memory notes.**\n\n" + "\n".join(_memory(shown, decision)),
        f"**Decision.** {_decided(decision)}\n\n" + "\n".join(_verdict(v) for v in decision.verdicts),
    ]
    return tuple("\n\n".join(_inert(section) for section in sections).split("\n"))


def _inert(section: str) -> str:
    """Take HTML and control characters out of what capsules say: an entry is rendered, and marks are comments."""
    return "\n".join(printable(line) for line in section.split("\n")).replace("<", "&lt;")


def _decided(decision: GroupDecision) -> str:
    name = f"`{decision.recommended}`" if decision.recommended else "the stock model"
    verb = {"promote": "Promoted", "keep": "Kept", "demote": "Demoted to", "none": "The default is"}[decision.action]
    return f"{verb} {name}: {decision.why.rstrip('.')}."


def _question(key: GroupKey, label: str, decision: GroupDecision, incumbent: str | None) -> str:
    names = ", ".join(f"`{v.variant}`" for v in sorted(decision.verdicts, key=lambda v: v.variant))
    against = f" The default so far: `{incumbent}`." if incumbent else ""
    return (
        f"Which of {names} makes decode of {key.family} faster without changing a token, and may one become the "
        f"default? Checkpoint {label} (`{clean(key.checkpoint)}`), {key.backend}, "
        f"{', '.join([clean(key.device), *cores_told(key.device, key.cores)])}, mlx {clean(key.mlx)}.{against}"
    )


def _kernels(capsules: Iterable[Capsule], decision: GroupDecision) -> Iterable[str]:
    shown = {v.variant: v.latest.session for v in decision.verdicts}
    variants = {c.variant.name: c.variant for c in capsules if shown.get(c.variant.name) == c.session}
    for name in sorted(variants):
        variant = variants[name]
        parts = [
            f"{' + '.join(k.sites)} = `{k.kernel}.{k.mode}` (source `{k.source_sha256[:SHORT]}`)"
            for k in variant.kernels
        ]
        parts += [f"{variable}={clean(value)}" for variable, value in sorted(variant.env.items())]
        if (other := variant.environment) is not None:
            parts.append(f"in the environment {clean(other.asked)} (`{other.digest[:SHORT]}`)")
        yield f"- `{name}`: {', '.join(parts) or 'the stock model'}. {_sentence(clean(variant.why))}"


def _primary(capsules: Mapping[str, Capsule], decision: GroupDecision) -> Iterable[str]:
    """List the capsules that a verdict rests on, and count those that only took part."""
    rests_on = {(verdict.variant, session) for verdict in decision.verdicts for session in verdict.rests_on}
    named = {path: c for path, c in capsules.items() if (c.variant.name, c.session) in rests_on}
    for path, capsule in named.items():
        yield f"- `{path}` (sha256 `{capsule.content_sha256[:SHORT]}`)"
    if others := len(capsules) - len(named):
        yield f"- and {others} other{'' if others == 1 else 's'} of the group, on which no verdict rests now"


def _results(body: Sequence[SessionCapsules], decision: GroupDecision, policy: Policy) -> Iterable[str]:
    budgets = sorted(policy.min_blocks)
    yield "| variant | session | " + " | ".join(f"{tokens} tokens" for tokens in budgets) + " | tokens |"
    yield "| --- | --- | " + " | ".join("---" for _ in budgets) + " | --- |"
    judged = {session.evidence.session: judge_session(session.evidence, policy) for session in body}
    for verdict in decision.verdicts:
        for name in verdict.rests_on:
            found = next(v for v in judged[name] if v.variant == verdict.variant)
            shown = {figures.tokens: speed(figures) for figures in found.budgets}
            cells = " | ".join(shown.get(tokens, "not measured") for tokens in budgets)
            yield f"| `{verdict.variant}` | {name} | {cells} | {tokens_of(found)} |"
    yield ""
    for session in body:
        floors = {f.tokens: f for verdict in judged[session.evidence.session] for f in verdict.budgets}
        told = ", ".join(
            f"{tokens} tokens {floors[tokens].null_speedup:.4f}x"
            for tokens in budgets
            if tokens in floors and floors[tokens].null_speedup is not None
        )
        yield f"- Null arm of {session.evidence.session}: {told or 'not measured'}."


def speed(figures: BudgetFigures) -> str:
    """Return `1.050x [1.042, 1.058], 6 blocks`."""
    if figures.speedup is None:
        return "not measured"
    span = f" [{figures.low:.3f}, {figures.high:.3f}]" if figures.low is not None and figures.high is not None else ""
    return f"{figures.speedup:.3f}x{span}, {figures.blocks} block{'' if figures.blocks == 1 else 's'}"


def tokens_of(verdict: SessionVerdict) -> str:
    """Return what the fidelity gate found: `1200/1200`."""
    gate = next((gate for gate in verdict.gates if gate.id == "fidelity"), None)
    return "not compared" if gate is None or gate.figure is None else str(gate.figure)


def _memory(body: Sequence[SessionCapsules], decision: GroupDecision) -> Iterable[str]:
    sessions = {session.evidence.session: session for session in body}
    for verdict in decision.verdicts:
        parts = []
        for capsule in sessions[verdict.latest.session].capsules.values():
            if capsule.variant.name != verdict.variant:
                continue
            ours, stock = capsule.figures.memory, capsule.figures.baseline_memory
            if ours.peak_mem_gb is None or stock.peak_mem_gb is None:
                continue
            resident = ""
            if ours.peak_rss_gb is not None and stock.peak_rss_gb is not None:
                resident = f", resident {ours.peak_rss_gb:.3f} GB against {stock.peak_rss_gb:.3f} GB"
            parts.append(
                f"{capsule.tokens} tokens: peak {ours.peak_mem_gb:.4f} GB against {stock.peak_mem_gb:.4f} GB{resident}"
            )
        yield f"- `{verdict.variant}`: {'; '.join(parts) or 'not measured'}."


def _verdict(verdict: GroupVerdict) -> str:
    return f"- `{verdict.variant}`: {verdict.verdict}{_reason(verdict)}. {_sentence(verdict.why)}{blocks_of(verdict)}"


def _reason(verdict: GroupVerdict) -> str:
    return "" if verdict.verdict == "PROMOTE" else f" ({verdict.reason})"


def blocks_of(verdict: GroupVerdict) -> str:
    """Return what an undecided variant needs; empty for the others."""
    if verdict.verdict != "INCONCLUSIVE" or verdict.latest.blocks_needed is None:
        return ""
    more = "more than " if verdict.latest.blocks_capped else ""
    return f" Blocks that a new session needs: {more}{verdict.latest.blocks_needed}."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
