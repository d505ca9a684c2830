"""A page as a person meets it in a browser, with everything that it asks for and complains about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DESK = {"width": 1200, "height": 900}
PHONE = {"width": 390, "height": 844}


@dataclass
class Seen:
    """An open page."""

    page: Any
    asked: list[str] = field(default_factory=list)
    """Every address that was asked for."""
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and errors that nothing caught."""

    def column(self, number: int, table: int = 0) -> list[str]:
        """Return what the rows of a ranked table sort by in a column, in the order shown."""
        rows = self.page.locator("table.ranked").nth(table).locator("tbody tr")
        return [str(row) for row in rows.evaluate_all("(rows, n) => rows.map((r) => r.cells[n].dataset.sort)", number)]

    def open_all(self) -> None:
        """Open everything that opens."""
        self.page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")

    def reset(self) -> None:
        """Put filter, order and what is open back to what a freshly opened report has."""
        self.page.evaluate(
            """() => {
              document.getElementById("filter").reset();
              document.getElementById("filter").dispatchEvent(new Event("input"));
              document.querySelectorAll("details").forEach((part) => { part.open = false; });
              document.querySelectorAll("table.ranked").forEach((table) => {
                const first = table.querySelector("thead th");
                if (first.getAttribute("aria-sort") !== "ascending") first.querySelector("button").click();
              });
              scrollTo(0, 0);
            }"""
        )

    def draw_all(self) -> None:
        """Bring every chart that is shown into sight, and wait until each is drawn."""
        self.page.evaluate(
            """async () => {
              const shown = [...document.querySelectorAll(".chart")].filter((chart) => chart.checkVisibility());
              for (const chart of shown) {
                chart.scrollIntoView();
                for (let i = 0; !chart.querySelector("svg.main-svg"); i++) {
                  if (i > 200) throw new Error(`${chart.id} is not drawn`);
                  await new Promise((go) => setTimeout(go, 20));
                }
              }
              scrollTo(0, 0);
            }"""
        )


@contextmanager
def opened(browser: Any, file: Path, **options: Any) -> Iterator[Seen]:
    """Open a file; `options` are those of a Playwright context."""
    context = browser.new_context(**{"viewport": DESK, "color_scheme": "light", **options})
    try:
        seen = Seen(context.new_page())
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        seen.page.on("console", lambda m: seen.complaints.append(m.text) if m.type in ("error", "warning") else None)
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.goto(file.as_uri())
        yield seen
    finally:
        context.close()


def too_wide(page: Any) -> int:
    """Return by how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
