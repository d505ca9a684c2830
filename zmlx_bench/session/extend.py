"""Takes a finished session up again that its looks left undecided: more blocks, up to those that were planned."""

from __future__ import annotations

import contextlib

from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import matrix, notebook, promotions
from zmlx_bench.schema.session import Session
from zmlx_bench.session import store
from zmlx_bench.workspace import SESSION_FILE, Workspace


def check(workspace: Workspace, session: Session) -> None:
    """Raise UnusableInput, naming why, where a session cannot be taken up again."""
    name = session.session
    if session.state != "finished":
        raise UnusableInput(f"session {name}: has not finished; --resume finishes it")
    if not session.plan.looks:
        raise UnusableInput(
            f"session {name}: its {session.plan.blocks} blocks were fixed beforehand; adding some because of what they "
            "showed would make chance look like a gain, so start a new one, with --until-decided if it may grow"
        )
    stopped = session.stopped
    if stopped is None or stopped.blocks >= session.plan.blocks:
        raise UnusableInput(f"session {name}: has run all {session.plan.blocks} blocks of its plan; start a new one")
    if not stopped.undecided:
        raise UnusableInput(f"session {name}: every variant of it is decided; start a new one to confirm it")
    if not store.events_path(workspace, name).exists():
        raise UnusableInput(
            f"session {name}: its events.jsonl is not here, so its first blocks cannot be counted again"
        )
    told = any(name in entry.sessions for entry in notebook.all_entries(workspace))
    if told or any(name in promotion.sessions for promotion in promotions.read(workspace).promotion):
        raise UnusableInput(f"session {name}: the notebook rests on it as it is; start a new one")


def open_again(workspace: Workspace, session: Session) -> Session:
    """Return the session as one that runs, and remove its capsules and rows: they are made again of all its blocks.

    Only for who holds the session; a removal that is cut short is done again when the session is resumed.
    """
    changed = {"state": "running", "ended": None, "stopped": None, "capsules": (), "extended": session.extended + 1}
    running = store.write(workspace, session.model_copy(update=changed))
    remove(workspace, running)
    return running


def remove(workspace: Workspace, session: Session) -> None:
    """Remove the capsules and rows of a session that runs."""
    folder = workspace.session(session.session)
    for path in (*folder.glob("*.json"), matrix.rows_path(workspace, session.session)):
        if path.name != SESSION_FILE:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    if workspace.matrix.exists():
        matrix.write(workspace, dropped=session.session)
