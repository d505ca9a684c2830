"""The page of faults: every row stands in a table, and every test that one names is there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from tests.docs.blocks import DOCS, ROOT, every_page

PAGE = DOCS / "RELIABILITY.md"
_NAMED = re.compile(r"`(?P<file>(?:tests/)?[\w/]*test_\w+\.py)?(?:::)?(?P<test>test_\w+)?[^`]*`")
"""A test by file and name, by its name alone (of the file named before it), or a file."""


def _named() -> Iterator[tuple[str, str]]:
    file = ""
    for row in PAGE.read_text(encoding="utf-8").splitlines():
        for found in _NAMED.finditer(row):
            file = (found["file"] or file).rpartition("/")[2]
            if found["file"] or found["test"]:
                yield file, found["test"] or ""


def test_every_test_that_a_fault_names_is_there() -> None:
    texts: defaultdict[str, str] = defaultdict(str)
    for path in (ROOT / "tests").rglob("test_*.py"):
        texts[path.name] += path.read_text(encoding="utf-8")
    named = set(_named())
    assert len(named) > 100
    lost = [(file, test) for file, test in sorted(named) if f"def {test}" not in texts[file]]
    assert lost == []


def test_no_blank_line_cuts_a_table_in_two() -> None:
    """What follows it has no heading, and is shown as text with bars."""
    cut = re.compile(r"^\|.*\|\n\n\|.*\|\n(?!\|[ :|-]+\|\n)", re.MULTILINE)
    assert [(page.name, found[0][:60]) for page in every_page() if (found := cut.search(page.read_text()))] == []
