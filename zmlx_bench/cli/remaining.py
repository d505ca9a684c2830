"""How long the rest of a session takes, from the processes that have ended."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from zmlx_bench.schema.plan import Job


class Remaining:
    """A process takes its set-up (start, loading, warming up), then a time for each token, which depends on its arm."""

    def __init__(self, cooldown_s: float) -> None:
        self._cooldown_s = cooldown_s
        self._set_up: list[float] = []
        self._token: dict[str, list[float]] = {}

    def ended(self, job: Job, set_up_s: float, rest_s: float) -> None:
        """Take what a process took until its first prompt, and from there to its end, seconds."""
        self._set_up.append(set_up_s)
        self._token.setdefault(job.arm, []).append(rest_s / _tokens(job))

    def seconds(self, jobs: Iterable[Job]) -> float | None:
        """Return what `jobs` will take; None before any process has ended."""
        if not self._set_up:
            return None
        set_up = fmean(self._set_up) + self._cooldown_s
        of_any = fmean(rate for rates in self._token.values() for rate in rates)
        rates = {arm: fmean(found) for arm, found in self._token.items()}
        return sum(set_up + _tokens(job) * rates.get(job.arm, of_any) for job in jobs)


def words(seconds: float | None) -> str:
    """Return `about 3 min left`; coarse, as the estimate is."""
    if seconds is None:
        return "time left not known yet"
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s left"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"


def _tokens(job: Job) -> int:
    return job.tokens * len(job.prompts)
