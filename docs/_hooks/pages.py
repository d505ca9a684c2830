"""What the site makes itself: the pages of JSON Schemas, and the places in pages that show output or other files.

In a page, a comment of its own line is replaced:

<!-- output: zmlx report --format md -->            the command's Markdown, its headings two levels lower
<!-- terminal: zmlx report qwen3 -->                the command's output on a terminal of 80 columns
<!-- section: decision-error.md | What must hold --> that section of another page, without its heading
<!-- table: policy -->                              a table of `tables.py`

Commands run in the repository, so that every figure shown comes from its capsules.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import schemas
import screen
import tables
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation, Section

ROOT = Path(__file__).resolve().parents[2]
_MARK = re.compile(r"^<!-- (output|terminal|section|table): (.+?) -->$", re.MULTILINE)
_IN_TABLE = re.compile(r"<td[ >].*?</td>", re.DOTALL)
_NAME = re.compile(r"<code>([^<>]{12,})</code>")
_JOINT = re.compile(r"(?<=[_/:=.\]])(?=[A-Za-z\[])")
_HEADING = re.compile(r"^#+ .*$", re.MULTILINE)


def on_config(config: Any) -> Any:
    """Leave out of the navigation what this checkout does not have: some pages are joined from others' parts."""
    config.nav = _present(config.nav, Path(config.docs_dir))
    return config


def _present(entries: list[Any], docs: Path) -> list[Any]:
    kept = []
    for entry in entries:
        # The first page of a section may stand there without a title of its own.
        ((title, target),) = entry.items() if isinstance(entry, dict) else ((None, entry),)
        if isinstance(target, list):
            kept.append({title: _present(target, docs)})
        elif (docs / target).is_file():
            kept.append(entry)
    return kept


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each artifact, and the report of the repository's evidence."""
    report = screen.plain(["zmlx", "report", "--format", "html"], ROOT)
    # The site has no copy of the capsules.
    report = report.replace('href="./capsules/', f'href="{config.repo_url}/blob/main/capsules/')
    files.append(File.generated(config, "evidence.html", content=report))
    for kind in schemas.KINDS:
        files.append(File.generated(config, f"schemas/{kind}.md", content=schemas.page(kind)))
    return files


def on_nav(nav: Navigation, files: Files, **_: Any) -> Navigation:
    """Put the schemas under a heading of their own, behind the page on artifacts."""
    wanted = [files.get_file_from_path(f"schemas/{kind}.md") for kind in schemas.KINDS]
    pages = [file.page for file in wanted if file is not None and file.page is not None]
    section = Section("JSON Schemas", pages)
    place = next(i for i, item in enumerate(nav.items) if getattr(item, "file", None) and item.file.name == "artifacts")
    nav.items.insert(place + 1, section)
    for page in pages:
        page.parent = section
    return nav


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Replace the marks of a page, and point links that leave `docs/` at the repository."""
    up = re.escape("../" * (page.file.src_uri.count("/") + 1))
    markdown = re.sub(rf"\]\({up}(?!\.)([^)]+)\)", rf"]({config.repo_url}/blob/main/\1)", markdown)
    return _MARK.sub(lambda found: _filled(found[1], found[2]), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Let long names in tables break behind what joins their words, and nowhere else."""
    return _IN_TABLE.sub(lambda cell: _NAME.sub(_breakable, cell[0]), html)


def _breakable(code: re.Match[str]) -> str:
    return f"<code>{_JOINT.sub('<wbr>', code[1])}</code>"


def _filled(kind: str, what: str) -> str:
    if kind == "terminal":
        return f"```{{ .text .terminal }}\n$ {what}\n{screen.terminal(shlex.split(what), ROOT)}```"
    if kind == "output":
        text = screen.plain(shlex.split(what), ROOT)
        return _HEADING.sub(lambda heading: f"##{heading[0]}", text)
    if kind == "section":
        file, _, heading = what.partition(" | ")
        return section(ROOT / "docs" / file, heading)
    return tables.TABLES[what](ROOT)


def section(file: Path, heading: str) -> str:
    """Return what stands under `## heading` of a file, up to the next heading of that level."""
    parts = re.split(r"^## (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    if heading not in found:
        raise PluginError(f"{file.name} has no section '{heading}'")
    return found[heading].strip()
