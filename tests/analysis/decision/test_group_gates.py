"""What stands between sessions, gate by gate: outcome, figure, threshold, capsules and words."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from scipy import special

from tests.analysis.decision.evidence_of import DIFFERENT, POLICY, arm, around, group, only, session
from zmlx_bench.analysis.decision import (
    ArmEvidence,
    Gate,
    GroupVerdict,
    SessionEvidence,
    decide_group,
    judge_session,
)
from zmlx_bench.analysis.decision.group import allowance

FAST, EQUAL, SLOW = around(0.05), around(0.0), around(-0.05)
TWO = ("capsules/s/t200.json", "capsules/s/t1024.json")


def fast(name: str = "fused", gain: float = 0.05, **changes: Any) -> ArmEvidence:
    return arm(around(gain), around(gain), name, **changes)


def verdict(*sessions: SessionEvidence, name: str = "fused", incumbent: str | None = None) -> GroupVerdict:
    decision = decide_group(group(*sessions, incumbent=incumbent), POLICY)
    return next(v for v in decision.verdicts if v.variant == name)


def gate(found: GroupVerdict, name: str) -> Gate:
    return next(g for g in found.gates if g.id == name)


def said(found: Gate) -> tuple[Any, ...]:
    return found.outcome, found.figure, found.threshold, found.capsules


def test_sessions_that_agree() -> None:
    found = verdict(session(fast()), session(fast(), hour=2))
    assert said(gate(found, "sessions")) == ("pass", 2, 2, TWO * 2)
    assert gate(found, "sessions").text == "2 of the 2 latest valid sessions say CANDIDATE"
    assert found.why == "faster at every budget in 2 sessions, every token identical"
    assert found.rests_on == (session(fast(), hour=2).session, session(fast()).session)
    assert found.gain == pytest.approx(0.05)
    assert found.latest.session == session(fast(), hour=2).session
    assert [g.id for g in found.gates[-4:]] == ["sessions", "gap", "repeat", "checkpoint"]
    assert said(gate(found, "checkpoint")) == ("pass", "tiny", "full, hub, path, synthetic, tiny", TWO * 2)
    assert gate(found, "checkpoint").text == "evidence of a tiny checkpoint may promote"


def test_one_session_alone() -> None:
    found = verdict(session(fast()))
    assert said(gate(found, "sessions")) == ("fail", 1, 2, TWO)
    assert found.why == "1 of the 2 latest valid sessions say CANDIDATE"
    assert found.rests_on == (session(fast()).session,)
    assert [g.id for g in found.gates[-2:]] == ["sessions", "checkpoint"]


def test_an_environment_of_its_own_is_named() -> None:
    elsewhere = replace(fast(), environment="mlx==0.32.5")
    found = verdict(session(elsewhere), session(elsewhere, hour=2))
    assert said(gate(found, "environment")) == ("fail", "mlx==0.32.5", "none", TWO * 2)
    assert found.why == gate(found, "environment").text
    assert found.why.startswith("it needs the environment mlx==0.32.5:")


def test_a_checkpoint_that_may_not_promote() -> None:
    full = POLICY.model_copy(update={"promotable_checkpoints": ("full", "hub")})
    decision = decide_group(group(session(fast()), session(fast(), hour=2)), full)
    found = gate(decision.verdicts[0], "checkpoint")
    assert said(found) == ("fail", "tiny", "full, hub", TWO * 2)
    assert found.text == "evidence of a tiny checkpoint ends at CANDIDATE"


def test_sessions_of_other_code_are_told() -> None:
    found = verdict(session(fast(identity="x")), session(fast(), hour=2))
    assert found.why == (
        "1 of the 2 latest valid sessions say CANDIDATE; sessions of other code or settings do not count"
    )
    agreeing = verdict(session(fast(identity="x")), session(fast(), hour=2), session(fast(), hour=4))
    assert gate(agreeing, "sessions").text == "2 of the 2 latest valid sessions say CANDIDATE"


@pytest.mark.parametrize(("more_s", "outcome"), [(0, "pass"), (-1, "fail")])
def test_the_gap_at_its_limit(more_s: int, outcome: str) -> None:
    first = session(fast())
    start = first.ended + timedelta(seconds=POLICY.session_gap_s + more_s)
    second = replace(session(fast(), hour=3), started=start, ended=start)
    found = gate(verdict(first, second), "gap")
    assert said(found) == (outcome, POLICY.session_gap_s + more_s, POLICY.session_gap_s, TWO * 2)
    assert found.text == "the sessions are 60 min apart, 60 needed"


def test_sessions_that_overlap_are_no_minutes_apart() -> None:
    found = gate(verdict(session(fast()), session(fast(), hour=0.1)), "gap")
    assert (found.outcome, found.figure) == ("fail", -240.0)
    assert found.text == "the sessions are 0 min apart, 60 needed"


@pytest.mark.parametrize(("off_s", "outcome"), [(10.0, "pass"), (-10.0, "pass"), (10.5, "fail"), (-7200.0, "fail")])
@pytest.mark.parametrize("which", [0, 1])
def test_a_session_while_which_the_clock_was_set_proves_no_gap(which: int, off_s: float, outcome: str) -> None:
    sessions = [session(fast(), hour=hour, clock_set_s=off_s if at == which else 0.0) for at, hour in enumerate((0, 9))]
    assert POLICY.clock_set_s == 10
    decided = verdict(*sessions)
    assert decided.verdict == ("PROMOTE" if outcome == "pass" else "CANDIDATE")
    found = gate(decided, "gap")
    assert found.outcome == outcome
    if outcome == "fail":
        assert said(found) == ("fail", abs(off_s), POLICY.clock_set_s, TWO * 2)
        name = sessions[which].session
        assert (
            found.text == f"the time of day was set by {abs(off_s):.0f} s during {name}, so that its times prove no gap"
        )


def test_two_rejections_withdraw_no_default_where_the_clock_was_set() -> None:
    slow = arm(SLOW, SLOW)
    sessions = [session(slow), session(slow, hour=9)]
    withdrawn = decide_group(group(*sessions, incumbent="fused"), POLICY)
    assert withdrawn.action == "demote"
    kept = decide_group(group(sessions[0], replace(sessions[1], clock_set_s=900.0), incumbent="fused"), POLICY)
    assert kept.action == "keep"


def test_of_three_sessions_the_two_that_are_nearest_make_the_gap() -> None:
    three = POLICY.model_copy(update={"sessions": 3})
    sessions = [session(fast(), hour=hour) for hour in (0, 5, 6.5)]
    decision = decide_group(group(*sessions), three)
    assert gate(decision.verdicts[0], "gap").figure == 80 * 60


def test_the_mean_over_sessions_against_what_an_arm_may_be_off() -> None:
    sessions = [session(arm(around(0.03), around(0.05)), hour=2 * i) for i in range(2)]
    found = gate(verdict(*sessions), "repeat")
    se = float(np.std(around(0.03), ddof=1)) / math.sqrt(6)
    needed = special.ndtri(1 - POLICY.promote_alpha) * math.sqrt(2 * (se**2 + 1.5 * POLICY.arm_effect**2)) / 2
    assert found.figure == pytest.approx(math.exp(0.03))
    assert found.threshold == pytest.approx(math.exp(needed))
    assert (found.outcome, found.capsules) == ("pass", TWO * 2)
    least = f"{math.exp(needed):.3f}x is what arms that are off for a session may show"
    assert found.text == f"mean gain of 2 sessions 1.030x at 200 tokens; {least}"
    other = [session(arm(around(0.05), around(0.03)), hour=2 * i) for i in range(2)]
    assert "at 1024 tokens" in gate(verdict(*other), "repeat").text


def test_of_budgets_alike_the_shorter_is_told() -> None:
    assert "at 200 tokens" in gate(verdict(session(fast()), session(fast(), hour=2)), "repeat").text


def test_more_planned_variants_ask_for_more_of_the_mean() -> None:
    crowd = session(fast(), planned=("fused", "a", "b", "c"))
    found = gate(verdict(crowd, session(fast(), hour=2)), "repeat")
    alone = gate(verdict(session(fast()), session(fast(), hour=2)), "repeat")
    assert found.threshold > alone.threshold  # type: ignore[operator]


def test_on_the_allowance_a_gain_is_not_above_it() -> None:
    none = POLICY.model_copy(update={"arm_effect": 0.0})
    assert float(allowance([0.001, 0.002], 1.5, 1, none)) == 0.0
    assert allowance([np.array([0.1, 0.2])], 1.5, 1, none).tolist() == [0.0, 0.0]
    spreads = [0.001, 0.003, 0.002]
    expected = special.ndtri(1 - POLICY.promote_alpha / 4) * math.sqrt(sum(s**2 + 2e-4 for s in spreads)) / 3
    assert float(allowance(spreads, 2.0, 4, POLICY)) == pytest.approx(expected)


def beside(over: float, hour: float, incumbent: str = "old") -> SessionEvidence:
    rival = fast("new", 0.03 + over, over_incumbent=around(over))
    return session(fast("old", 0.03), rival, hour=hour, incumbent=incumbent)


def test_over_the_incumbent_in_the_same_blocks() -> None:
    found = verdict(beside(0.06, 0), beside(0.06, 2), name="new", incumbent="old")
    assert said(gate(found, "over_incumbent")) == ("pass", 2, 2, TWO * 2)
    assert gate(found, "over_incumbent").text == "faster than the incumbent old in the same blocks"
    again = gate(found, "repeat_incumbent")
    se = float(np.std(around(0.06), ddof=1)) / math.sqrt(6)
    spread = math.sqrt(2 * (se**2 + 2.0 * POLICY.arm_effect**2)) / 2
    assert again.threshold == pytest.approx(math.exp(special.ndtri(1 - POLICY.promote_alpha / 2) * spread))
    assert again.figure == pytest.approx(math.exp(0.06))
    assert again.text.startswith("mean gain over the incumbent of 2 sessions 1.062x at 200 tokens")
    assert [g.id for g in found.gates[-6:]] == [
        "sessions", "gap", "repeat", "over_incumbent", "repeat_incumbent", "checkpoint",
    ]  # fmt: skip


def test_a_session_without_the_incumbent_or_with_another_does_not_show_it_beaten() -> None:
    for other in (session(fast("new", 0.09)), beside(0.06, 0, incumbent="new")):
        found = verdict(other, beside(0.06, 2), name="new", incumbent="old")
        assert said(gate(found, "over_incumbent")) == ("fail", 1, 2, TWO * 2)
        assert found.reason == "over_incumbent"
        assert found.why == "not measured against the incumbent old in the same blocks of every session"
        assert all(g.id != "repeat_incumbent" for g in found.gates)
    once = verdict(beside(0.06, 2), name="new", incumbent="old")
    assert said(gate(once, "over_incumbent")) == ("pass", 1, 1, TWO)
    assert all(g.id not in ("repeat_incumbent", "gap", "repeat") for g in once.gates)


def test_the_best_of_two_is_told_with_both_gains() -> None:
    sessions = [session(fast("a", 0.05), fast("b", 0.08), hour=2 * i) for i in range(2)]
    found = verdict(*sessions, name="a")
    best = gate(found, "best")
    assert said(best) == ("fail", pytest.approx(math.exp(0.05)), pytest.approx(math.exp(0.08)), ())
    assert best.text == "the default becomes b; it must be beaten in the same blocks"
    assert (found.verdict, found.reason, found.gates[-1]) == ("CANDIDATE", "best", best)


def test_of_two_alike_one_is_promoted() -> None:
    sessions = [session(fast("a"), fast("b"), hour=2 * i) for i in range(2)]
    decision = decide_group(group(*sessions), POLICY)
    assert decision.recommended == "b"
    assert sorted(v.verdict for v in decision.verdicts) == ["CANDIDATE", "PROMOTE"]


def test_the_gain_is_that_of_the_weakest_budget_over_the_sessions() -> None:
    sessions = [session(arm(around(0.05 + i / 50), around(0.04 + i / 50)), hour=2 * i) for i in range(2)]
    assert verdict(*sessions).gain == pytest.approx(0.05)
    one = arm(FAST, FAST)
    assert verdict(session(replace(one, budgets={}))).gain is None
    short = verdict(session(replace(one, budgets=only(one.budgets, 200))))
    assert (short.gain, short.reason) == (pytest.approx(0.05), "budget")


def test_at_most_so_many_sessions_are_averaged_and_none_before_one_that_disagrees() -> None:
    many = [session(fast(), hour=2 * i) for i in range(8)]
    assert len(verdict(*many).rests_on) == POLICY.sessions_averaged
    held = session(arm(FAST, EQUAL), hour=7)
    assert len(verdict(*many, held).rests_on) == 4


def test_what_is_recommended_and_why() -> None:
    nothing = decide_group(group(session(arm(FAST, EQUAL))), POLICY)
    assert (nothing.action, nothing.recommended, nothing.why) == ("none", None, "no variant has earned it")
    kept = decide_group(group(session(arm(FAST, EQUAL)), incumbent="old"), POLICY)
    assert (kept.action, kept.recommended) == ("keep", "old")
    assert kept.why == "promoted before, and nothing has beaten it"
    bad = [session(arm(SLOW, SLOW, "old"), hour=2 * i) for i in range(3)]
    gone = decide_group(group(*bad, incumbent="old"), POLICY)
    assert (gone.action, gone.recommended) == ("demote", None)
    assert gone.why == f"old was rejected in 2 sessions: {gone.verdicts[0].why}"
    assert gone.verdicts[0].rests_on == (bad[2].session, bad[1].session)
    new = decide_group(group(session(fast()), session(fast(), hour=2)), POLICY)
    assert new.why == new.verdicts[0].why


def test_an_incumbent_with_one_good_session_between_bad_ones_stays() -> None:
    sessions = session(arm(SLOW, SLOW, "old")), session(fast("old"), hour=2), session(arm(SLOW, SLOW, "old"), hour=4)
    assert decide_group(group(*sessions, incumbent="old"), POLICY).action == "keep"


def test_a_divergence_before_stands_and_names_its_session() -> None:
    bad = session(fast(fidelity=DIFFERENT))
    found = verdict(bad, session(fast(), hour=2), session(fast(), hour=4))
    assert (found.latest.session, found.rests_on) == (bad.session, (bad.session,))
    slow_before = verdict(session(arm(SLOW, SLOW)), session(fast(), hour=2), session(fast(), hour=4))
    assert slow_before.verdict == "PROMOTE"


def test_without_a_valid_session_the_latest_is_shown() -> None:
    throttled = [session(fast(throttled=True), hour=2 * i) for i in range(2)]
    found = verdict(*throttled)
    assert (found.verdict, found.reason, found.rests_on) == ("INCONCLUSIVE", "throttle", (throttled[1].session,))
    assert found.latest.session == throttled[1].session


def test_other_coverage_is_told_with_the_site() -> None:
    def covered(calls: dict[str, float] | None, hour: float) -> SessionEvidence:
        return session(replace(fast(), coverage=calls), hour=hour)

    found = verdict(covered(None, 0), covered({"router": 3.0}, 2))
    told = gate(found, "coverage")
    first, second = covered(None, 0).session, covered({}, 2).session
    assert said(told) == ("fail", 1, 0, TWO * 2)
    assert told.text == (
        f"{first} called router 0 times a token and {second} 3 times: they did not run the same, and only the latter "
        "counts"
    )
    both = verdict(covered({"router": 3.0, "a": 1.0}, 0), covered({"router": 3.0, "b": 2.5}, 2))
    assert "called a 1 times a token" in gate(both, "coverage").text
    found = verdict(*(covered({"router": 3.0 - (i == 0)}, 2 * i) for i in range(3)))
    assert (found.verdict, said(gate(found, "coverage"))[:3]) == ("PROMOTE", ("pass", 1, 0))


def test_the_digits_of_the_allowance_do_not_depend_on_how_errors_were_kept() -> None:
    narrow = np.array([0.001, 0.003], dtype=np.float32)
    found = allowance([narrow], 1.5, 2, POLICY)
    assert found.dtype == np.float64
    assert np.array_equal(found, allowance([narrow.astype(np.float64)], 1.5, 2, POLICY))


def test_fewer_agreeing_sessions_than_are_asked_for_rest_on_the_latest() -> None:
    three = POLICY.model_copy(update={"sessions": 3})
    sessions = [session(fast(), hour=2 * i) for i in range(2)]
    found = decide_group(group(*sessions), three).verdicts[0]
    assert said(gate(found, "sessions"))[:3] == ("fail", 2, 3)
    assert found.rests_on == (sessions[1].session,)


def test_a_gain_that_arms_off_for_a_session_may_show_fails() -> None:
    found = verdict(*(session(fast(gain=0.015), hour=2 * i) for i in range(2)))
    assert (gate(found, "repeat").outcome, found.why) == ("fail", gate(found, "repeat").text)


def test_only_sessions_that_beat_this_incumbent_count() -> None:
    held = verdict(beside(0.0, 0), beside(0.06, 2), name="new", incumbent="old")
    assert said(gate(held, "over_incumbent"))[:3] == ("fail", 1, 2)
    rival = fast("new", 0.09, over_incumbent=around(0.06))
    another = session(fast("older", 0.03), rival, hour=0, incumbent="older")
    found = verdict(another, beside(0.06, 2), name="new", incumbent="old")
    assert said(gate(found, "over_incumbent"))[:3] == ("fail", 1, 2)


def test_the_larger_gain_is_the_best_whatever_its_name() -> None:
    sessions = [session(fast("a", 0.08), fast("b", 0.05), hour=2 * i) for i in range(2)]
    assert decide_group(group(*sessions), POLICY).recommended == "a"


def test_without_a_ratio_a_variant_comes_last_of_its_kind() -> None:
    wild = (-0.3, 0.05, -0.2, 0.01, -0.25, 0.04)
    none = replace(arm(FAST, FAST, "a"), budgets={})
    decision = decide_group(group(session(none, arm(wild, wild, "b"))), POLICY)
    assert [(v.variant, v.verdict) for v in decision.verdicts] == [("b", "INCONCLUSIVE"), ("a", "INCONCLUSIVE")]


def test_verdicts_of_sessions_that_are_known_already_are_taken_as_they_are() -> None:
    one = session(fast())
    (known,) = judge_session(one, POLICY)
    other = replace(known, verdict="HOLD", reason="told", why="so")
    found = decide_group(group(one), POLICY, {one.session: [other]}).verdicts[0]
    assert (found.verdict, found.reason) == ("HOLD", "told")
    with pytest.raises(ValueError, match="zip"):
        decide_group(group(one), POLICY, {one.session: []})


def test_an_incumbent_keeps_its_own_verdict_beside_what_replaces_it() -> None:
    sessions = [beside(0.06, 2 * i) for i in range(2)]
    old, new = (verdict(*sessions, name=name, incumbent="old") for name in ("old", "new"))
    assert (old.verdict, new.verdict) == ("PROMOTE", "PROMOTE")


def test_a_demotion_shows_the_latest_of_the_bad_sessions() -> None:
    bad = [session(arm(around(-0.05 - i / 50), SLOW, "old"), hour=2 * i) for i in range(2)]
    decision = decide_group(group(*bad, incumbent="old"), POLICY)
    latest = judge_session(bad[1], POLICY)[0]
    assert decision.verdicts[0].latest == latest
    assert decision.why == f"old was rejected in 2 sessions: {latest.why}"
    assert latest.why != judge_session(bad[0], POLICY)[0].why
