"""Moved to `zmlx_bench.measured.api`; this name goes with version 0.3."""

import warnings

from zmlx_bench.measured.host import Halves, Host, halves_of, replace_call, stock_call, tokens_of

__all__ = [
    "Halves",
    "Host",
    "halves_of",
    "replace_call",
    "stock_call",
    "tokens_of",
]

warnings.warn("zmlx_bench.patch.host has moved to zmlx_bench.measured.api", DeprecationWarning, stacklevel=2)
