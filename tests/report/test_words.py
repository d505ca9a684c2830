"""Figures as people read them: a thing not measured is a dash, an interval stands with its ratio."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.runs import OUTPUTS, generation, run
from tests.builders import Made, add_session, make_workspace
from tests.environments.test_used import PLAIN
from tests.report.told import only
from zmlx_bench.analysis.audit import derive
from zmlx_bench.analysis.fidelity import compare
from zmlx_bench.report import words
from zmlx_bench.report.build import build
from zmlx_bench.schema.audit import ArmTrace, Audit, PromptAudit
from zmlx_bench.schema.figures import Ratio
from zmlx_bench.schema.policy import NEAR_STOCK_TOP1
from zmlx_bench.schema.variant import ResolvedKernel, ResolvedVariant


def test_nothing_measured_is_a_dash() -> None:
    assert {words.number(None), words.ratio(None), words.fidelity(None), words.gigabytes(None)} == {words.DASH}


def test_a_ratio_stands_with_its_interval_where_there_is_one() -> None:
    whole = Ratio(value=1.0234, low=1.0101, high=1.0369, logs=(0.0, 0.0), blocks=(1, 2))
    assert words.ratio(whole) == "1.023x [1.010, 1.037]"
    assert words.ratio(whole.model_copy(update={"low": None, "high": None})) == "1.023x"


@given(st.floats(0.0001, 1000))
def test_gigabytes_of_any_size_keep_their_first_digits(value: float) -> None:
    step = 0.01 if value >= 1 else 0.0001
    assert abs(float(words.gigabytes(value)) - value) <= 0.51 * step


def test_the_earliest_divergence_is_named() -> None:
    text = tuple(range(20))
    base = [run(generation(text, "p")), run(generation(text, "q"))]
    arm = [run(generation((*text[:9], 99), "p")), run(generation((*text[:4], 99), "q"))]
    found = compare(arm, base, None, OUTPUTS, 20, ["p", "q"])
    assert words.fidelity(found) == "diverged at 4 (q)"
    assert words.fidelity(compare(base, base, None, OUTPUTS, 20, ["p", "q"])) == "identical"


def audited(agreeing: int, kl: float, *least: float) -> str:
    """What is said of an audit of ten positions, where stock agrees at so many and is 0.5 nats from float32."""
    agrees = tuple(position < agreeing for position in range(10))
    stock, ours = (ArmTrace(kl=(each,) * 10, agrees=agrees, max_error=(1.0,) * 10) for each in (0.5, kl))
    prompts = (PromptAudit(prompt="p", output="0" * 64, baseline=stock, variant=ours),)
    return words.audit(Audit(status="ok", prompts=prompts, figures=derive(prompts)), *least)


CHANCE = "which is nearer is chance and says nothing of the kernels"


@pytest.mark.parametrize(
    ("kl", "near", "far"),
    [
        (0.4, "the variant is nearer to float32 (smaller KL at 10 of 10 positions)", CHANCE),
        (0.6, "the baseline is nearer to float32 (smaller KL at 10 of 10 positions)", CHANCE),
        (0.5, "as near to float32 as the baseline: mean KL 0.5 nats both", "neither is near"),
    ],
)
def test_which_arm_is_nearer_is_said_where_stock_itself_is_near(kl: float, near: str, far: str) -> None:
    least = round(10 * NEAR_STOCK_TOP1)
    assert audited(least, kl).startswith(near)
    assert audited(least - 1, kl) == (
        f"stock itself agrees with float32 at 40.0% of the positions, so {far}: "
        f"mean KL {kl:.3g} nats, the baseline's 0.5; top-1 agreement 40.0% and 40.0%, largest logit error 1 and 1"
    )


def test_what_is_near_enough_for_stock_is_the_policys(tmp_path: Path) -> None:
    """So a report does not call chance what its verdict rests on, nor the other way round."""
    made = make_workspace(tmp_path / "workspace")
    path = made.variants / "policy.toml"
    path.write_text(path.read_text().replace("near_stock_top1 = 0.5\n", "near_stock_top1 = 0.3\n"))
    add_session(made, 0, [Made("close", wrong_at=7, stock_top1=0.4)])
    (line,) = only(build(made, None)).near
    assert "near_stock_top1" in {gate.id for gate in line.gates if gate.outcome == "pass"}
    assert (line.audit or "").startswith("as near to float32 as the baseline: mean KL 0.1 nats both")
    assert CHANCE not in audited(4, 0.4, 0.3)
    assert CHANCE in audited(6, 0.4, 0.7)


STOCK = ResolvedKernel(kernel="one", mode="stock", sites=("combine",), numerics="stock", source_sha256="0" * 64)
WORD = ResolvedVariant(name="v", family="qwen3", why="it pays", kernels=(STOCK,))


@pytest.mark.parametrize(
    "changes",
    [
        {"kernels": ()},
        {"kernels": (STOCK, STOCK.model_copy(update={"kernel": "two", "numerics": "fp32"}))},
        {"env": {"ZMLX_TRACE": "1"}},
        {"environment": PLAIN},
        {"fidelity": "near"},
        {"family": "any-mixtral"},
    ],
)
def test_only_a_word_that_a_command_can_test_is_called_broken(changes: dict[str, object]) -> None:
    assert words.breaks_word(WORD, "metal") == (
        "its kernels say that they repeat stock: `zmlx kernels verify one.stock --family qwen3 --backend metal` looks "
        "for what does not"
    )
    assert words.breaks_word(WORD.model_copy(update=changes), "metal") is None
