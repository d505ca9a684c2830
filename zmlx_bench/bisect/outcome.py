"""What a bisection has come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from zmlx_bench.analysis.halving import Answer, between, next_version
from zmlx_bench.schema.bisection import Bisection, BisectionStep

Kind = Literal["running", "same", "undecided", "found"]


@dataclass(frozen=True)
class Outcome:
    """Where the change lies, as far as that is known."""

    kind: Kind
    """`same`: the ends do not differ. `undecided`: it lies between two versions that are no neighbours."""
    last_good: str
    first_bad: str
    undecided: tuple[str, ...] = ()
    """Versions between the two of which nothing could be said."""
    skipped: tuple[str, ...] = ()
    """Versions between the two that cannot be run."""
    step: BisectionStep | None = None
    """What was found of the first bad one."""
    with_it: tuple[tuple[str, str | None, str | None], ...] = ()
    """What else differs between the environments of the two: name, version in the one, in the other."""


def answers_of(bisection: Bisection) -> dict[int, Answer]:
    """Return what was found of the versions between the ends, by their place in the list."""
    places = {one.version: at for at, one in enumerate(bisection.versions)}
    return {places[step.version]: step.said for step in bisection.steps if step.said is not None}


def asks_next(bisection: Bisection) -> str | None:
    """Return the version to ask about; None before the ends are known to differ, and where nothing is left to ask."""
    if bisection.ends is None or bisection.ends.said != "bad":
        return None
    running = next((step.version for step in bisection.steps if step.said is None), None)
    if running is not None:
        return running
    at = next_version(len(bisection.versions), answers_of(bisection))
    return None if at is None else bisection.versions[at].version


def outcome(bisection: Bisection) -> Outcome:
    """Return what is known."""
    names = [one.version for one in bisection.versions]
    ends = bisection.ends
    if ends is None or ends.said is None or asks_next(bisection) is not None:
        return Outcome("running", names[0], names[-1], step=ends)
    if ends.said != "bad":
        return Outcome("same" if ends.said == "good" else "undecided", names[0], names[-1], step=ends)
    known = between(len(names), answers_of(bisection))
    good, bad = names[known.last_good], names[known.first_bad]
    step = bisection.step(bad) or ends
    good_step = bisection.step(good)
    before = bisection.good_distributions if good_step is None else good_step.distributions
    return Outcome(
        "found" if known.found else "undecided",
        good,
        bad,
        tuple(names[at] for at in known.undecided),
        tuple(names[at] for at in known.skipped),
        step,
        _other(before, step.distributions),
    )


def _other(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[tuple[str, str | None, str | None], ...]:
    names = sorted({*before, *after})
    return tuple((name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name))
