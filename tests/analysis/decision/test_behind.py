"""What a session says of a variant and the default, measured in the same blocks before that was the default."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.analysis.decision.evidence_of import DIFFERENT, POLICY, arm, around, group, only, ratio, session
from zmlx_bench.analysis.decision import (
    ArmEvidence,
    GroupDecision,
    GroupVerdict,
    SessionEvidence,
    decide_group,
    judge_session,
)
from zmlx_bench.analysis.decision.behind import told
from zmlx_bench.analysis.decision.same_code import Entry


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


def beside(mine: ArmEvidence, theirs: ArmEvidence, reason: str = "best") -> GroupVerdict:
    """What is told of `a`, a CANDIDATE for this reason, in one session with the default `b`."""
    together = session(replace(mine, variant="a"), replace(theirs, variant="b"))
    judged = zip(together.arms, judge_session(together, POLICY), strict=True)
    entries = {one.variant: [Entry(together, one, verdict)] for one, verdict in judged}
    return told(replace(of(decide_group(group(together), POLICY), "a"), reason=reason), entries, "b", POLICY)


def flat(short: float, long: float) -> ArmEvidence:
    return arm([short] * 6, [long] * 6)


OPEN = ("sessions", "gap", "coverage", "repeat", "stalls", "best", "over_incumbent")
DECIDED = ("checkpoint", "environment", "unresolved", "incumbent", "fidelity", "equivalent", "repeat_incumbent")


@pytest.mark.parametrize(("reason", "behind"), [*((r, True) for r in OPEN), *((r, False) for r in DECIDED)])
def test_only_what_more_sessions_may_still_decide_is_told_to_be_behind(reason: str, behind: bool) -> None:
    assert beside(flat(0.05, 0.05), flat(0.4, 0.4), reason).behind is behind


@pytest.mark.parametrize(("slower", "behind"), [(0.0091, True), (0.0089, False), (-0.0091, False)])
def test_the_whole_interval_at_the_level_of_the_policy_lies_below_one(slower: float, behind: bool) -> None:
    """Of six blocks 0.01 around their mean it reaches 0.01 / sqrt(5) * 2.015 to each side: 0.00901."""
    mine = around(0.1 - slower, spread=0.01)
    assert POLICY.interval_level == 0.9
    assert beside(arm(mine, mine), flat(0.1, 0.1)).behind is behind


@pytest.mark.parametrize(
    ("mine", "least", "tokens"),
    [((0.3, 0.05), 0.35, 1024), ((0.05, 0.3), 0.35, 200), ((0.5, 0.3), 0.1, 1024), ((0.3, 0.5), 0.1, 200)],
)
def test_the_budget_at_which_it_is_furthest_behind_is_told(
    mine: tuple[float, float], least: float, tokens: int
) -> None:
    found = beside(flat(*mine), flat(0.4, 0.4))
    assert f"it was {math.exp(-least):.3f}x as fast as b, the default, at {tokens} tokens" in found.why


def test_only_budgets_that_both_have_are_compared() -> None:
    mine, theirs = flat(0.05, 0.3), flat(0.4, 0.4)
    one, other = (replace(each, budgets=only(each.budgets, 1024)) for each in (mine, theirs))
    for found in (beside(one, theirs), beside(mine, other)):
        assert found.why.endswith("at 1024 tokens")
    assert not beside(one, replace(theirs, budgets=only(theirs.budgets, 200))).behind


def in_blocks(gains: dict[int, float]) -> ArmEvidence:
    whole = arm(tuple(gains.values()), tuple(gains.values()))
    measured = ratio(tuple(gains.values()))
    assert measured is not None
    speedup = measured.model_copy(update={"blocks": tuple(gains)})
    budgets = {
        tokens: replace(each, figures=each.figures.model_copy(update={"speedup": speedup}))
        for tokens, each in whole.budgets.items()
    }
    return replace(whole, budgets=budgets)


@pytest.mark.parametrize(("shared", "behind"), [((), False), ((3,), False), ((3, 4), True)])
def test_blocks_are_compared_by_their_number_and_two_are_needed(shared: tuple[int, ...], behind: bool) -> None:
    """Whatever else was measured, here a variant that is faster in blocks that only one of the two has."""
    mine = in_blocks({1: 0.9, 2: 0.9, **{block: 0.1 * block for block in shared}})
    theirs = in_blocks({**{block: 0.1 * block + 0.05 for block in shared}, 5: 0.0, 6: 0.0})
    found = beside(mine, theirs)
    assert found.behind is behind
    assert (f"it was {math.exp(-0.05):.3f}x as fast as b" in found.why) is behind


def test_the_comparison_rests_on_what_the_session_is_estimated_with() -> None:
    """One process of the default that stalled hides nothing from an estimate that sets it aside."""
    stalled = (*around(0.4, blocks=7, spread=0.01), -0.6)
    means = arm([0.05] * 8, [0.05] * 8), arm(stalled, stalled)
    assert not beside(*means).behind
    robust = (
        replace(b, budgets={t: replace(each, estimator="bisquare") for t, each in b.budgets.items()}) for b in means
    )
    assert beside(*robust).behind
