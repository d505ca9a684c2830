"""The pictures in docs: made here with ZMLX_PICTURES=1; otherwise what they say they show must still stand.

Pictures are not compared by their pixels: fonts differ between machines. `docs/pictures/shown.json` names for each the
capsules that it shows, with their hashes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.report.look import PHONE, Seen, opened
from zmlx_bench.files import read_json
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.report.build import build
from zmlx_bench.report.html.page import capsule_page, report_page
from zmlx_bench.report.overview import GroupOverview, Line
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
SHOWN = PICTURES / "shown.json"
NAMES = ("report.png", "report-dark.png", "report-phone.png", "gates.png", "blocks.png", "capsule.png")
MOST_BYTES = 250_000


def _decided(group: GroupOverview) -> tuple[int, int]:
    """Rank groups by how much there is to see: variants with a verdict, then sessions."""
    return sum(line.verdict is not None for line in group.lines), group.sessions


def _of(lines: Sequence[Line]) -> dict[str, str]:
    """Return the hash of each capsule that lines of the report show."""
    paths = sorted({path for line in lines for path in (*(c.capsule for c in line.cells), *_resting(line))})
    return {path: read_json(ROOT / path, Capsule).content_sha256 for path in paths}


def _resting(line: Line) -> list[str]:
    return [path for gate in line.gates for path in gate.capsules]


@pytest.mark.skipif(not os.environ.get("ZMLX_PICTURES"), reason="ZMLX_PICTURES=1 takes the pictures anew")
def test_take_the_pictures(browser: Any, repository: Workspace, tmp_path: Path) -> None:
    report = build(repository, None)
    group = max(report.groups, key=_decided)
    only = type(report)([group], [], [])
    page = tmp_path / "report.html"
    page.write_text(report_page(only, repository, read_policy(repository), repository.root), encoding="utf-8")
    best = group.lines[0]
    capsule = tmp_path / "capsule.html"
    capsule.write_text(capsule_page(read_json(ROOT / best.cells[0].capsule, Capsule)), encoding="utf-8")

    PICTURES.mkdir(exist_ok=True)
    with opened(browser, page, viewport={"width": 1200, "height": 880}) as seen:
        _save(seen, "report.png")
        seen.page.locator("details.variant > summary").first.click()
        # It stays on top of what scrolls below it.
        seen.page.locator(".controls").evaluate("(bar) => { bar.style.position = 'static'; }")
        _save(seen, "gates.png", lambda: seen.page.locator("details.variant table.gates").first)
        # The session that the best variant's figures are of; only the latest is open.
        session = seen.page.locator("details.session", has_text=best.session)
        if session.get_attribute("open") is None:
            session.locator("> summary").click()
        _save(seen, "blocks.png", lambda: session)
    with opened(browser, page, viewport={"width": 1200, "height": 880}, color_scheme="dark") as seen:
        _save(seen, "report-dark.png")
    with opened(browser, page, viewport=PHONE) as seen:
        _save(seen, "report-phone.png")
    with opened(browser, capsule, viewport={"width": 1200, "height": 1100}) as seen:
        _save(seen, "capsule.png")

    whole = _of(group.lines)
    shown = dict.fromkeys(NAMES, whole) | {"capsule.png": _of([best])}
    SHOWN.write_text(json.dumps(shown, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _save(seen: Seen, name: str, part: Callable[[], Any] | None = None) -> None:
    seen.draw_all()
    (part() if part else seen.page).screenshot(path=PICTURES / name)
    assert seen.complaints == []


@pytest.mark.parametrize("name", NAMES)
def test_what_a_picture_shows_still_stands(name: str) -> None:
    picture = (PICTURES / name).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < MOST_BYTES
    claimed = json.loads(SHOWN.read_text(encoding="utf-8"))[name]
    assert claimed
    gone = [path for path, sha in claimed.items() if not _stands(path, sha)]
    assert gone == [], "take the pictures anew: ZMLX_PICTURES=1 python -m pytest tests/report/test_pictures.py"


def _stands(path: str, sha: str) -> bool:
    file = ROOT / path
    return file.is_file() and json.loads(file.read_text(encoding="utf-8"))["content_sha256"] == sha


def test_every_picture_is_shown_and_described() -> None:
    texts = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    }
    found = [
        (page, *hit)
        for page, text in texts.items()
        for hit in re.findall(r"!\[(.*?)\]\((?:docs/)?pictures/(.+?)\)", text)
    ]
    assert {name for _, _, name in found} == set(NAMES) == {path.name for path in PICTURES.glob("*.png")}
    assert {"README.md", "index.md", "reading-a-report.md"} <= {page for page, _, _ in found}
    assert [page for page, described, _ in found if len(described) < 20] == []
