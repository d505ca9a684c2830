"""Stalls that agreeing sessions may have missed leave a gain, or there is no promotion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.analysis.decision.evidence_of import POLICY, arm, around, group, session
from zmlx_bench.analysis.decision import ArmEvidence, decide_group
from zmlx_bench.analysis.decision.rules import RULE, RULE_OF_BUDGETS, RULE_OF_MEANS
from zmlx_bench.analysis.decision.stalls import gate, missed, missed_share

LOSS = -math.log1p(-POLICY.stall_loss)
STALLED = -0.2
"""Log speed of a block in which the variant stalled, beside its gain."""


def robust(gain: Sequence[float], over: Sequence[float] | None = None, name: str = "fused") -> ArmEvidence:
    made = arm(gain, gain, name, over_incumbent=over)
    return replace(made, budgets={t: replace(b, estimator="bisquare") for t, b in made.budgets.items()})


def decided(*gains: Sequence[float], rule: int = RULE) -> tuple[str, str, int]:
    sessions = [session(robust(gain), hour=2 * i) for i, gain in enumerate(gains)]
    found = decide_group(group(*sessions), POLICY, rule=rule)
    return found.verdicts[0].verdict, found.verdicts[0].reason, found.rule


@given(st.integers(1, 200), st.floats(0, 1), st.floats(0.001, 0.5))
def test_the_bound_on_the_share_is_that_of_clopper_and_pearson(blocks: int, part: float, level: float) -> None:
    seen = round(part * (blocks - 1))
    share = float(missed_share(seen, blocks, level)) + seen / blocks
    assert stats.binom.cdf(seen, blocks, share) == pytest.approx(level, rel=1e-6)


def test_without_a_stall_the_bound_is_that_of_a_share_that_none_would_show() -> None:
    assert float(missed_share(0, 24, POLICY.stall_level)) == pytest.approx(1 - POLICY.stall_level ** (1 / 24))
    assert float(missed_share(24, 24, 0.03)) == pytest.approx(0.0, abs=1e-9)
    assert list(missed_share([0, 1, 2], 24, 0.03) > missed_share([0, 1, 2], 48, 0.03)) == [True] * 3


def test_what_may_have_been_missed_costs_what_a_stall_costs() -> None:
    found = missed(200, around(0.05, 12), "bisquare", POLICY)
    assert (found.tokens, found.blocks) == (200, 12)
    assert found.mean == pytest.approx(0.05)
    assert found.share == pytest.approx(1 - POLICY.stall_level ** (1 / 12))
    assert found.least == pytest.approx(0.05 - LOSS * found.share)


@pytest.mark.parametrize("gain", [0.02, 0.03, 0.05, 0.2])
def test_the_blocks_that_would_do_are_the_fewest(gain: float) -> None:
    found = missed(200, around(gain, 6), "bisquare", POLICY)
    assert found.enough is not None
    for blocks, left in ((found.enough, True), (found.enough - 1, False)):
        if blocks >= 6:
            assert (missed(200, around(gain, blocks), "bisquare", POLICY).least > 0) is left


def test_more_blocks_than_the_policy_has_are_not_promised() -> None:
    small = missed(200, around(0.012, 20), "bisquare", POLICY.model_copy(update={"max_blocks": 30}))
    assert small.enough is None
    text = gate("stalls", "gain", [small], (), POLICY.model_copy(update={"max_blocks": 30})).text
    assert text.endswith("; more than 30 blocks in all that agree would do")


def test_stalls_that_were_seen_are_in_the_mean_and_in_the_share() -> None:
    calm = missed(200, around(0.05, 24), "bisquare", POLICY)
    stalls = missed(200, (*around(0.05, 22), 0.05 + STALLED, 0.05 + STALLED), "bisquare", POLICY)
    assert stalls.mean == pytest.approx(calm.mean + 2 * STALLED / 24)
    assert stalls.share == pytest.approx(float(missed_share(2, 24, POLICY.stall_level)))
    assert stalls.least < 0 < calm.least


@pytest.mark.parametrize(("gain", "blocks"), [(0.05, 7), (0.03, 12), (0.2, 3)])
def test_two_sessions_promote_from_as_many_blocks_as_tell_and_with_one_fewer_do_not(gain: float, blocks: int) -> None:
    enough = missed(200, around(gain, 6), "bisquare", POLICY).enough
    assert enough is not None
    first = max(3, enough // 2)
    last = max(3, enough - first)
    assert decided(around(gain, first), around(gain, last)) == ("PROMOTE", "faster", RULE_OF_BUDGETS)
    if enough > 6:
        assert decided(around(gain, first), around(gain, last - 1)) == ("CANDIDATE", "stalls", RULE_OF_BUDGETS)
    assert enough == pytest.approx(2 * blocks, abs=4 if gain > 0.1 else 1)


def test_a_third_session_adds_its_blocks() -> None:
    gains = [around(0.05, 6)] * 3
    assert decided(*gains[:2])[:2] == ("CANDIDATE", "stalls")
    assert decided(*gains)[:2] == ("PROMOTE", "faster")


def test_the_text_says_how_many_blocks_would_do() -> None:
    sessions = [session(robust(around(0.05, 6)), hour=2 * i) for i in range(2)]
    (verdict,) = decide_group(group(*sessions), POLICY).verdicts
    told = next(each for each in verdict.gates if each.id == "stalls")
    enough = missed(200, around(0.05, 12), "bisquare", POLICY).enough
    assert told.text.endswith(f"; {enough} blocks in all that agree would do")
    assert told.outcome == "fail"
    assert told.threshold == 1.0


def test_evidence_of_means_and_earlier_rules_decide_as_before() -> None:
    means = [session(arm(around(0.05), around(0.05)), hour=2 * i) for i in range(2)]
    found = decide_group(group(*means), POLICY)
    assert (found.verdicts[0].verdict, found.rule) == ("PROMOTE", RULE_OF_MEANS)
    assert "stalls" not in [each.id for each in found.verdicts[0].gates]
    assert decided(around(0.05), around(0.05), rule=RULE_OF_MEANS) == ("PROMOTE", "faster", RULE_OF_MEANS)
    assert decided(around(0.05), around(0.05))[0] == "CANDIDATE"


def test_a_rival_of_the_incumbent_is_held_to_its_lead() -> None:
    gain, lead = 0.2, 0.05

    def beside(blocks: int) -> tuple[str, str]:
        sessions = [
            session(
                robust(around(gain - lead, blocks), name="old"),
                robust(around(gain, blocks), around(lead, blocks), "new"),
                hour=2 * i,
                incumbent="old",
            )
            for i in range(2)
        ]
        found = decide_group(group(*sessions, incumbent="old"), POLICY)
        (new,) = (each for each in found.verdicts if each.variant == "new")
        return new.verdict, new.reason

    assert beside(6) == ("CANDIDATE", "stalls_incumbent")
    assert beside(8) == ("PROMOTE", "faster")


def test_of_variants_that_stall_and_gain_nothing_few_pairs_of_sessions_get_through() -> None:
    """Of the sessions that see no stall of one process in 6, two of twelve blocks are too few for its gain between."""
    rng = np.random.default_rng(5)
    stalls = rng.random((4000, 24)) < 1 / 6
    gain = float(LOSS / 6)
    sample = gain + 0.001 * rng.standard_normal(stalls.shape) - LOSS * stalls
    through = [missed(200, each, "bisquare", POLICY).least > 0 for each in sample]
    assert np.mean(through) <= POLICY.stall_level
