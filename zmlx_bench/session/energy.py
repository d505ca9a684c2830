"""The energy of a timed decode, read as the worker's tokens come in."""

from __future__ import annotations

from zmlx_bench.machine.energy import Meter
from zmlx_bench.schema.event import Prefix, PromptEnd, PromptStart, Token, WorkerEvent


class DecodeEnergy:
    """Reads the meter at the first token, at the end of a shorter budget and at the end of a prompt."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._first = False
        self.joules: float | None = None
        """Of the last prompt; None before it has ended, and where no counter tells."""
        self.prefixes: dict[int, float] = {}
        """Of its first so many tokens, as far as a counter tells."""

    def note(self, event: WorkerEvent) -> None:
        """Take an event as it comes."""
        if isinstance(event, PromptStart):
            self._first = True
        elif isinstance(event, Token) and self._first:
            self._first = False
            self._meter.start()
        elif isinstance(event, Prefix):
            if (joules := self._meter.stop()) is not None:
                self.prefixes[event.tokens] = joules
        elif isinstance(event, PromptEnd):
            self.joules = self._meter.stop()
