"""The packaged families."""

from __future__ import annotations

from zmlx_bench.catalog import families
from zmlx_bench.measured.families.base import Family
from zmlx_bench.measured.families.loading import load


def family(name: str) -> Family:
    """The packaged family called `name`, loaded."""
    return load(families.folder(name))
