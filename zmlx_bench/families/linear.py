"""Moved to `zmlx_bench.measured.api`; this name goes with version 0.3."""

import warnings

from zmlx_bench.measured.families.linear import linear_hosts

__all__ = [
    "linear_hosts",
]

warnings.warn("zmlx_bench.families.linear has moved to zmlx_bench.measured.api", DeprecationWarning, stacklevel=2)
