"""The site builds without a warning, asks nobody on the network for anything, and shows every artifact."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT
from zmlx_bench.cli.artifacts import KINDS
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, repository: Workspace) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=repository.root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    return folder


class _Loads(HTMLParser):
    """Collects what a browser would load without being asked to by a click."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag in ("script", "img", "iframe", "source") and values.get("src"):
            self.found.append(values["src"] or "")
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.found.append(values.get("href") or "")


def _loads(page: Path) -> list[str]:
    parser = _Loads()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.found


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(KINDS)
    loaded = {page: _loads(page) for page in pages}
    assert any(loaded.values())
    assert [(page, one) for page, found in loaded.items() for one in found if "//" in one] == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_artifacts_page_names_every_field(site: Path, kind: str) -> None:
    text = (site / "schemas" / f"{kind}.html").read_text(encoding="utf-8").replace("<wbr>", "")
    shown = set(re.findall(r"<td><code>([^<]+)</code></td>", text))
    assert set(KINDS[kind].model_json_schema()["properties"]) <= shown


def test_the_report_shown_is_the_report_of_the_evidence(site: Path, zmlx_inside: Callable[..., Any]) -> None:
    report = json.loads(zmlx_inside("report", "qwen3", "--format", "json", cwd=ROOT).stdout)
    speedups = [b["speedup"] for g in report["groups"] for v in g["lines"] for b in v["cells"]]
    shown = (site / "index.html").read_text(encoding="utf-8")
    assert speedups
    assert [one for one in speedups if f"{one:.3f}x" not in shown] == []


def test_no_mark_is_left(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.search(r"<!-- (output|terminal|section|table):", page.read_text(encoding="utf-8")), page


def test_what_the_rule_promises_stands_on_the_first_page(site: Path, repository: Workspace) -> None:
    table = (repository.root / "docs" / "decision-error.md").read_text(encoding="utf-8")
    claims = re.findall(r"^\| (wrong \w+[^|]*) \|", table, re.MULTILINE)
    shown = re.sub(r"\s+", " ", (site / "index.html").read_text(encoding="utf-8"))
    assert claims
    assert [claim for claim in claims if claim.strip() not in shown] == []


def test_the_policys_page_has_its_thresholds(site: Path) -> None:
    text = (site / "decision.html").read_text(encoding="utf-8").replace("<wbr>", "")
    assert {"min_gain", "faster_alpha", "arm_effect"} <= set(re.findall(r"<td><code>([^<]+)</code></td>", text))


def test_every_gate_of_the_decision_is_explained() -> None:
    text = (ROOT / "docs" / "decision.md").read_text(encoding="utf-8")
    sources = "".join(path.read_text() for path in (ROOT / "zmlx_bench" / "analysis" / "decision").glob("*.py"))
    gates = set(re.findall(r'(?:Gate|_repeat|_excess)\(\s*"(\w+)"', sources)) | set(
        re.findall(r'name = "(\w+)"', sources)
    )
    assert {"fidelity", "bias", "repeat", "incumbent"} <= gates
    assert [gate for gate in sorted(gates) if f"`{gate}`" not in text] == []
