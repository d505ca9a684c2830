"""A step of a bisection stops by its own arms: when the ends differ, or when a version is like one of them."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from tests.analysis.decision.evidence_of import POLICY, arm, session
from zmlx_bench.analysis.decision import ArmEvidence, SessionEvidence
from zmlx_bench.analysis.decision.contrast import against_good, ends, like
from zmlx_bench.analysis.decision.stopping import Stop, seen_until, stop, undecided
from zmlx_bench.protocol.looks import looks_of
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
    with pytest.raises(ValueError, match="ends alone"):
        like(made(ENDS, *three(0.0)), ENDS, POLICY)
