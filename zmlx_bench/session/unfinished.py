"""Sessions that were begun and not finished: which there are, and dropping one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.errors import CannotHere, UnusableInput, ZmlxError
from zmlx_bench.ledger import matrix
from zmlx_bench.session import store
from zmlx_bench.session.log import ends
from zmlx_bench.workspace import SESSION_FILE, Workspace


@dataclass(frozen=True)
class Unfinished:
    """A session that has recorded nothing: its jobs have not all run, or it cannot be finished."""

    session: str
    family: str | None
    """None where `session.json` cannot be read."""
    started: str | None
    jobs_done: int
    jobs: int | None
    held_by: str | None
    """Who measures it now, such as `process 123`; None where nobody does."""
    failure: str | None = None
    """Why it cannot be finished; None where it may be."""


def unfinished(workspace: Workspace) -> Iterator[Unfinished]:
    """Yield the unfinished sessions of a workspace by name, the ones that cannot be read among them.

    One that cannot be read, by its rights or its newer schema, and holds capsules may be finished, and is left out.
    """
    for path in sorted(workspace.capsules.glob(f"*/{SESSION_FILE}")):
        name = path.parent.name
        try:
            session = store.load(workspace, name)
        except ZmlxError:
            if any(each.name != SESSION_FILE for each in path.parent.glob("*.json")):
                continue
            yield Unfinished(name, None, None, 0, None, store.holder(workspace, name))
            continue
        if session.state != "finished":
            done = len(ends(store.events_path(workspace, name)))
            jobs = len(session.plan.jobs)
            holder = store.holder(workspace, name)
            yield Unfinished(name, session.plan.family, session.started, done, jobs, holder, session.failure)


def drop(workspace: Workspace, name: str) -> Path:
    """Remove an unfinished session's folder and return where it was.

    UnusableInput for a session that is finished or not there, CannotHere for one that is being measured.
    """
    _refuse_finished(workspace, name)
    lock = store.claim(workspace, name)
    try:
        # Another process may have been at it until now.
        _refuse_finished(workspace, name)
        folder = workspace.session(name)
        # First what makes it a session: a removal that is cut short leaves nothing that looks like one.
        (folder / SESSION_FILE).unlink()
        shutil.rmtree(folder)
        if workspace.matrix.exists():
            matrix.write(workspace, dropped=name)
    except OSError as error:
        raise CannotHere(f"{folder}: cannot be removed: {error.strerror or error}") from None
    finally:
        lock.release()
    return folder


def _refuse_finished(workspace: Workspace, name: str) -> None:
    if all(each.session != name for each in unfinished(workspace)):
        store.load(workspace, name)
        raise UnusableInput(f"session {name}: is finished; its capsules are evidence, which is not dropped")
