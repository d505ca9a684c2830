"""Moved to `zmlx_bench.measured.api`; this name goes with version 0.3."""

import warnings

from zmlx_bench.measured.families.base import Family

__all__ = [
    "Family",
]

warnings.warn("zmlx_bench.families.base has moved to zmlx_bench.measured.api", DeprecationWarning, stacklevel=2)
