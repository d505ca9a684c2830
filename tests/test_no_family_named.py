"""Nothing outside a family's own folder names a family: a new one is no edit of the harness or of a kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zmlx_bench.catalog import families

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile("|".join((*families.names(), "qwen", "glm", "lfm2")), re.IGNORECASE)
OWN = ("zmlx_bench/measured/families/{}/", "zmlx_bench/checkpoints/tiny_{}/")
LEGACY = "zmlx_bench/legacy/"
"""Reads the predecessor's files, whose names and variants say the models that it measured."""
NOTES = "NOTES.md"
"""What is known about a kernel, beside it: figures say which model was measured."""
TEXT = {".py", ".toml", ".in", ".metal", ".cu", ".h", ".cpp", ".inl", ".txt", ".j2", ".js", ".css", ".json", ".md"}


def files() -> list[Path]:
    own = tuple(form.format(name) for form in OWN for name in families.names())
    found = []
    for root in ("zmlx_bench", "kernels"):
        for path in sorted((ROOT / root).rglob("*")):
            relative = path.relative_to(ROOT).as_posix()
            skipped = relative.startswith((*own, LEGACY)) or "__pycache__" in relative or "/build/" in relative
            skipped = skipped or path.name == NOTES
            if path.is_file() and path.suffix in TEXT and not skipped:
                found.append(path)
    return found


def test_the_search_sees_what_it_is_for() -> None:
    seen = {path.relative_to(ROOT).as_posix() for path in files()}
    assert {"zmlx_bench/measured/steps.py", "kernels/moe_router/kernel.py", "kernels/moe_router/pick.h"} <= seen
    assert "zmlx_bench/templates/kernel/test.py.in" in seen
    assert NAMED.search((ROOT / "zmlx_bench/measured/families/qwen3/facts.toml").read_text())


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_family_is_named(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if NAMED.search(line)] == []
