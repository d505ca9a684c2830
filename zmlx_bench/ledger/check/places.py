"""The runs of a capsule with their places in it, as findings name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from zmlx_bench.schema.base import Role
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.run import Run, RunSet


class Placed(NamedTuple):
    """A run and where it stands."""

    place: str
    """Such as `runs.null[2]`."""
    run: Run
    role: Role
    """Of the runs among which it stands."""
    timed: bool


def every(capsule: Capsule) -> Iterator[Placed]:
    """Yield the timed runs, then the untimed ones."""
    yield from timed(capsule)
    yield from _placed("fidelity_runs", capsule.fidelity_runs, is_timed=False)


def timed(capsule: Capsule) -> Iterator[Placed]:
    """Yield the timed runs."""
    return _placed("runs", capsule.runs, is_timed=True)


def _placed(group: str, runs: RunSet, *, is_timed: bool) -> Iterator[Placed]:
    for role, found in runs.by_role:
        for index, run in enumerate(found):
            yield Placed(f"{group}.{role}[{index}]", run, role, is_timed)
