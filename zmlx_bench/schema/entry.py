"""`notebook/<time>-<group>-<hash>.json`: what a body of evidence said about a group, as data, and in words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import StringConstraints

from zmlx_bench.schema.base import Count, Name, NonEmpty, Positive, Sha256, StrictModel
from zmlx_bench.schema.cited import CitedCapsule

SHORT = 8
"""Hex digits of the evidence's hash in a file's name."""

EntryTitle = Annotated[str, StringConstraints(pattern=r"^EXP-[A-Z0-9][A-Z0-9_.\-]{0,149}$")]


class EntryGate(StrictModel):
    """One condition of a verdict: what was found, and what it was held against."""

    id: NonEmpty
    outcome: Literal["pass", "fail", "unknown"]
    figure: float | int | str | None
    threshold: float | int | str | None


class EntryVerdict(StrictModel):
    """The verdict on one variant."""

    variant: Name
    verdict: Literal["PROMOTE", "CANDIDATE", "NEAR-CANDIDATE", "HOLD", "INCONCLUSIVE", "REJECT"]
    reason: NonEmpty
    """The gate that decided."""
    rests_on: tuple[Name, ...]
    """Sessions, latest first."""
    blocks_needed: Count | None
    gates: tuple[EntryGate, ...]


class EntryDecision(StrictModel):
    """What became of the group's default."""

    rule: Positive
    """Number of the decision rule that was followed."""
    action: Literal["promote", "keep", "demote", "none"]
    recommended: Name | None
    """Null is the stock model."""
    verdicts: tuple[EntryVerdict, ...]


class Entry(StrictModel):
    """An entry of the notebook. `zmlx check` recomputes its data; its words are kept as they were written."""

    schema_version: Literal[1] = 1
    kind: Literal["experiment"] = "experiment"
    title: EntryTitle
    sessions: tuple[Name, ...]
    """The evidence: all finished sessions of the group, latest first."""
    evidence_sha256: Sha256
    """Hash over the content hashes of all their capsules."""
    incumbent: Name | None
    """The default before the latest of them."""
    policy_sha256: Sha256
    decision: EntryDecision | None
    """Null in an entry from before there was data, where the policy that decided is no longer here."""
    cited: tuple[CitedCapsule, ...]
    """The capsules that the verdicts rest on."""
    prose: tuple[str, ...]
    """Markdown, one line each, without the heading."""
    prose_sha256: Sha256
    """Hash over the lines of `prose`, joined by newlines."""

    @property
    def file_name(self) -> str:
        """The name that its file must have."""
        stamp, _, group = self.title.removeprefix("EXP-").partition("-")
        end = f"-{self.evidence_sha256[:SHORT]}"
        return f"{stamp}-{group.lower().removesuffix(end)}{end}.json"

    @property
    def text(self) -> str:
        """The entry as Markdown."""
        return "\n".join((f"## {self.title}", "", *self.prose)) + "\n"


def prose_hash(prose: Sequence[str]) -> str:
    """Return the SHA-256 (hex) of an entry's words."""
    return hashlib.sha256("\n".join(prose).encode("utf-8", "surrogatepass")).hexdigest()
