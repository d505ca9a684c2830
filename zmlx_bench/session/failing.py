"""Errors that end a session for good: to resume it would give nothing."""

from __future__ import annotations

from zmlx_bench.errors import CannotHere, UnusableInput


class StockFails(CannotHere):
    """The stock model itself does not run here, so that there is nothing to compare with."""


class ChangedMeanwhile(UnusableInput):
    """What is measured changed while the session ran."""


FOR_GOOD = (StockFails, ChangedMeanwhile)
