"""The report of many sessions stays small, opens at once and draws only what is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.busy import stretch
from tests.report.look import opened
from tests.report.many import copied
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.report.build import build
from zmlx_bench.report.html.page import report_page
from zmlx_bench.workspace import Workspace

MOST_BYTES = 10_000_000
OPENS_MS, SORTS_MS = 3000.0, 250.0
"""Bounds, not measurements: a person waits, and does not notice. On a machine that has a processor for the page."""


def _page(source: Workspace, folder: Path, sessions: int, devices: int) -> Path:
    made = copied(source, folder / "many", sessions, devices)
    path = folder / "report.html"
    path.write_text(report_page(build(made, None), made, read_policy(made), folder), encoding="utf-8")
    return path


def test_only_what_is_in_sight_is_drawn(browser: Any, repository: Workspace, tmp_path: Path) -> None:
    with opened(browser, _page(repository, tmp_path, 8, 2)) as seen:
        seen.page.locator(".chart svg.main-svg").first.wait_for()
        charts, drawn = (seen.page.locator(f".chart{part}").count() for part in ("", ":has(svg.main-svg)"))
        assert 0 < drawn < charts / 2
        assert seen.complaints == []


@pytest.mark.slow
def test_a_hundred_sessions_open_and_sort_at_once(browser: Any, repository: Workspace, tmp_path: Path) -> None:
    path = _page(repository, tmp_path, 100, 5)
    size = path.stat().st_size
    assert size < MOST_BYTES
    with opened(browser, path) as seen:
        opens = seen.page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
        sorts = seen.page.evaluate(
            """() => [...document.querySelector("table.ranked").querySelectorAll("thead button")].map((button) => {
              const start = performance.now();
              button.click();
              document.body.offsetHeight;
              return performance.now() - start;
            })"""
        )
        filters = seen.page.evaluate(
            """() => {
              const start = performance.now();
              document.getElementById("find").value = "no such variant";
              document.getElementById("filter").dispatchEvent(new Event("input"));
              document.body.offsetHeight;
              return performance.now() - start;
            }"""
        )
        print(
            f"{size / 1e6:.1f} MB, opens in {opens:.0f} ms, sorts in {max(sorts):.0f} ms, filters in {filters:.0f} ms"
        )
        assert opens < OPENS_MS * stretch()
        assert max(sorts) < SORTS_MS * stretch()
        assert filters < SORTS_MS * stretch()
        assert seen.complaints == []
