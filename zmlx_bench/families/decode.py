"""Moved to `zmlx_bench.measured.api`; this name goes with version 0.3."""

import warnings

from zmlx_bench.measured.families.decode import append, projection

__all__ = [
    "append",
    "projection",
]

warnings.warn("zmlx_bench.families.decode has moved to zmlx_bench.measured.api", DeprecationWarning, stacklevel=2)
