"""What is drawn again and again on a terminal while a command works, and nowhere else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live


class Drawn(ABC):
    """Draws its view until it is left; use it as a context manager."""

    def __init__(self, console: Console, redraws_per_s: float) -> None:
        """Few redraws: each takes time from the process that is measured."""
        self._console, self._redraws_per_s = console, redraws_per_s
        self._live: Live | None = None
        self.drawn = console.is_terminal and not console.is_dumb_terminal
        """Whether there is a terminal to draw on."""

    @abstractmethod
    def view(self) -> RenderableType:
        """Return what is drawn now."""

    def __enter__(self) -> Self:
        if self.drawn:
            self._live = Live(
                console=self._console,
                get_renderable=self.view,
                refresh_per_second=self._redraws_per_s,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()
