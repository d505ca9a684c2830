"""Sessions of something larger, which goes on after whatever ended it: each is named before it is written down."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from zmlx_bench.environments.make import Say
from zmlx_bench.errors import UnusableInput
from zmlx_bench.session import api, store
from zmlx_bench.session.request import Request
from zmlx_bench.session.runner import Observer
from zmlx_bench.workspace import SESSION_FILE, Workspace

Observe = Callable[[api.Prepared], AbstractContextManager[Observer]]
"""Watches a session that is about to run."""


def taken_up_or_begun(
    workspace: Workspace, name: str | None, what: str, request: Request, note: Callable[[str], object], say: Say
) -> api.Prepared:
    """Return the session whose name was written down, to go on with it, or a new one for `request`.

    `note` writes down the name of a new one before it begins: a process that is killed between the two leaves a name
    without a session, never a session that nobody knows of. `say` is told where `what` is measured anew, because the
    session of its name cannot be finished any more.
    """
    begun = _taken_up(workspace, name, what, share_device=request.share_device, say=say)
    if begun is not None:
        return begun
    fresh = store.new_name(request.family)
    note(fresh)
    # Nobody's incumbent is part of the question.
    return api.prepare(workspace, replace(request, session=fresh), lambda *_: None, say)


def _taken_up(
    workspace: Workspace, name: str | None, what: str, *, share_device: bool, say: Say
) -> api.Prepared | None:
    if name is None or not (workspace.session(name) / SESSION_FILE).is_file():
        return None
    try:
        return api.reopen(workspace, name, share_device=share_device)
    except UnusableInput as error:
        say(f"{error}; {what} is measured anew")
        return None
