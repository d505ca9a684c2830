"""The pages in Chromium: whole, silent, sorted, filtered, dark, printed and on a phone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.look import DESK, PHONE, Seen, opened, too_wide
from zmlx_bench.files import read_json
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.report.build import Report, build
from zmlx_bench.report.html.page import capsule_page, report_page
from zmlx_bench.report.overview_text import title
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.workspace import Workspace

PAPER = 718
"""Width of A4 between Chromium's margins, pixels."""


@pytest.fixture(scope="module")
def report(repository: Workspace) -> Report:
    """The report of the evidence in this repository."""
    return build(repository, None)


@pytest.fixture(scope="module")
def file(report: Report, repository: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report as a page."""
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(report_page(report, repository, read_policy(repository), path.parent), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def desk(browser: Any, file: Path) -> Iterator[Seen]:
    """The report on a desk."""
    with opened(browser, file) as page:
        yield page


@pytest.fixture
def seen(desk: Seen) -> Seen:
    """It as it was when it was opened."""
    desk.reset()
    return desk


@pytest.fixture(scope="module")
def capsule(report: Report, repository: Workspace) -> Capsule:
    """The first variant's last capsule."""
    return read_json(repository.root / report.groups[0].lines[0].cells[-1].capsule, Capsule)


@pytest.fixture(scope="module")
def capsule_file(capsule: Capsule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It as a page."""
    path = tmp_path_factory.mktemp("pages") / "capsule.html"
    path.write_text(capsule_page(capsule), encoding="utf-8")
    return path


def test_the_report_shows_every_group_and_variant_and_asks_nobody(seen: Seen, file: Path, report: Report) -> None:
    page = seen.page
    seen.open_all()
    seen.draw_all()
    assert seen.complaints == []
    assert seen.asked == [file.as_uri()]
    note = page.locator("footer p.dim").last
    assert "zmlx kernels verify" in note.locator("code").all_inner_texts()
    assert "`" not in note.inner_text()
    sections = page.locator("section.group")
    assert sections.count() == len(report.groups)
    for number, group in enumerate(report.groups):
        section = sections.nth(number)
        assert section.locator("h2").is_visible()
        assert f"{group.key.family} " in section.locator("h2").inner_text() + " "
        assert group.key.checkpoint in section.inner_text()
        rows = section.locator("table.ranked tbody tr")
        assert rows.locator("th").all_inner_texts() == [line.variant for line in group.lines]
        opened_names = section.locator("details.variant > summary").all_inner_texts()
        assert [name.split()[0] for name in opened_names] == [line.variant for line in group.lines]


def test_every_kind_of_chart_is_drawn_where_there_is_data(seen: Seen, report: Report) -> None:
    page = seen.page
    seen.open_all()
    seen.draw_all()
    for number, group in enumerate(report.groups):
        section = page.locator("section.group").nth(number)
        ratios = [cell for line in group.lines for cell in line.cells if cell.speedup is not None]
        drawn = {
            kind: section.locator(f".chart[aria-label^='{label}'] svg.main-svg").count() > 0
            for kind, label in (("forest", "Ratios"), ("blocks", "Decode speed"), ("latency", "Milliseconds"))
        }
        assert drawn == dict.fromkeys(drawn, bool(ratios)), title(group)
    forest = page.locator(".chart[aria-label^='Ratios']").first
    lines = forest.evaluate("(chart) => ({ at: chart.layout.shapes[0].x0, names: chart.data.map((d) => d.name) })")
    assert lines["at"] == 1
    assert "floor" in lines["names"]


def _ordered(values: list[str], up: bool) -> bool:
    """Whether values are in order, what was not measured last."""
    measured = list(itertools.takewhile(bool, values))
    if any(values[len(measured) :]):
        return False
    try:
        keys: list[Any] = [float(value) for value in measured]
    except ValueError:
        keys = [value.lower() for value in measured]
    return keys == sorted(keys, reverse=not up)


def test_every_column_sorts_both_ways(seen: Seen) -> None:
    heads = seen.page.locator("table.ranked").first.locator("thead th")
    sortable = [number for number in range(heads.count()) if heads.nth(number).locator("button").count()]
    assert len(sortable) >= 7
    names = sorted(seen.column(1))
    for number in sortable:
        for wanted in ("ascending", "descending"):
            if heads.nth(number).get_attribute("aria-sort") != wanted:
                heads.nth(number).locator("button").click()
            assert heads.nth(number).get_attribute("aria-sort") == wanted
            assert _ordered(seen.column(number), wanted == "ascending")
            assert sorted(seen.column(1)) == names


def test_the_filter_leaves_what_was_asked_for(seen: Seen, report: Report) -> None:
    page = seen.page
    rows, beside = (page.locator(f"table.{name} tr.item:not([hidden])") for name in ("ranked", "beside"))
    everything = rows.count()
    group = report.groups[-1]
    wanted = group.lines[-1]
    alike = [g for g in report.groups if (g.key.family, g.key.device) == (group.key.family, group.key.device)]
    lines = [line for each in alike for line in each.lines if line.variant == wanted.variant]
    page.get_by_role("searchbox").fill(f"{wanted.variant} {group.key.family} {group.key.device}")
    assert rows.locator("th").all_inner_texts() == [wanted.variant] * len(lines)
    assert beside.locator("th").all_inner_texts() == [wanted.variant] * sum(len(line.measures) for line in lines)
    assert page.locator("section.group:not([hidden])").count() == len(lines)
    assert page.locator("#count").inner_text() == f"{len(lines)} of {everything} variants"

    page.get_by_role("searchbox").fill("no such variant anywhere")
    assert (rows.count(), beside.count()) == (0, 0)
    assert page.locator("#nothing").is_visible()

    page.get_by_role("searchbox").fill("")
    assert rows.count() == everything
    assert wanted.verdict
    page.get_by_label("Verdict").select_option(wanted.verdict)
    verdicts = [line.verdict for group in report.groups for line in group.lines]
    assert rows.count() == verdicts.count(wanted.verdict)


def test_the_keyboard_reaches_filter_and_sort(seen: Seen, report: Report) -> None:
    page = seen.page
    wanted = report.groups[0].lines[-1].variant
    page.get_by_role("button", name="light / dark").focus()
    for _ in range(5):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "find":
            break
    page.keyboard.type(wanted)
    assert wanted in page.locator("tr.item:not([hidden]) th").all_inner_texts()
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    for _ in range(5 + len(report.groups)):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('thead button')"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    before = seen.column(0)
    page.keyboard.press("Enter")
    assert seen.column(0) == before[::-1]


def _lightness(page: Any, selector: str, name: str) -> float:
    """Return how light a colour is, from 0 (black) to 255."""
    colour = page.locator(selector).first.evaluate("(e, name) => getComputedStyle(e)[name]", name)
    parts = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(parts) / 3


@pytest.mark.parametrize("which", ["file", pytest.param("capsule_file", marks=pytest.mark.slow)])
def test_light_and_dark_follow_the_system_and_the_button(
    browser: Any, which: str, request: pytest.FixtureRequest
) -> None:
    with opened(browser, request.getfixturevalue(which), color_scheme="dark") as seen:
        page = seen.page
        seen.page.locator(".chart svg.main-svg").first.wait_for()
        assert _lightness(page, "body", "backgroundColor") < 60 < 180 < _lightness(page, "body", "color")
        assert _lightness(page, ".chart .xtick text", "fill") > 180
        page.get_by_role("button", name="light / dark").click()
        assert _lightness(page, "body", "backgroundColor") > 240
        page.wait_for_function(
            "getComputedStyle(document.querySelector('.chart .xtick text')).fill === 'rgb(29, 33, 38)'"
        )
        assert seen.complaints == []


@pytest.mark.slow
def test_on_paper_it_is_light_whole_and_without_controls(browser: Any, file: Path) -> None:
    with opened(browser, file, color_scheme="dark") as seen:
        page = seen.page
        made = page.pdf(format="A4", print_background=True)
        assert made.startswith(b"%PDF")
        assert page.locator(".chart").first.locator("svg.main-svg").count() > 0
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert not page.locator("#filter").is_visible()
        assert not page.locator("#theme").is_visible()
        widths = page.locator(".chart svg.main-svg").evaluate_all(
            "(all) => all.map((s) => s.getBoundingClientRect().width)"
        )
        assert max(widths) <= PAPER
        page.set_viewport_size({"width": PAPER, "height": 1000})
        assert too_wide(page) <= 0
        tables = page.locator("table.ranked").evaluate_all("(all) => all.map((t) => t.getBoundingClientRect().width)")
        assert max(tables) <= PAPER
        page.set_viewport_size(DESK)
        assert _lightness(page, "body", "backgroundColor") > 240
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.wait_for_function(f"document.querySelector('.chart svg.main-svg').clientWidth > {PAPER}")
        assert _lightness(page, "body", "backgroundColor") < 60


def test_nothing_scrolls_sideways_on_a_desk(seen: Seen) -> None:
    assert too_wide(seen.page) <= 0
    seen.open_all()
    seen.draw_all()
    assert too_wide(seen.page) <= 0
    tables = seen.page.locator(".scroll").evaluate_all("(all) => all.map((s) => s.scrollWidth - s.clientWidth)")
    assert max(tables) <= 0


def test_only_tables_scroll_sideways_on_a_phone(browser: Any, file: Path) -> None:
    with opened(browser, file, viewport=PHONE) as seen:
        assert too_wide(seen.page) <= 0
        seen.open_all()
        seen.draw_all()
        assert too_wide(seen.page) <= 0


def test_a_link_opens_the_variant(seen: Seen) -> None:
    page = seen.page
    page.locator("table.ranked a").first.click()
    assert page.locator("details.variant").first.evaluate("(part) => part.open")
    page.locator("details.variant .chart svg.main-svg").first.wait_for()
    assert page.locator("details.variant table.gates").first.is_visible()


@pytest.mark.slow
def test_a_capsule_is_whole_on_a_phone_and_asks_nobody(browser: Any, capsule_file: Path, capsule: Capsule) -> None:
    with opened(browser, capsule_file, viewport=PHONE) as seen:
        seen.draw_all()
        assert too_wide(seen.page) <= 0
        text = seen.page.locator("main").inner_text()
        assert seen.page.locator(".chart svg.main-svg").count() >= 3
        assert (seen.complaints, seen.asked) == ([], [capsule_file.as_uri()])
    for shown in (
        capsule.variant.name,
        capsule.session,
        capsule.content_sha256,
        *(p.id for p in capsule.prompts.prompt),
    ):
        assert shown in text
