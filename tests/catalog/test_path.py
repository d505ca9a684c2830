"""The measured path of each packaged family as it is pinned: whoever moves it knows what it costs."""

from __future__ import annotations

import tomllib
from pathlib import Path

from zmlx_bench.catalog import families
from zmlx_bench.catalog.identity import FORMULA, path_digest

PINNED = tomllib.loads((Path(__file__).parent / "path.toml").read_text(encoding="utf-8"))
MOVED = (
    "the measured path moved: evidence measured before no longer counts beside what is measured from now on. "
    "If that is meant, run `python tools/pin_path.py` and say so in the commit; a new family, condition or environment "
    "is a new file and leaves it alone"
)


def test_the_default_path_of_each_packaged_family_is_the_pinned_one() -> None:
    assert PINNED["formula"] == FORMULA
    assert {name: path_digest(families.folder(name)) for name in families.names()} == PINNED["path"], MOVED
