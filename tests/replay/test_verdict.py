"""A replay agrees, disagrees, or says that nothing can be compared."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.decision.evidence_of import POLICY, around, ratio
from tests.builders import Made, add_session
from zmlx_bench.analysis.figures import derive
from zmlx_bench.ledger import capsules
from zmlx_bench.replay.verdict import RESOLUTION, blocks_needed, judge_replay, speed_change
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.identity import Identity
from zmlx_bench.workspace import Workspace

Replayed = Callable[..., tuple[Capsule, Capsule]]


@pytest.fixture
def replayed(decided: Workspace) -> Replayed:
    """Return a capsule of `combine_one` (a tenth faster) and one of a later session of it alone."""

    def make(again: Made, blocks: int = 3) -> tuple[Capsule, Capsule]:
        later = add_session(decided, 99, [again], blocks=blocks)

        def read(session: str, runs: int) -> Capsule:
            return capsules.read(decided.session(session) / f"qwen3_tiny_cpu_t50_r{runs}_combine_one.json")

        return read("20300101T100000Z-qwen3-0002", 3), read(later.session, blocks)

    return make


SAME = Made("combine_one", 0.1)


def test_the_same_effect_again_agrees(replayed: Replayed) -> None:
    verdict = judge_replay(*replayed(SAME), POLICY)
    assert verdict.answer == "agree"
    assert verdict.change is not None
    assert verdict.change.low < 1 < verdict.change.high
    assert {d.field for d in verdict.differences} == {"arms in a block"}


def test_a_speed_up_that_is_gone_disagrees(replayed: Replayed) -> None:
    verdict = judge_replay(*replayed(Made("combine_one", 0.0)), POLICY)
    assert verdict.answer == "disagree"
    assert verdict.change is not None
    assert verdict.change.value == pytest.approx(math.exp(-0.1), abs=0.01)


def test_other_tokens_disagree_however_equal_the_speed(replayed: Replayed) -> None:
    verdict = judge_replay(*replayed(Made("combine_one", 0.1, wrong_at=5)), POLICY)
    assert (verdict.answer, verdict.why) == ("disagree", "tokens were identical, here diverged")


def test_tokens_that_differ_from_stocks_in_both_are_not_called_the_same(decided: Workspace) -> None:
    wrong = Made("other_one", 0.0, wrong_at=10)
    later = add_session(decided, 99, [wrong], blocks=3)
    original, replay = (
        capsules.read(decided.session(session) / "qwen3_tiny_cpu_t50_r3_other_one.json")
        for session in ("20300101T100000Z-qwen3-0002", later.session)
    )
    verdict = judge_replay(original, replay, POLICY)
    assert verdict.answer == "agree"
    assert verdict.why.startswith("tokens that are not stock's in both; the speed-up here is ")


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"throttled": True}, "the machine throttled"),
        ({"compressed_gb": 2.5}, "macOS compressed up to 2.50 GB more while a process ran"),
        ({"clock_disagreement": 0.5}, "the clocks of worker and supervisor differ by up to 50.00%"),
        ({"null": ratio(around(0.05))}, "two equal arms differ"),
    ],
)
@pytest.mark.parametrize("disturbed", [0, 1])
def test_a_speed_that_decides_nothing_is_no_answer(
    replayed: Replayed, figures: dict[str, object], said: str, disturbed: int
) -> None:
    pair = list(replayed(Made("combine_one", 0.0)))
    update = {"figures": pair[disturbed].figures.model_copy(update=figures)}
    pair[disturbed] = pair[disturbed].model_copy(update=update)
    verdict = judge_replay(pair[0], pair[1], POLICY)
    where = ("in the capsule", "here")[disturbed]
    assert (verdict.answer, verdict.why) == ("not comparable", f"{said} {where}: no speed can be compared")


def test_one_block_cannot_be_compared(replayed: Replayed) -> None:
    verdict = judge_replay(*replayed(SAME, blocks=1), POLICY)
    assert (verdict.answer, verdict.change) == ("not comparable", None)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("machine", "device"), "Another CPU", "device"),
        (("machine", "backend"), "cuda", "backend"),
        (("software", "mlx"), "9.9", "mlx"),
        (("checkpoint", "digest"), "f" * 64, "checkpoint"),
    ],
)
def test_another_group_cannot_be_compared(replayed: Replayed, path: tuple[str, str], value: str, field: str) -> None:
    original, replay = replayed(SAME)
    part = getattr(replay, path[0]).model_copy(update={path[1]: value})
    verdict = judge_replay(original, replay.model_copy(update={path[0]: part}), POLICY)
    assert verdict.answer == "not comparable"
    assert verdict.why.startswith(f"{field} was ")


def test_changed_kernel_source_cannot_be_compared(replayed: Replayed) -> None:
    original, replay = replayed(SAME)
    kernel = replay.variant.kernels[0].model_copy(update={"source_sha256": "a" * 64})
    changed = replay.model_copy(update={"variant": replay.variant.model_copy(update={"kernels": (kernel,)})})
    assert judge_replay(original, changed, POLICY).answer == "not comparable"


def with_identity(capsule: Capsule, source: str, path: str) -> Capsule:
    (kernel,) = capsule.variant.kernels
    identity = Identity(
        formula=1, digest="1" * 64, declaration="2" * 64, kernels={kernel.kernel: "3" * 64}, path=path * 64
    )
    kernels = (kernel.model_copy(update={"source_sha256": source * 64}),)
    return capsule.model_copy(
        update={"variant": capsule.variant.model_copy(update={"kernels": kernels, "identity": identity})}
    )


@pytest.mark.parametrize(("source", "path", "comparable"), [("a", "4", True), ("b", "4", True), ("a", "5", False)])
def test_what_ran_must_be_the_same_and_not_its_bytes(
    replayed: Replayed, source: str, path: str, comparable: bool
) -> None:
    original, replay = replayed(SAME)
    found = judge_replay(with_identity(original, "a", "4"), with_identity(replay, source, path), POLICY)
    assert (found.answer != "not comparable") is comparable


@pytest.mark.parametrize(
    ("then", "now", "answer"),
    [("ok", "crash", "disagree"), ("crash", "crash", "agree"), ("ok", "unavailable", "not comparable")],
)
def test_how_processes_ended_is_compared(replayed: Replayed, then: str, now: str, answer: str) -> None:
    original, replay = replayed(SAME)
    verdict = judge_replay(
        original.model_copy(update={"status": then}), replay.model_copy(update={"status": now}), POLICY
    )
    assert verdict.answer == answer


def test_a_noisy_replay_says_nothing(replayed: Replayed) -> None:
    original, replay = replayed(SAME)
    slow = replay.runs.variant[0].generations[0]
    by_both_clocks = [{"decode_s": slow.decode_s * factor, "supervisor_decode_s": slow.supervisor_decode_s * factor}
                      for factor in (0.8, 1.0, 1.3)]  # fmt: skip
    runs = [run.model_copy(update={"generations": (slow.model_copy(update=times),)})
            for run, times in zip(replay.runs.variant, by_both_clocks, strict=True)]  # fmt: skip
    noisy = replay.runs.model_copy(update={"variant": tuple(runs)})
    figures = derive(noisy, replay.fidelity_runs, replay.outputs, 50, [p.id for p in replay.prompts.prompt], True)
    verdict = judge_replay(original, replay.model_copy(update={"runs": noisy, "figures": figures}), POLICY)
    assert verdict.answer == "not comparable"
    assert "too wide" in verdict.why
    needed = blocks_needed(speedups(original), speedups(replay.model_copy(update={"figures": figures})), "mean")
    assert needed is not None
    assert f"--runs {needed}" in verdict.why


def speedups(capsule: Capsule) -> tuple[float, ...]:
    assert capsule.figures.speedup is not None
    return capsule.figures.speedup.logs


def test_as_many_blocks_as_are_asked_for_are_enough_and_one_fewer_is_not() -> None:
    then, now = [0.01, 0.02, 0.03, 0.02, 0.01, 0.02], [-0.1, 0.1] * 2
    needed = blocks_needed(then, now, "mean")
    assert needed is not None

    def half(blocks: int) -> float:
        scale = np.std(now, ddof=1) / np.std(drawn := np.linspace(-1, 1, blocks), ddof=1)
        found = speed_change(then, list(drawn * scale), "mean")
        assert found is not None
        return math.log(found.high / found.low) / 2

    assert half(needed) <= RESOLUTION < half(needed - 1)


def test_a_capsule_whose_own_blocks_are_too_noisy_cannot_be_replayed_with_any_number() -> None:
    assert blocks_needed([-0.1, 0.1, 0.0], [0.01, 0.02, 0.03], "mean") is None


logs = st.lists(st.floats(-1, 1), min_size=2, max_size=8)


@given(then=logs, now=logs)
def test_the_change_is_antisymmetric_and_inside_its_interval(then: list[float], now: list[float]) -> None:
    forward, back = speed_change(then, now, "mean"), speed_change(now, then, "mean")
    assert forward is not None
    assert back is not None
    assert forward.low <= forward.value <= forward.high
    assert math.log(forward.value) == pytest.approx(-math.log(back.value), abs=1e-9)


def test_welch_s_interval_against_scipy() -> None:
    from scipy import stats

    then, now = [0.01, 0.03, 0.02, 0.05], [0.11, 0.08, 0.13]
    expected = stats.ttest_ind(now, then, equal_var=False).confidence_interval(0.95)
    found = speed_change(then, now, "mean")
    assert found is not None
    assert math.log(found.low) == pytest.approx(expected.low)
    assert math.log(found.high) == pytest.approx(expected.high)


def test_below_two_blocks_there_is_no_interval() -> None:
    assert speed_change([0.1], [0.1, 0.2], "mean") is None
