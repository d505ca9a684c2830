"""`session.json`: the plan of a session, where it ran, and how it ended."""

from __future__ import annotations

from typing import Literal

from zmlx_bench.schema.base import Count, FileName, Name, NonEmpty, Sha256, StrictModel, UtcTime, content_hash
from zmlx_bench.schema.capsule import Software
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.plan import Plan


class CapsuleRef(StrictModel):
    """A capsule that a finished session wrote."""

    file: FileName
    """Name in the session's folder."""
    content_sha256: Sha256


class Session(StrictModel):
    """A session; written before its first process (`running`) and again when it has ended (`finished`)."""

    schema_version: Literal[1]
    session: Name
    state: Literal["running", "finished"]
    started: UtcTime
    ended: UtcTime | None = None
    command: tuple[str, ...]
    checkpoint_option: NonEmpty
    """What `--checkpoint` said, or what `auto` came to; a resume finds the weights by it."""
    environment: dict[str, str] = {}
    shared_device: bool = False
    plan: Plan
    machine: Machine
    software: Software
    capsules: tuple[CapsuleRef, ...] = ()
    resumed: Count = 0
    """How often it was taken up again."""
    content_sha256: Sha256


def sealed(session: Session) -> Session:
    """Return `session` with the content hash it must carry."""
    return session.model_copy(update={"content_sha256": session_hash(session)})


def session_hash(session: Session) -> str:
    """Return the hash that `session` must carry."""
    fields = session.model_dump(mode="json", exclude={"content_sha256"})
    if session.plan.audit_positions is None:
        # Sessions that were written before there was an audit keep their hash.
        del fields["plan"]["audit_positions"]
    return content_hash(fields)
