"""What docs/architecture.md and CONTRIBUTING.md state is so: imports run down, pure rooms are pure, files exist."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "zmlx_bench"
PAGE = ROOT / "docs" / "architecture.md"
FEW_NEED_MLX = {"measured", "bench", "use", "verify"}
READERS = {"open", "read_text", "read_bytes", "write_text", "write_bytes"}


@dataclass(frozen=True)
class Import:
    """One module that a file imports, at its head or later."""

    file: Path
    module: str

    @property
    def room(self) -> str:
        """The room of the file."""
        return self.file.relative_to(PACKAGE).parts[0].removesuffix(".py")

    @property
    def target(self) -> str:
        """The room imported, or the top-level package of somebody else."""
        top, _, rest = self.module.partition(".")
        return rest.partition(".")[0] if top == PACKAGE.name else top


def imports(file: Path) -> Iterator[Import]:
    """Return what a file imports, also inside functions and for type checkers."""
    here = (PACKAGE.name, *file.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(file, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield from (Import(file, f"{base}.{name.name}") for name in node.names)


def table(heading: str) -> list[list[list[str]]]:
    """Return of the table below the line that begins with `heading` the words in backticks, by row and column."""
    _, _, below = PAGE.read_text(encoding="utf-8").partition(f"\n{heading}")
    rows = re.search(r"^\| -.*\n((?:\|.*\n)+)", below, re.MULTILINE)
    assert rows is not None, heading
    return [[re.findall(r"`(\w+)`", cell) for cell in row.strip("|").split("|")] for row in rows[1].splitlines()]


LEVELS = [row[0] for row in table("## The rooms")]
HELD = {row[0][0]: set(row[1]) for row in table("Some rooms are held to more")}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if "_workspace" not in path.parts and path.parent != PACKAGE]
FILES += [path for path in sorted(PACKAGE.glob("*.py")) if path.stem != "__init__"]


@functools.cache
def every_import() -> list[Import]:
    """Return what all files import: read once, and not by every process that collects the tests."""
    return [one for file in FILES for one in imports(file)]


def test_every_room_stands_on_the_page_once() -> None:
    rooms = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in FILES}
    named = list(chain.from_iterable(LEVELS))
    assert sorted(named) == sorted(rooms)


def test_no_import_runs_up_or_sideways() -> None:
    level = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
    inside = [one for one in every_import() if one.module.startswith(f"{PACKAGE.name}.") and one.target in level]
    assert len(inside) > 100
    up = [one for one in inside if one.target != one.room and level[one.target] <= level[one.room]]
    assert [f"{one.file.relative_to(ROOT)} imports {one.module}" for one in up] == []


@pytest.mark.parametrize("room", HELD)
def test_a_room_held_to_more_imports_nothing_else(room: str) -> None:
    allowed = HELD[room] | {room} | set(sys.stdlib_module_names)
    found = [one for one in every_import() if one.room == room and one.target not in allowed]
    assert [f"{one.file.relative_to(ROOT)} imports {one.module}" for one in found] == []


def test_few_rooms_need_mlx() -> None:
    needing = {one.room for one in every_import() if one.target in ("mlx", "mlx_lm")}
    assert "measured" in needing
    assert needing <= FEW_NEED_MLX


@pytest.mark.parametrize("room", ["analysis", "protocol"])
def test_a_pure_room_opens_no_file(room: str) -> None:
    calls = {
        getattr(node.func, "attr", getattr(node.func, "id", ""))
        for file in FILES
        if file.relative_to(PACKAGE).parts[0] == room
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    }
    assert calls
    assert calls & READERS == set()


@pytest.mark.parametrize("page", [PAGE, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_file_named_is_there(page: Path) -> None:
    """Paths in backticks with a slash, but those with a name to be filled in, such as `kernels/NAME/`."""
    named = re.findall(r"`([\w.-]+/[\w./-]*)`", page.read_text(encoding="utf-8"))
    asked = {path for path in named if not re.search("NAME|FAMILY", path)}
    assert len(asked) > 10
    assert sorted(path for path in asked if not (ROOT / path).exists()) == []
