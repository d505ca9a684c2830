"""`--rehash`: whether the weights here are still those that the evidence names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zmlx_bench.checkpoints.at_hand import digest_again
from zmlx_bench.errors import UnusableInput
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import relative
from zmlx_bench.ledger.check.session import ReadSession
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import SESSION_FILE, Workspace


@dataclass(frozen=True)
class Rehashed:
    """What hashing the weights of sessions again came to."""

    findings: tuple[Finding, ...] = ()
    hashed: int = 0
    """Checkpoints that are here."""
    absent: tuple[str, ...] = ()
    """Those that are not, by their source; weights made by a recipe are not among them."""

    @property
    def note(self) -> str:
        """Say what was hashed and what could not be."""
        elsewhere = f"; not here: {', '.join(self.absent)}" if self.absent else ""
        return f"hashed the weights of {self.hashed} checkpoint{'' if self.hashed == 1 else 's'} again{elsewhere}"


def _comparable(session: Session) -> bool:
    """Whether the digest is over files; that of some evidence of version 1 is over more than can be hashed again."""
    return "-" not in session.plan.checkpoint.digest


def rehash(workspace: Workspace, sessions: Iterable[ReadSession]) -> Rehashed:
    """Hash the weights of every session again, each checkpoint once, whatever is remembered of them."""
    now: dict[tuple[str, str, str], str | UnusableInput | None] = {}
    findings: list[Finding] = []
    absent: set[str] = set()
    for read in sessions:
        session = read.session
        if session is None or session.plan.checkpoint.kind == "synthetic" or not _comparable(session):
            continue
        checkpoint, option = session.plan.checkpoint, session.checkpoint_option
        # A checkpoint in the hub's cache is named by its source with the commit, a folder by the option.
        known = (session.plan.family, checkpoint.source, option)
        if known not in now:
            try:
                now[known] = digest_again(session.plan.family, checkpoint, option, workspace)
            except UnusableInput as error:
                now[known] = error
        found = now[known]
        file = f"{relative(workspace.root, read.folder)}/{SESSION_FILE}"
        if isinstance(found, UnusableInput):
            findings.append(finding(file, "plan.checkpoint", f"its weights cannot be used any more: {found}"))
        elif found is None:
            absent.add(checkpoint.source)
        elif found != checkpoint.digest:
            text = f"the weights of {checkpoint.source} are others now: {found}, and {checkpoint.digest} was measured"
            findings.append(finding(file, "plan.checkpoint.digest", text))
    return Rehashed(tuple(findings), sum(isinstance(each, str) for each in now.values()), tuple(sorted(absent)))
