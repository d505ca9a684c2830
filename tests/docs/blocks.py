"""The shell blocks of the pages, and how each is marked.

```sh            run by the quick tests, every line with exit code 0 unless `# exit code N` says otherwise
{ .sh .slow }    run by the slow tests
{ .sh .gpu }     not run here: needs a GPU or the published weights
{ .sh .served }  a server, which tests/cli/test_serve.py starts, asks and stops
{ .sh .install } setting up, which whoever runs these tests has done

Where GitHub shows the page, a line `<!-- .slow -->` before a plain block marks it as well, and nobody sees it.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OTHERS = {
    # Each has a test of its own, which runs its commands as written.
    "guide-kernel.md",
    "guide-family.md",
}
"""Pages whose commands another test runs."""

_FENCE = re.compile(r"^```(.*)$")
_SHELL = re.compile(r"^(?:sh|bash|shell|console|\{ \.sh((?: \.\w+)*) \})$")
_UNSEEN = re.compile(r"^<!-- \.(\w+) -->$")
_CODE = re.compile(r"\s+# exit code ([0-9, or]+)$")


@dataclass(frozen=True)
class Line:
    """One command."""

    text: str
    codes: tuple[int, ...]
    """Exit codes that the page promises."""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


@dataclass(frozen=True)
class Block:
    """A shell block of a page."""

    page: str
    mark: str
    """Empty, `slow`, `gpu`, `served` or `install`."""
    lines: tuple[Line, ...]


def pages() -> list[Path]:
    """Return every page that this project's own text stands in."""
    return [path for path in every_page() if path.name not in OTHERS]


def every_page() -> list[Path]:
    """Return those and the pages whose commands another test runs."""
    return sorted((ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.glob("*.md"), *DOCS.glob("design/*.md")))


def blocks(page: Path) -> list[Block]:
    """Return the shell blocks of a page in order."""
    found: list[Block] = []
    mark: str | None = None
    inside, lines, unseen = False, list[str](), ""
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = _FENCE.match(line)
        if fence is None:
            if inside and mark is not None:
                lines.append(line)
            comment = _UNSEEN.match(line)
            unseen = comment[1] if comment and not inside else ""
        elif inside:
            if mark is not None:
                found.append(Block(page.name, mark, tuple(_lines(lines))))
            inside, mark, lines = False, None, []
        else:
            inside = True
            shell = _SHELL.match(fence[1].strip())
            mark = (shell[1] or unseen).strip().replace(".", "") if shell else None
    return found


def python(page: Path) -> str:
    """Return the Python of a page, its blocks one after the other."""
    found = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return "\n".join(found)


def _lines(lines: list[str]) -> list[Line]:
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [_line(line) for line in joined if line.strip() and not line.lstrip().startswith("#")]


def _line(text: str) -> Line:
    code = _CODE.search(text)
    codes = tuple(map(int, re.findall(r"\d+", code[1]))) if code else (0,)
    return Line(_CODE.sub("", text).strip(), codes)
