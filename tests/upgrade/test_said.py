"""What a session says of a promotion: it holds, does not, is undecided, or cannot be measured; and the exit code."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.builders import Made, make_workspace
from tests.upgrade.sessions import STOCK, capsules, ran
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.report.upgrade import upgrade_table
from zmlx_bench.schema.upgrade import Holds, Upgrade, UpgradeCheck
from zmlx_bench.upgrade import show
from zmlx_bench.upgrade.said import judged
from zmlx_bench.workspace import Workspace

ASKED = UpgradeCheck(
    family="qwen3", checkpoint="tiny", checkpoint_digest="tiny-0123456789abcdef", backend="cpu", device="Made CPU",
    variant="fast", session="s",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


def judge(place: Workspace, asked: Made, stock: Made = STOCK, *, blocks: int = 6) -> UpgradeCheck:
    session, found = ran(place, asked, stock, blocks=blocks)
    return judged(session, capsules(found), read_policy(place), ASKED)


def test_one_that_is_faster_there_holds_and_the_stock_models_are_compared(place: Workspace) -> None:
    found = judge(place, Made("fast", gain=-0.1))
    assert (found.said, found.blocks_needed) == ("held", None)
    assert [one.tokens for one in found.budgets] == [20, 50]
    assert found.stock is not None
    assert found.stock.speed == pytest.approx(0.819, abs=0.003)
    assert found.stock.prompt is None
    assert (found.peak_mem_gb, found.stock_peak_mem_gb) == (1.25, 1.25)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Made("fast", gain=-0.2), "equivalent: "),
        (Made("fast", gain=-0.3), "performance: "),
        (Made("fast", gain=-0.1, wrong_at=2), "fidelity: "),
        (Made("fast", gain=-0.1, peak_mem_gb=2.0), "memory: "),
        (Made("fast", status="crash"), "crash: "),
    ],
)
def test_one_that_does_not_hold_says_why(place: Workspace, asked: Made, why: str) -> None:
    found = judge(place, asked)
    assert found.said == "fails"
    assert found.why.startswith(why)


def test_what_is_not_told_apart_is_undecided_and_says_what_would_tell(place: Workspace) -> None:
    found = judge(place, Made("fast", gain=-0.17, spread=0.06))
    assert found.said == "undecided"
    assert found.blocks_needed is not None
    assert found.blocks_needed > 6


def test_other_tokens_of_the_stock_model_are_told_and_are_not_the_variants_fault(place: Workspace) -> None:
    found = judge(place, Made("fast", gain=-0.1, wrong_at=4), Made(STOCK.name, gain=-0.2, wrong_at=4))
    assert found.said == "held"
    assert found.stock is not None
    assert (found.stock.prompt, found.stock.token, found.stock.margin) == ("p0", 4, 0.5)


def test_what_is_not_to_be_had_there_cannot_be_measured(place: Workspace) -> None:
    found = judge(place, Made("fast", status="unavailable", message="needs a machine that is not here"))
    assert (found.said, found.why) == ("unmeasured", "unavailable: needs a machine that is not here")


def test_nothing_holds_where_the_stock_model_itself_does_not_run(place: Workspace) -> None:
    found = judge(place, Made("fast"), Made(STOCK.name, status="crash", message="no such function"))
    assert found.said == "fails"
    assert found.why == "the stock model itself does not run there: crash: no such function"
    found = judge(place, Made("fast"), Made(STOCK.name, status="unavailable", message="its environment is not made"))
    assert found.said == "unmeasured"


def of(*said: Holds) -> Upgrade:
    checks = tuple(ASKED.model_copy(update={"said": one, "why": "because"}) for one in said)
    return Upgrade(upgrade="u", environment="mlx==9", digest="0" * 64, blocks=40, seed=0, checks=checks)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ((), 0),
        (("held",), 0),
        (("held", "unmeasured"), 0),
        (("held", "undecided"), 2),
        (("held", "undecided", "fails", "unmeasured"), 1),
        (("unmeasured",), 4),
    ],
)
def test_the_exit_code_is_the_worst_that_was_found(said: tuple[Holds, ...], code: int) -> None:
    assert show.code(of(*said)) == code


@pytest.mark.parametrize("width", [40, 200])
def test_the_table_tells_the_same_at_any_width(place: Workspace, width: int) -> None:
    stock = Made(STOCK.name, gain=-0.2, wrong_at=4)
    found = (
        judge(place, Made("fast", gain=-0.1, wrong_at=4), stock),
        ASKED.model_copy(update={"variant": "slow", "said": "undecided", "why": "unresolved", "blocks_needed": 77}),
    )
    console = Console(file=io.StringIO(), width=width)
    console.print(upgrade_table(of().model_copy(update={"checks": found})))
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    for words in ("holds", "20: 1.10", "0.819x of here", "other tokens from 4 of p0", "--at-most 77", "capsules/s/"):
        assert words in shown, shown
    assert "nothing is promoted" in str(upgrade_table(of()))
