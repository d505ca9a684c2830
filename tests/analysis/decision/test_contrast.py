"""A step of a bisection stops by its own arms: when the ends differ, or when a version is like one of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import special

from tests.analysis.decision.evidence_of import POLICY, arm, around, session
from zmlx_bench.analysis.decision import ArmEvidence, BudgetEvidence, SessionEvidence
from zmlx_bench.analysis.decision.contrast import against_good, ends, like
from zmlx_bench.analysis.decision.stopping import Stop, seen_until, stop, undecided
from zmlx_bench.protocol.looks import looks_of
from zmlx_bench.schema.base import Estimator
from zmlx_bench.schema.plan import Contrast

LOOKS = looks_of(3, 40)
ENDS = Contrast(good="old", bad="new")
STEP = Contrast(good="old", bad="new", asked="middle", sign=-1)
RNG = np.random.default_rng(5)
LEVEL = RNG.normal(0, 0.1, LOOKS[-1])
"""What the stock arms of each block do, which all gains share."""


def gains(mean: float, sd: float = 0.01) -> tuple[float, ...]:
    return tuple(LEVEL + mean + RNG.normal(0, sd, LEVEL.size))


def made(contrast: Contrast, *arms: ArmEvidence, blocks: int = 40) -> SessionEvidence:
    return seen_until(session(*arms, looks=LOOKS, contrast=contrast, null_arm=False), blocks)


def three(middle: float, sd: float = 0.01) -> tuple[ArmEvidence, ...]:
    found = {"old": 0.02, "new": -0.1, "middle": middle}
    return tuple(arm((), gains(mean, sd), name) for name, mean in found.items())


@pytest.mark.parametrize(("middle", "says"), [(0.02, "good"), (-0.1, "bad")])
def test_a_version_is_like_one_end_whatever_the_stock_arms_do(middle: float, says: str) -> None:
    found = made(STEP, *three(middle))
    assert like(found, STEP, POLICY) == says
    assert stop(found, POLICY) == Stop("decided")
    ratio = against_good(found, STEP, POLICY).ratio
    assert ratio == pytest.approx(np.exp(middle - 0.02), rel=0.01)


def test_it_stops_at_the_first_look_that_tells() -> None:
    arms = three(-0.1)
    told = [blocks for blocks in LOOKS if not undecided(made(STEP, *arms, blocks=blocks), POLICY)]
    assert told == [blocks for blocks in LOOKS if blocks >= told[0]]
    assert LOOKS[0] < told[0] < LOOKS[-1]
    assert stop(made(STEP, *arms, blocks=LOOKS[0]), POLICY) is None


def test_scatter_beyond_the_change_leaves_it_undecided_and_no_look_is_futile() -> None:
    arms = three(-0.1, sd=0.5)
    assert [stop(made(STEP, *arms, blocks=blocks), POLICY) for blocks in LOOKS[:-1]] == [None] * (len(LOOKS) - 1)
    assert stop(made(STEP, *arms), POLICY) == Stop("most", ("middle",))


@pytest.mark.parametrize(("new", "kind"), [(-0.2, "changed"), (0.1, "changed"), (0.02, "same")])
def test_the_ends_differ_or_do_not(new: float, kind: str) -> None:
    found = made(ENDS, arm((), gains(0.02, 0.004), "old"), arm((), gains(new, 0.004), "new"))
    told = ends(found, ENDS, POLICY)
    # An arm may be off by 1%, so that equal ones are not told to be so within 5% here.
    assert told.kind == (kind if kind == "changed" else told.kind)
    assert told.ratio == pytest.approx(np.exp(new - 0.02), rel=0.01)


def test_an_arm_that_fails_ends_it() -> None:
    good, bad, _ = three(0.0)
    failed = arm((), (), "middle", status="crash", message="it fell")
    assert stop(made(STEP, good, bad, failed, blocks=3), POLICY) == Stop("decided")
    assert stop(made(STEP, good, bad, blocks=3), POLICY) == Stop("decided")


def test_a_step_knows_the_sign_and_the_ends_alone_do_not() -> None:
    with pytest.raises(ValidationError, match="asked and sign go together"):
        Contrast(good="old", bad="new", asked="middle")
    with pytest.raises(ValueError, match=r"^the contrast is one of the ends alone$"):
        like(made(ENDS, *three(0.0)), ENDS, POLICY)


def test_the_ends_are_told_when_they_differ_and_not_in_scatter() -> None:
    clear = made(ENDS, arm((), gains(0.0), "old"), arm((), gains(-0.2), "new"))
    assert undecided(clear, POLICY) == ()
    scattered = made(ENDS, arm((), gains(0.0, 0.5), "old"), arm((), gains(-0.2, 0.5), "new"))
    assert undecided(scattered, POLICY) == ("new",)
    assert against_good(clear, ENDS, POLICY) == ends(clear, ENDS, POLICY)


def test_ends_that_differ_do_not_tell_of_a_version_that_scatters() -> None:
    found = made(STEP, *three(0.02)[:2], arm((), gains(-0.04, 0.5), "middle"))
    assert ends(found, STEP, POLICY).kind == "changed"
    assert undecided(found, POLICY) == ("middle",)


def test_all_blocks_so_far_count_and_none_after() -> None:
    old, new = (0.0,) * 40, tuple(np.linspace(0.0, 0.39, 40))
    whole = session(arm((), old, "old"), arm((), new, "new"), looks=LOOKS, contrast=ENDS)
    for blocks, until in ((None, 40), (LOOKS[0], LOOKS[0]), (7, 7), (40, 40)):
        assert ends(replace(whole, blocks=blocks), ENDS, POLICY).ratio == pytest.approx(np.exp(np.mean(new[:until])))


@pytest.mark.parametrize(("estimator", "says"), [("mean", "undecided"), ("bisquare", "good")])
def test_a_wild_block_counts_as_the_estimator_of_the_session_has_it(estimator: Estimator, says: str) -> None:
    wild = (*gains(0.02)[:-1], 2.0)
    arms = tuple(
        replace(each, budgets={tokens: replace(b, estimator=estimator) for tokens, b in each.budgets.items()})
        for each in (*three(0.0)[:2], arm((), wild, "middle"))
    )
    found = session(*arms, contrast=STEP)
    assert like(found, STEP, POLICY) == says
    ratio = against_good(found, STEP, POLICY).ratio
    assert ratio is not None
    assert (ratio > 1.02) == (estimator == "mean")


def test_without_blocks_of_every_arm_nothing_is_said() -> None:
    good, bad, middle = three(-0.1)
    long = middle.budgets[1024]
    without_ratio = replace(long, figures=long.figures.model_copy(update={"speedup": None}))
    budgets: list[dict[int, BudgetEvidence]] = [{}, {1024: without_ratio}]
    for arms in ((), (good, bad), *((good, bad, replace(middle, budgets=of)) for of in budgets)):
        for looks in (LOOKS, ()):
            found = session(*arms, looks=looks, contrast=STEP)
            assert like(found, STEP, POLICY) == "undecided"
            told = against_good(found, STEP, POLICY)
            assert (told.kind, told.ratio) == ("undecided", None)


@pytest.mark.parametrize(("t", "kind"), [(1.01, "changed"), (0.99, "undecided")])
def test_a_fixed_plan_is_one_look_at_all_its_blocks_at_the_whole_level(t: float, kind: str) -> None:
    noise = np.asarray(around(0.0, 40, 0.03))
    se = np.sqrt((noise.std(ddof=1) ** 2) / 40 + 2 * POLICY.arm_effect**2)
    mean = t * float(special.stdtrit(39, 0.999)) * se
    fixed = session(arm((), (0.0,) * 40, "old"), arm((), tuple(noise + mean), "new"), contrast=ENDS)
    assert float(np.exp(mean)) > 1.05
    assert ends(fixed, ENDS, POLICY).kind == kind


def test_logs_of_other_blocks_than_are_told_are_refused() -> None:
    good, bad = three(0.0)[:2]
    figures = bad.budgets[1024].figures
    assert figures.speedup is not None
    short = figures.speedup.model_copy(update={"blocks": figures.speedup.blocks[:-1]})
    torn = replace(bad.budgets[1024], figures=figures.model_copy(update={"speedup": short}))
    with pytest.raises(ValueError, match="zip"):
        ends(session(good, replace(bad, budgets={1024: torn})), ENDS, POLICY)
