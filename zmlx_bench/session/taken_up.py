"""Sessions of something larger, which goes on after whatever ended it: each is named before it is written down."""

from __future__ import annotations

from dataclasses import replace

from zmlx_bench.environments.make import Say
from zmlx_bench.errors import UnusableInput
from zmlx_bench.session import api, store
from zmlx_bench.session.request import Request
from zmlx_bench.workspace import SESSION_FILE, Workspace


def named(request: Request) -> tuple[str, Request]:
    """Return a name for the session of a request, to be written down before it begins, and the request with it.

    A process that is killed between the two leaves a name without a session, never a session that nobody knows of.
    """
    name = store.new_name(request.family)
    return name, replace(request, session=name)


def taken_up(workspace: Workspace, name: str | None, what: str, *, share_device: bool, say: Say) -> api.Prepared | None:
    """Return the session of a name that was written down, to go on with.

    None where it was never written, or cannot be finished any more: then `say` is told that `what` is measured anew.
    """
    if name is None or not (workspace.session(name) / SESSION_FILE).is_file():
        return None
    try:
        return api.reopen(workspace, name, share_device=share_device)
    except UnusableInput as error:
        say(f"{error}; {what} is measured anew")
        return None
