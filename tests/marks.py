"""The marks that a test has by where it stands and what it asks for. `make quick` leaves all of them out.

`process` starts real processes: workers, commands, compilers, browsers. `model` decodes with a tiny model. `evidence`
makes, decides and checks whole workspaces. `docs` builds the pages or runs what they show. Elsewhere a module says so
itself: `pytestmark = pytest.mark.process`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
PLACES = {
    "air": "process",
    "bench": "process",
    "benchmarks": "process",
    "cli": "process",
    "docs": "docs",
    "hostile": "process",
    "ledger": "evidence",
    "ledger/test_matrix.py": "process",
    "ledger/test_merge.py": "process",
    "ledger/test_recorded_at_once.py": "process",
    "ledger/test_wording.py": "process",
    "measured/test_alone.py": "process",
    "measured/conditions/test_run.py": "model",
    "measured/worker": "process",
    "reliability": "process",
    "screen": "process",
    "session": "process",
    "shim": "process",
    "templates": "process",
    "test_new_family.py": "process",
    "verify": "process",
}
"""Folders and files, from here."""
FIXTURES = {"zmlx": "process", "browser": "process", "tiny": "model"}
SHARED = {"session"}
"""Folders whose tests look at the same long fixtures: one worker of xdist takes them all, elsewhere it takes a file."""
LONGEST = (
    "fleet/test_cluster.py",
    "session",
    "docs/test_commands.py",
    "reliability/test_processes.py",
    "reliability/test_supervisor.py",
    "screen/test_screening.py",
    "ledger/test_check.py",
    "ledger/test_decide.py",
    "schema/test_models.py",
    "report/test_pages.py",
    "cli/test_generate.py",
    "reliability/test_many_at_once.py",
    "test_new_family.py",
    "cli/test_main.py",
    "cli/test_terminal.py",
    "measured/worker/test_worker.py",
    "docs/test_site.py",
    "kernels/test_gather_qmm_down_combine.py",
    "cli/test_locale.py",
    "kernels/test_gather_qmm_swiglu.py",
    "docs/test_workflows.py",
    "kernels/test_cuda_rows.py",
    "kernels/test_decoder_step.py",
    "ledger/test_merge.py",
    "air/test_planted.py",
    "environments/test_make.py",
    "reliability/test_disk.py",
    "upgrade/test_check.py",
    "cli/test_serve.py",
)
"""What xdist hands out first, by the seconds that it takes: of what comes last, one worker has the end alone. xdist
itself would begin with what has most tests, which is not what takes longest."""
UNHELD = {"process", "docs", "slow", "gpu"}
"""Marks whose tests may start processes."""

_held: list[str] = []


def mark(item: pytest.Item, *, grouped: bool) -> None:
    """Add the marks that follow from the item's folder and fixtures."""
    place = item.path.relative_to(TESTS).as_posix()
    asked = getattr(item, "fixturenames", ())
    found = {mark for part, mark in PLACES.items() if f"{place}/".startswith(f"{part}/")}
    for name in sorted(found.union(mark for fixture, mark in FIXTURES.items() if fixture in asked)):
        item.add_marker(name)
    if grouped:
        item.add_marker(pytest.mark.xdist_group(group(place)))


def group(place: str) -> str:
    """Return what one worker of xdist takes together with the file at `place`."""
    folder = place.partition("/")[0]
    return folder if folder in SHARED else place


def turn(item: pytest.Item) -> int:
    """Return when the item's group is handed out; those of one turn keep their order."""
    found = group(item.path.relative_to(TESTS).as_posix())
    return LONGEST.index(found) if found in LONGEST else len(LONGEST)


@contextlib.contextmanager
def held(item: pytest.Item) -> Iterator[None]:
    """While the item runs, let it start no process unless it is marked so."""
    if UNHELD.intersection(mark.name for mark in item.iter_markers()):
        yield
        return
    _held.append(item.nodeid)
    try:
        yield
    finally:
        _held.clear()


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if _held and event in ("subprocess.Popen", "os.fork"):
        raise AssertionError(f"{_held[0]} starts {arguments[:2]}; mark it `process`")


sys.addaudithook(_refuse)
