"""Editors on Windows put a byte order mark before what people write: it is read as if it were not there."""

from __future__ import annotations

import codecs
import shutil
from collections.abc import Callable
from pathlib import Path

from zmlx_bench.catalog import families
from zmlx_bench.catalog.available import why_not
from zmlx_bench.catalog.kernels import load as kernels_of
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.cli import complete
from zmlx_bench.measured.families import loading
from zmlx_bench.workspace import Workspace

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "new_family"


def test_what_people_write_may_begin_with_one(make_workspace: Callable[..., Workspace]) -> None:
    place = make_workspace("no_op")
    for folder in ("families", "variants"):
        shutil.copytree(EXAMPLE / folder, place.root / folder, dirs_exist_ok=True)
    (own,) = set(families.names(place)) - set(families.names())
    before = Catalog(place, "qwen3")
    plain = before.identify(before.resolve("no_op"), "cpu").identity
    written = [place.families / own, place.kernels / "no_op", place.variants]
    for path in (path for folder in written for path in folder.rglob("*") if path.suffix in (".py", ".toml")):
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    catalog = Catalog(place, "qwen3")
    assert catalog.identify(catalog.resolve("no_op"), "cpu").identity == plain
    assert why_not(place, kernels_of(place)["no_op"], "stock", "cpu") is None
    assert loading.load(families.folder(own, place)).name == own
    assert Catalog(place, own).specs
    assert "no_op" in complete._tables(place.variants / "qwen3.toml", "variant")
