"""Progress of a screening: the running table on a terminal, elsewhere a line for each process and each variant lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.text import Text

from zmlx_bench.cli import remaining
from zmlx_bench.cli.drawn import Drawn
from zmlx_bench.report.layout import Flow
from zmlx_bench.screen import show
from zmlx_bench.screen.report import report
from zmlx_bench.screen.run import Process, Screen

_REDRAWS_PER_S = 1


class Progress(Drawn):
    """An observer that shows where a screening stands."""

    def __init__(self, screen: Screen, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, _REDRAWS_PER_S)
        self._screen = screen
        self._clock = clock
        self._begun = clock()
        self._told: set[str] = set()
        self._at: Process | None = None
        self._compiling = False
        self._ended = 0
        self._seen = report(screen)
        self._tell()

    def started(self, process: Process) -> None:
        """Show the process that runs now."""
        self._at, self._compiling = process, False

    def compiling(self, process: Process) -> None:
        """Show that kernels are compiled before the process."""
        self._at, self._compiling = process, True

    def changed(self, process: Process) -> None:
        """Say at once which variant was dropped."""
        for name, dropped in process.ran.dropped.items():
            if name not in self._told:
                self._told.add(name)
                self._console.print(f"{dropped.status}: {dropped.message}: {name}")

    def ended(self, process: Process) -> None:
        """Take what is known now, and say it where nothing is drawn."""
        self._ended += process.ran.done
        self._seen = report(self._screen)
        self._tell()
        one = self._seen.ran[-1]
        if one.reason is not None:
            self._console.print(show.dropped_line(one))
        if not self.drawn:
            self._console.print(Text(f"process {process.number} ended, {self._left()}"))
            self._console.print(show.ratios(self._seen))

    def view(self) -> RenderableType:
        """Return what is drawn now."""
        place = f"process {self._ended + 1} of {self._screen.planned}"
        known = None if self._at is None else self._at.ran.at
        arm = known or ("compiling kernels for all processes" if self._compiling else "loading")
        return Group(Flow([place, Text(arm, "bold"), self._left()], hang=2), show.ratios(report(self._screen)))

    def _tell(self) -> None:
        new = [row for row in self._seen.variants if row.reason is not None and row.variant not in self._told]
        self._told.update(row.variant for row in new)
        for line in show.reasons(new):
            self._console.print(line)

    def _left(self) -> str:
        if not self._ended:
            return remaining.words(None)
        left = max(0, self._screen.planned - self._ended)
        return remaining.words((self._clock() - self._begun) / self._ended * left) if left else "all of them"
