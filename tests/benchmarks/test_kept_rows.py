"""A page of rows goes on where it was ended, and is never put together from different code."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import load


@pytest.fixture(scope="module")
def kept() -> ModuleType:
    return load("benchmarks/kept_rows.py")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "page.py"
    path.write_text("one")
    return path


class Page:
    def __init__(self, kept: ModuleType, script: Path, settings: object = 1) -> None:
        self.made: list[str] = []
        self.row_of = kept.Row
        self.rows = kept.KeptRows("page", [script], settings, script.parent / "rows")

    def ask(self, name: str) -> Any:
        def make() -> Any:
            self.made.append(name)
            return self.row_of((f"| {name} |",), (("CLAIM", 0.25, 8),))

        return self.rows.row(name, make)


def test_a_run_that_was_ended_goes_on_with_the_rows_that_lack(
    kept: ModuleType, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = Page(kept, script)
    rows = [first.ask("a"), first.ask("b")]
    again = Page(kept, script)
    assert [again.ask("a"), again.ask("b"), again.ask("c")][:2] == rows
    assert again.made == ["c"]
    assert capsys.readouterr().err == "| a |\n| b |\n" * 2 + "| c |\n"


@pytest.mark.parametrize("change", ["script", "settings"])
def test_rows_of_other_code_or_settings_are_made_again(kept: ModuleType, script: Path, change: str) -> None:
    Page(kept, script).ask("a")
    if change == "script":
        script.write_text("two")
    other = Page(kept, script, settings=2 if change == "settings" else 1)
    other.ask("a")
    assert other.made == ["a"]


def test_a_row_that_was_cut_while_it_was_written_is_made_again(kept: ModuleType, script: Path) -> None:
    page = Page(kept, script)
    page.ask("a")
    page.ask("b")
    (file,) = (script.parent / "rows").iterdir()
    file.write_text(file.read_text()[:-9])
    again = Page(kept, script)
    again.ask("a")
    again.ask("b")
    assert again.made == ["b"]
    assert Page(kept, script).ask("b") == again.ask("b")
    assert len(file.read_text().splitlines()) == 3
