"""What a session says of a variant and the default, measured in the same blocks before that was the default."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.analysis.decision.evidence_of import DIFFERENT, POLICY, arm, around, group, session
from zmlx_bench.analysis.decision import GroupDecision, GroupVerdict, SessionEvidence, decide_group


def together(slow: float, quick: float, hour: float = 0, blocks: int = 6) -> SessionEvidence:
    arms = [arm(around(gain, blocks), around(gain, blocks), name=name) for name, gain in (("a", slow), ("b", quick))]
    return session(*arms, hour=hour)


def of(found: GroupDecision, name: str) -> GroupVerdict:
    return next(each for each in found.verdicts if each.variant == name)


@pytest.mark.parametrize(("incumbent", "reason"), [(None, "best"), ("b", "over_incumbent")])
def test_slower_than_what_becomes_or_became_the_default_in_the_same_blocks(incumbent: str | None, reason: str) -> None:
    found = decide_group(group(together(0.05, 0.4), together(0.05, 0.4, 2), incumbent=incumbent), POLICY)
    slower = of(found, "a")
    assert (found.recommended, slower.verdict, slower.reason, slower.behind) == ("b", "CANDIDATE", reason, True)
    latest = slower.latest.session
    assert slower.why == (
        f"in the blocks of {latest} it was {math.exp(-0.35):.3f}x as fast as b, the default, at 200 tokens"
    )
    assert not of(found, "b").behind


def test_alike_in_the_same_blocks_is_not_behind() -> None:
    found = decide_group(group(together(0.05, 0.05), together(0.05, 0.05, 2), incumbent="b"), POLICY)
    assert not any(each.behind for each in found.verdicts)
    assert of(found, "a").why == "not measured against the incumbent b in the same blocks of every session"


def test_nothing_is_said_of_other_sessions_than_the_one_shown() -> None:
    alone = session(arm(around(0.05), around(0.05), name="a"), hour=4)
    found = of(decide_group(group(together(0.05, 0.4), together(0.05, 0.4, 2), alone, incumbent="b"), POLICY), "a")
    assert (found.reason, found.behind) == ("over_incumbent", False)


def test_nothing_is_said_of_a_default_of_other_code_or_other_tokens_in_those_blocks() -> None:
    """It is another one that became the default, or none that can stay it."""
    earlier = together(0.05, 0.4)
    mine, theirs = (replace(one, identity=one.variant) for one in earlier.arms)
    earlier = replace(earlier, arms=(mine, theirs))
    wrong = arm(around(0.4), around(0.4), name="b", identity="b", fidelity=DIFFERENT)
    since = [session(theirs, hour=hour) for hour in (3, 6)]
    assert of(decide_group(group(earlier, *since, incumbent="b"), POLICY), "a").behind
    for other in (replace(theirs, identity="other"), wrong):
        found = of(decide_group(group(replace(earlier, arms=(mine, other)), *since, incumbent="b"), POLICY), "a")
        assert (found.verdict, found.behind) == ("CANDIDATE", False)
