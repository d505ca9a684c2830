"""Rows of a page that takes long to simulate: each is kept when it is known, and a run that was ended goes on there.

They are kept in the user's cache, by what they were made with: the sources, the thresholds and numpy. With any other
they are made again, so that a page is never put together of several.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import zmlx_bench
from zmlx_bench import files
from zmlx_bench.measured.user_cache import user_cache_path

PACKAGE = Path(zmlx_bench.__file__).parent
POLICY = PACKAGE.parent / "variants" / "policy.toml"
DECISION = (PACKAGE / "analysis" / "decision", PACKAGE / "protocol")


@dataclass(frozen=True)
class Row:
    """Lines of a table, and rates with the sessions they are of, by what they must keep to."""

    lines: tuple[str, ...]
    noted: tuple[tuple[str, float, int], ...] = ()


class KeptRows:
    """The rows of one page; `made_with` are the scripts that make them, `settings` what they were asked for."""

    def __init__(self, page: str, made_with: Iterable[Path], settings: object, folder: Path | None = None) -> None:
        sources = [*made_with, POLICY, *(path for room in DECISION for path in sorted(room.glob("*.py")))]
        known = hashlib.sha256(json.dumps([np.__version__, settings]).encode())
        for path in sources:
            known.update(hashlib.sha256(path.read_bytes()).digest())
        self._path = (folder or user_cache_path("zmlx") / "rows") / f"{page}.jsonl"
        self._key = known.hexdigest()
        self._rows: dict[str, Row] = {}
        self._read()

    def row(self, name: str, make: Callable[[], Row]) -> Row:
        """Return the row called `name`, made where it is not kept; its lines are printed on standard error."""
        found = self._rows.get(name)
        if found is None:
            found = self._rows[name] = make()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([name, found.lines, found.noted]) + "\n")
        for line in found.lines:
            print(line, file=sys.stderr, flush=True)
        return found

    def _read(self) -> None:
        try:
            key, *lines = self._path.read_text(encoding="utf-8").splitlines() or [""]
        except FileNotFoundError:
            key, lines = "", []
        if key != self._key:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(self._key + "\n", encoding="utf-8")
            return
        whole = 0
        for each in lines:
            try:
                name, rows, noted = json.loads(each)
            except ValueError:
                # The last one, of a run that was killed while it wrote.
                break
            whole += 1
            self._rows[name] = Row(tuple(rows), tuple((key, rate, count) for key, rate, count in noted))
        if whole < len(lines):
            written = "".join(f"{each}\n" for each in (self._key, *lines[:whole]))
            files.write_atomic(self._path, written.encode())
