"""How much longer what has a promised time may take on a machine that others keep busy."""

from __future__ import annotations

import os


def stretch() -> float:
    """Return how many want each processor now, by the load of the last minute; 1 where there are enough for all."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
