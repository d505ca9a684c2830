"""The matrix while sessions come in."""

from __future__ import annotations

import time

from zmlx_bench.ledger import matrix
from zmlx_bench.workspace import Workspace

SHARE = 50.0
"""Times as long as writing the matrix takes pass until it is written again."""


class Rows:
    """The matrix, which is made from what all sessions have: written seldom enough to cost little where they are many.

    What a killed head did not write the next one does, and so does `zmlx promote`.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._due, self._took_s, self._wrote = workspace, True, 0.0, 0.0
        self.write()

    def came(self, anything: bool) -> None:
        """Write it where something came and the last time is long enough ago."""
        self._due = self._due or anything
        if self._due and time.monotonic() - self._wrote >= SHARE * self._took_s:
            self.write()

    def write(self) -> None:
        """Write it where something came since."""
        if self._due:
            began = time.monotonic()
            matrix.write(self._workspace)
            self._wrote = time.monotonic()
            self._took_s, self._due = self._wrote - began, False
