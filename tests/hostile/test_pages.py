"""The pages of `report` and `capsule show` on hostile artifacts: no element, handler or address but the page's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from tests.ledger.test_check import GOOD
from zmlx_bench.cli.main import main
from zmlx_bench.report.html import page as pages
from zmlx_bench.workspace import Workspace

SCRIPT = Path(pages.__file__).with_name("templates") / "page.js"
ELEMENTS = (
    "html head meta title style body header main section footer nav h1 h2 h3 h4 h5 p br wbr pre code span strong small "
    "div ul li a details summary dl dt dd table thead tbody tr th td form label input select option output button "
    "script"
)
SHOWN = "<script>alert(1)</script>[red]:smile:[/nothing] ![x](http://x) |`"
"""What is left to see of the evil text between its escapes."""


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._at = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += [(name, value or "") for name, value in attributes]
        self._at = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._at:
            self._at = ""

    def handle_data(self, data: str) -> None:
        if self._at == "script":
            self.scripts[-1] += data
        elif self._at != "style":
            self.text += data


def report(evil: Workspace) -> tuple[str, ...]:
    return ("report", "--workspace", str(evil.root))


def capsule(evil: Workspace) -> tuple[str, ...]:
    return ("capsule", "show", str(evil.root / GOOD))


@pytest.mark.parametrize("command", [report, capsule])
def test_a_page_holds_no_element_script_or_address_but_its_own(
    evil: Workspace, command: Callable[[Workspace], tuple[str, ...]], tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    with pytest.raises(SystemExit) as left:
        main([*command(evil), "--format", "html", "--out", str(out)])
    assert left.value.code == 0
    page = Page(out.read_text())
    assert page.elements <= set(ELEMENTS.split())
    figures, plotly, script = page.scripts
    assert plotly == get_plotlyjs()
    assert script.strip() == SCRIPT.read_text().strip()
    assert json.loads(figures)
    assert "alert" not in figures, "plotly obeys some elements in its labels"
    assert [name for name, _ in page.attributes if name.startswith("on") or name in ("srcdoc", "src", "action")] == []
    addresses = [value for name, value in page.attributes if name == "href"]
    assert [address for address in addresses if not address.startswith(("#", "./"))] == []
    assert page.text.count(SHOWN) >= 3, "the evil text is to be seen as text"
    shown = page.text + "".join(value for _, value in page.attributes)
    assert all(c.isprintable() or c == "\n" for c in shown)
