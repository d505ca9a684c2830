"""Where in an ordered list of versions something changed, found by halving.

The first version is like the good end and the last like the bad one. Versions between them are asked about one by one;
one that cannot be run is passed over, and so is one of which nothing can be said, a few times: an answer is never
guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Answer = Literal["good", "bad", "undecided", "skipped"]
"""Like the good end, like the bad end, not told apart, or cannot be run."""

PATIENCE = 2
"""Versions of which nothing could be said that are passed over before the search gives up."""


@dataclass(frozen=True)
class Between:
    """What is known: the change lies after one version and not after another."""

    last_good: int
    first_bad: int
    undecided: tuple[int, ...]
    """Versions strictly between, of which nothing could be said."""
    skipped: tuple[int, ...]
    """Versions strictly between that cannot be run."""

    @property
    def found(self) -> bool:
        """Whether the two are neighbours among the versions that can be run."""
        return self.first_bad - self.last_good - 1 == len(self.skipped)


def between(count: int, answers: Mapping[int, Answer]) -> Between:
    """Return what the answers say of `count` versions, by index; ValueError below two versions or for an end's index.

    A version is like the bad end from the first that is, whatever is said of later ones.
    """
    if count < 2 or not set(answers) <= set(range(1, count - 1)):
        raise ValueError(f"{count} versions have no answers at {sorted(answers)}")
    first_bad = min((at for at, answer in answers.items() if answer == "bad"), default=count - 1)
    last_good = max((at for at, answer in answers.items() if answer == "good" and at < first_bad), default=0)
    inside = {at: answers[at] for at in sorted(answers) if last_good < at < first_bad}
    return Between(
        last_good,
        first_bad,
        tuple(at for at, answer in inside.items() if answer == "undecided"),
        tuple(at for at, answer in inside.items() if answer == "skipped"),
    )


def next_version(count: int, answers: Mapping[int, Answer]) -> int | None:
    """Return the version to ask about, by index; None where the answers say all that they will.

    The middle of the longest run of versions that were not asked about yet.
    """
    known = between(count, answers)
    if len(known.undecided) > PATIENCE:
        return None
    longest: list[int] = []
    run: list[int] = []
    for at in range(known.last_good + 1, known.first_bad):
        run = [] if at in answers else [*run, at]
        longest = run if len(run) > len(longest) else longest
    return longest[len(longest) // 2] if longest else None
