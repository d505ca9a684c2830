from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.analysis.decision.evidence_of import DIFFERENT, POLICY, SAME, arm, around, budget, group, session
from zmlx_bench.analysis.decision import (
    RULE_OF_BYTES,
    ArmEvidence,
    GroupDecision,
    SessionEvidence,
    decide_group,
    judge_session,
)
from zmlx_bench.analysis.decision.group import allowance
from zmlx_bench.analysis.decision.rules import RULE_OF_BUDGETS, RULE_OF_MEANS, RULE_OF_TOKENS
from zmlx_bench.schema.figures import Fidelity

FAST, EQUAL, SLOW = around(0.05), around(0.0), around(-0.05)


def fast(name: str = "fused", gain: float = 0.05, identity: str = "a", **changes: object) -> ArmEvidence:
    return arm(around(gain), around(gain), name, identity, **changes)


def of(decision: GroupDecision, name: str = "fused") -> tuple[str, str]:
    found = next(v for v in decision.verdicts if v.variant == name)
    return found.verdict, found.reason


def test_two_candidate_sessions_apart_promote() -> None:
    decision = decide_group(group(session(fast()), session(fast(), hour=2)), POLICY)
    assert (decision.action, decision.recommended) == ("promote", "fused")
    assert of(decision) == ("PROMOTE", "faster")
    assert len(decision.verdicts[0].rests_on) == 2


def test_the_order_in_which_sessions_are_given_does_not_matter() -> None:
    one, two = session(fast()), session(fast(), hour=2)
    assert decide_group(group(one, two), POLICY) == decide_group(group(two, one), POLICY)


@pytest.mark.parametrize(
    ("earlier", "later", "reason"),
    [
        (fast(), None, "sessions"),
        (arm(FAST, EQUAL), fast(), "sessions"),
        (fast(identity="older source"), fast(), "sessions"),
        (fast(gain=0.015), fast(gain=0.015), "repeat"),
    ],
)
def test_what_keeps_a_candidate_from_promotion(earlier: ArmEvidence, later: ArmEvidence | None, reason: str) -> None:
    sessions = [session(earlier)] + ([session(later, hour=2)] if later else [])
    decision = decide_group(group(*sessions), POLICY)
    assert of(decision) == ("CANDIDATE", reason)
    assert (decision.action, decision.recommended) == ("none", None)


def test_sessions_too_close_do_not_promote() -> None:
    assert of(decide_group(group(session(fast()), session(fast(), hour=1)), POLICY)) == ("CANDIDATE", "gap")


def test_what_needs_another_environment_is_never_the_default() -> None:
    elsewhere = replace(fast(), environment="mlx==0.32.5")
    decision = decide_group(group(session(elsewhere), session(elsewhere, hour=2)), POLICY)
    assert of(decision) == ("CANDIDATE", "environment")
    assert (decision.action, decision.recommended) == ("none", None)


def test_a_checkpoint_kind_outside_the_policy_ends_at_candidate() -> None:
    sessions = session(fast()), session(fast(), hour=2)
    published_only = POLICY.model_copy(update={"promotable_checkpoints": ("full",)})
    assert of(decide_group(group(*sessions, kind="synthetic"), published_only)) == ("CANDIDATE", "checkpoint")
    assert of(decide_group(group(*sessions, kind="synthetic"), POLICY)) == ("PROMOTE", "faster")


def test_invalid_sessions_are_skipped_and_unresolved_ones_are_not() -> None:
    throttled = session(fast(throttled=True), hour=2)
    unresolved = session(arm(FAST, (0.1, -0.1, 0.1, -0.1)), hour=2)
    ends = session(fast()), session(fast(), hour=4)
    assert of(decide_group(group(ends[0], throttled, ends[1]), POLICY)) == ("PROMOTE", "faster")
    assert of(decide_group(group(ends[0], unresolved, ends[1]), POLICY)) == ("CANDIDATE", "sessions")


def test_the_latest_valid_session_speaks() -> None:
    decision = decide_group(group(session(fast()), session(fast(), hour=2), session(arm(FAST, SLOW), hour=4)), POLICY)
    assert of(decision) == ("REJECT", "performance")


def test_one_divergence_of_the_same_source_stands() -> None:
    bad = session(fast(fidelity=DIFFERENT))
    later = session(fast(), hour=2), session(fast(), hour=4)
    assert of(decide_group(group(bad, *later), POLICY)) == ("REJECT", "fidelity")
    repaired = session(fast(identity="b"), hour=2), session(fast(identity="b"), hour=4)
    assert of(decide_group(group(bad, *repaired), POLICY)) == ("PROMOTE", "faster")


def test_more_sessions_make_a_small_gain_promotable() -> None:
    small = [session(fast(gain=0.016), hour=2 * i) for i in range(4)]
    assert of(decide_group(group(*small[:2]), POLICY)) == ("CANDIDATE", "repeat")
    assert of(decide_group(group(*small), POLICY)) == ("PROMOTE", "faster")


def test_only_the_fastest_of_several_is_promoted() -> None:
    sessions = [session(fast("a", 0.05), fast("b", 0.08), hour=2 * i) for i in range(2)]
    decision = decide_group(group(*sessions), POLICY)
    assert decision.recommended == "b"
    assert of(decision, "b") == ("PROMOTE", "faster")
    assert of(decision, "a") == ("CANDIDATE", "best")


def with_incumbent(over: float, hour: float, new: str = "new") -> object:
    old = fast("old", 0.03)
    rival = fast(new, 0.03 + over, over_incumbent=around(over))
    return session(old, rival, hour=hour, incumbent="old")


def test_an_incumbent_is_replaced_only_by_what_beats_it() -> None:
    better = [with_incumbent(0.04, 2 * i) for i in range(2)]
    decision = decide_group(group(*better, incumbent="old"), POLICY)  # type: ignore[arg-type]
    assert (decision.action, decision.recommended) == ("promote", "new")
    same = [with_incumbent(0.0, 2 * i) for i in range(2)]
    decision = decide_group(group(*same, incumbent="old"), POLICY)  # type: ignore[arg-type]
    assert (decision.action, decision.recommended) == ("keep", "old")
    assert of(decision, "new") == ("HOLD", "incumbent")


def test_older_sessions_without_the_incumbent_do_not_stand_in_the_way() -> None:
    before = [session(fast("new", 0.07), hour=2 * i) for i in range(2)]
    beside = [with_incumbent(0.04, 4 + 2 * i) for i in range(2)]
    decision = decide_group(group(*before, *beside, incumbent="old"), POLICY)  # type: ignore[arg-type]
    assert (decision.action, decision.recommended) == ("promote", "new")
    assert len(next(v for v in decision.verdicts if v.variant == "new").rests_on) == 4


def test_a_lead_that_a_session_can_fake_does_not_replace_the_incumbent() -> None:
    close = [with_incumbent(0.018, 2 * i) for i in range(2)]
    decision = decide_group(group(*close, incumbent="old"), POLICY)  # type: ignore[arg-type]
    assert of(decision, "new") == ("CANDIDATE", "repeat_incumbent")
    assert decision.action == "keep"


def test_a_candidate_not_measured_beside_the_incumbent_is_not_promoted() -> None:
    sessions = session(fast("new")), session(fast("new"), hour=2)
    decision = decide_group(group(*sessions, incumbent="old"), POLICY)
    assert of(decision, "new") == ("CANDIDATE", "over_incumbent")
    assert decision.action == "keep"


def test_promoting_again_changes_nothing() -> None:
    sessions = [session(fast("a", 0.05), fast("b", 0.08), hour=2 * i) for i in range(2)]
    decision = decide_group(group(*sessions, incumbent="b"), POLICY)
    assert (decision.action, decision.recommended) == ("keep", "b")


@pytest.mark.parametrize("bad", [arm(SLOW, SLOW, "old"), arm(FAST, FAST, "old", fidelity=DIFFERENT)])
def test_a_demotion_takes_two_sessions(bad: ArmEvidence) -> None:
    once = decide_group(group(session(fast("old")), session(bad, hour=2), incumbent="old"), POLICY)
    assert once.action == "keep"
    assert of(once, "old")[0] == "REJECT"
    twice = decide_group(group(session(bad), session(bad, hour=2), incumbent="old"), POLICY)
    assert (twice.action, twice.recommended) == ("demote", None)
    hurried = decide_group(group(session(bad), session(bad, hour=0.5), incumbent="old"), POLICY)
    assert hurried.action == "keep"


def test_allowance_falls_with_sessions_and_grows_with_variants() -> None:
    two = float(allowance([0.001] * 2, 1.5, 1, POLICY))
    assert two == pytest.approx(2.3263 * np.sqrt(0.001**2 + 1.5 * 0.01**2) / np.sqrt(2), rel=1e-3)
    assert float(allowance([0.001] * 4, 1.5, 1, POLICY)) < two < float(allowance([0.001] * 2, 1.5, 5, POLICY))
    assert float(allowance([0.001] * 2, 1.5, 1, POLICY.model_copy(update={"arm_effect": 0.0}))) == 0.0


def test_verdicts_are_sorted_best_first() -> None:
    tested = [arm(SLOW, SLOW, "slow"), fast("fast"), arm(EQUAL, EQUAL, "equal"), fast("faster", 0.1)]
    decision = decide_group(group(session(*tested)), POLICY)
    assert [v.variant for v in decision.verdicts] == ["faster", "fast", "equal", "slow"]


def test_a_changed_identity_alone_is_told() -> None:
    decision = decide_group(group(session(fast(identity="x")), session(fast(), hour=2)), POLICY)
    assert "other code or settings" in decision.verdicts[0].why


def covering(calls: float | None, hour: float, identity: str = "a") -> SessionEvidence:
    found = replace(fast(identity=identity), coverage=None if calls is None else {"linear": calls, "router": 3.0})
    return session(replace(found, bytes_identity="same bytes"), hour=hour)


def test_sessions_that_called_a_site_another_number_of_times_do_not_count_together() -> None:
    decision = decide_group(group(covering(29, 0), covering(37, 2)), POLICY)
    assert of(decision) == ("CANDIDATE", "coverage")
    gate = next(gate for gate in decision.verdicts[0].gates if gate.id == "coverage")
    assert (gate.outcome, gate.figure, gate.threshold) == ("fail", 1, 0)
    assert "called linear 29 times a token and" in gate.text
    assert "37 times" in gate.text


def test_the_two_latest_sessions_that_ran_the_same_decide() -> None:
    ours = covering(37, 2), covering(37, 4)
    decision = decide_group(group(covering(37, 0), covering(29, 1), *ours), POLICY)
    assert of(decision) == ("PROMOTE", "faster")
    assert covering(29, 1).session not in decision.verdicts[0].rests_on
    gate = next(gate for gate in decision.verdicts[0].gates if gate.id == "coverage")
    assert gate.outcome == "pass"


def test_equal_coverage_needs_no_gate() -> None:
    decision = decide_group(group(covering(37, 0), covering(37, 2)), POLICY)
    assert of(decision) == ("PROMOTE", "faster")
    assert all(gate.id != "coverage" for gate in decision.verdicts[0].gates)


def test_rule_1_looks_at_the_bytes_of_kernels_alone() -> None:
    evidence = group(covering(29, 0, "older path"), covering(37, 2))
    assert of(decide_group(evidence, POLICY)) == ("CANDIDATE", "sessions")
    earlier = decide_group(evidence, POLICY, rule=RULE_OF_BYTES)
    assert (of(earlier), earlier.rule) == (("PROMOTE", "faster"), RULE_OF_BYTES)
    assert earlier.verdicts[0].latest.identity == "same bytes"


def longer(fidelity: Fidelity, *, alone: bool = False) -> ArmEvidence:
    """What was measured at a budget too, or alone, that the policy does not ask for."""
    there = {4096: budget(4096, FAST, fidelity=fidelity)}
    return replace(fast(), budgets=there if alone else {**fast().budgets, **there})


@pytest.mark.parametrize(
    "sessions",
    [
        (session(longer(DIFFERENT)), session(longer(DIFFERENT), hour=2)),
        (session(longer(DIFFERENT, alone=True)), session(fast(), hour=2), session(fast(), hour=4)),
    ],
)
def test_tokens_that_differ_at_any_budget_that_was_measured_reject(sessions: tuple[SessionEvidence, ...]) -> None:
    decision = decide_group(group(*sessions), POLICY)
    assert (of(decision), decision.rule, decision.action) == (("REJECT", "fidelity"), RULE_OF_TOKENS, "none")
    # What was promoted before is decided again as it was then.
    for rule in (RULE_OF_BUDGETS, RULE_OF_MEANS):
        earlier = decide_group(group(*sessions), POLICY, rule=rule)
        assert (of(earlier), earlier.rule) == (("PROMOTE", "faster"), rule)


def test_other_budgets_whose_tokens_are_the_same_leave_the_rule_as_it_was() -> None:
    decision = decide_group(group(session(longer(SAME)), session(longer(SAME), hour=2)), POLICY)
    assert (of(decision), decision.rule) == (("PROMOTE", "faster"), RULE_OF_MEANS)


def test_one_failure_of_the_tokens_stands_for_the_code_whatever_it_is_called() -> None:
    failed, renamed = (
        session(fast("old", fidelity=DIFFERENT)),
        [session(fast("new"), hour=2), session(fast("new"), hour=4)],
    )
    decision = decide_group(group(failed, *renamed), POLICY)
    assert (of(decision, "new"), decision.rule, decision.action) == (("REJECT", "fidelity"), RULE_OF_TOKENS, "none")
    told = next(v for v in decision.verdicts if v.variant == "new")
    assert told.why == f"the same code as old in {failed.session}: {judge_session(failed, POLICY)[0].why}"
    assert told.rests_on == (renamed[1].session,)
    assert of(decide_group(group(failed, *renamed), POLICY, rule=RULE_OF_BUDGETS), "new") == ("PROMOTE", "faster")
    mended = [session(fast("new", identity="b"), hour=hour) for hour in (6, 8)]
    assert of(decide_group(group(failed, *renamed, *mended), POLICY), "new") == ("PROMOTE", "faster")


def test_of_several_failures_of_a_code_under_other_names_the_latest_is_told() -> None:
    named = [("a", 0), ("b", 2), ("a", 4), ("b", 6), ("a", 8)]
    failed = [session(fast(name, fidelity=DIFFERENT), hour=hour) for name, hour in named]
    for until in range(1, len(failed) + 1):
        # A name that was measured again, with other code, stands first among the names.
        again = session(fast("b", identity="b"), hour=10)
        decision = decide_group(group(*failed[:until], again, session(fast("new"), hour=12)), POLICY)
        why = next(v.why for v in decision.verdicts if v.variant == "new")
        assert why.startswith(f"the same code as {named[until - 1][0]} in {failed[until - 1].session}: ")


@pytest.mark.parametrize(
    ("later", "reason"), [(fast(fidelity=DIFFERENT), "fidelity"), (arm(SLOW, SLOW), "performance")]
)
def test_a_default_that_was_rejected_once_is_not_said_to_be_unbeaten(later: ArmEvidence, reason: str) -> None:
    decision = decide_group(group(session(fast()), session(fast(), hour=2), incumbent="fused"), POLICY)
    assert decision.why == "promoted before, and nothing has beaten it"
    since = [session(fast()), session(fast(), hour=2), session(later, hour=4)]
    decision = decide_group(group(*since, incumbent="fused"), POLICY)
    assert (decision.action, decision.recommended) == ("keep", "fused")
    assert decision.why.startswith(f"promoted before, and rejected since ({reason}): ")
    assert decision.why.endswith("; it takes 2 sessions that reject it to withdraw it")
