"""A clock that nobody sets, beside the one that tells the time of day."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's counts the time asleep only under this name, macOS's under the other too."""


def since_boot_s() -> float:
    """Return seconds since the machine started, those asleep included, to the millisecond."""
    return round(time.clock_gettime(_CLOCK), 3)
