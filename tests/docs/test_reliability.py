"""The page of faults: every row stands in a table, and every test that one names is there, slow where it says so."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.docs.blocks import DOCS, ROOT, every_page

PAGE = DOCS / "RELIABILITY.md"
_NAMED = re.compile(
    r"`(?P<file>(?:tests/)?[\w/]*test_\w+\.py)?(?:::)?(?P<test>test_\w+)?[^`]*`(?P<slow> \([^)]*\bslow\b[^)]*\))?"
)
"""A test by file and name, by its name alone (of the file named before it), or a file; and whether it is said to be
slow."""


def _named() -> Iterator[tuple[str, str, bool]]:
    file = ""
    for row in PAGE.read_text(encoding="utf-8").splitlines():
        for found in _NAMED.finditer(row):
            file = (found["file"] or file).rpartition("/")[2]
            if found["file"] or found["test"]:
                yield file, found["test"] or "", found["slow"] is not None


def _wholly_slow(text: str) -> Iterator[str]:
    """Yield the tests of a module that `make test` does not run, with none of their cases."""
    tree = ast.parse(text)
    module = any(
        isinstance(one, ast.Assign) and "pytestmark" in ast.unparse(one.targets[0]) and "slow" in ast.unparse(one.value)
        for one in tree.body
    )
    for one in tree.body:
        if isinstance(one, ast.FunctionDef) and (module or "pytest.mark.slow" in map(ast.unparse, one.decorator_list)):
            yield one.name


def test_every_test_that_a_fault_names_is_there() -> None:
    texts: defaultdict[str, str] = defaultdict(str)
    slow: set[tuple[str, str]] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        texts[path.name] += text
        slow |= {(path.name, name) for name in _wholly_slow(text)}
    named = set(_named())
    assert len(named) > 100
    lost = [(file, test) for file, test, _ in sorted(named) if f"def {test}" not in texts[file]]
    assert lost == []
    assert [(file, test) for file, test, said in sorted(named) if (file, test) in slow and not said] == []


def test_no_blank_line_cuts_a_table_in_two() -> None:
    """What follows it has no heading, and is shown as text with bars."""
    cut = re.compile(r"^\|.*\|\n\n\|.*\|\n(?!\|[ :|-]+\|\n)", re.MULTILINE)
    assert [(page.name, found[0][:60]) for page in every_page() if (found := cut.search(page.read_text()))] == []
