"""One failure of the tokens stands for the code that failed, under whatever name it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zmlx_bench.analysis.decision.evidence import ArmEvidence, SessionEvidence
from zmlx_bench.analysis.decision.verdict import Gate, SessionVerdict


@dataclass(frozen=True)
class Entry:
    """A variant in one session."""

    session: SessionEvidence
    arm: ArmEvidence
    verdict: SessionVerdict


def namesakes(entries: Mapping[str, Sequence[Entry]]) -> dict[str, Entry]:
    """Return, by variant, the latest session in which its code said other tokens under another name.

    `entries` are those of each variant, latest first, whose code is the first one's. One that failed under its own name
    too is left out.
    """
    wrong = [e for found in entries.values() for e in found if e.verdict.wrong_tokens]
    failed = {e.arm.identity: e for e in sorted(wrong, key=lambda e: (e.session.started, e.session.session))}
    codes = {name: found[0].arm.identity for name, found in entries.items()}
    return {
        name: failed[code]
        for name, code in codes.items()
        if code in failed and not any(e.verdict.wrong_tokens and e.arm.identity == code for e in entries[name])
    }


def gate(failed: Entry) -> Gate:
    """Return the gate that a variant fails because its code said other tokens under another name."""
    capsules = tuple(budget.capsule for budget in failed.arm.budgets.values())
    text = f"the same code as {failed.arm.variant} in {failed.session.session}: {failed.verdict.why}"
    return Gate("fidelity", "fail", failed.arm.variant, "all", capsules, text)
