"""The page on what sessions took is what its command writes from the evidence."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.scripts import ROOT, load
from zmlx_bench.files import read_json
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load("benchmarks/verdict_time.py")


def capsules(session: str) -> list[Capsule]:
    return [read_json(path, Capsule) for path in sorted((ROOT / "capsules" / session).glob("*_t*.json"))]


def test_the_page_is_written_from_the_evidence(script: ModuleType) -> None:
    assert (ROOT / "docs" / "verdict-time.md").read_text(encoding="utf-8") == script.page(Workspace(ROOT))


@pytest.mark.parametrize(
    ("session", "shared"), [("20261129T095540Z-glm47-7e65", True), ("20261122T224223Z-glm47-de11", False)]
)
def test_decode_of_a_process_that_serves_both_budgets_counts_once(
    script: ModuleType, session: str, shared: bool
) -> None:
    both = capsules(session)
    longest = script.timed_s([capsule for capsule in both if capsule.tokens == 1024])
    shortest = script.timed_s([capsule for capsule in both if capsule.tokens == 200])
    assert 0 < shortest < longest
    assert script.timed_s(both) == pytest.approx(longest if shared else longest + shortest)


def test_a_session_without_a_ratio_or_an_end_has_no_row(script: ModuleType) -> None:
    of = capsules(name := "20261129T095540Z-glm47-7e65")
    session = read_json(ROOT / "capsules" / name / "session.json", Session)
    assert script.row_of(session, of) is not None
    assert script.row_of(session.model_copy(update={"ended": None}), of) is None
    unknown = [each.model_copy(update={"figures": each.figures.model_copy(update={"speedup": None})}) for each in of]
    assert script.row_of(session, unknown) is None
