"""What a verdict needs of a capsule and of a session, read without validating the raw runs behind it.

A report reads many capsules; their tokens and times matter to `zmlx check` only, which recomputes the figures.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from zmlx_bench.schema.audit import AuditFigures
from zmlx_bench.schema.base import Name, Positive, Role, Sha256, Status, UtcTime
from zmlx_bench.schema.capsule import Software
from zmlx_bench.schema.figures import Figures
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.plan import Checkpoint
from zmlx_bench.schema.session import CapsuleRef
from zmlx_bench.schema.variant import ResolvedVariant


class _Head(BaseModel):
    """A part of an artifact: what it does not name is skipped."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class RunHead(_Head):
    """How a process ended."""

    status: Status
    message: str | None = None


class RunSetHead(_Head):
    """The variant's processes."""

    variant: tuple[RunHead, ...]


class ProtocolHead(_Head):
    """How it was measured."""

    runs: Positive
    null_arm: bool
    shared_device: bool = False


class AuditHead(_Head):
    """What the audit says."""

    status: Status
    message: str | None = None
    figures: AuditFigures | None = None


class CapsuleHead(_Head):
    """A capsule without its raw runs."""

    schema_version: Literal[1]
    session: Name
    time: UtcTime
    family: Name
    checkpoint: Checkpoint
    machine: Machine
    software: Software
    variant: ResolvedVariant
    incumbent: ResolvedVariant | None
    tokens: Positive
    protocol: ProtocolHead
    status: Status
    runs: RunSetHead
    fidelity_runs: RunSetHead
    figures: Figures
    audit: AuditHead | None = None
    content_sha256: Sha256


class ArmHead(_Head):
    """An arm of the plan."""

    name: Name
    role: Role


class PlanHead(_Head):
    """The plan of a session."""

    family: Name
    checkpoint: Checkpoint
    tokens: tuple[Positive, ...]
    runs: Positive
    arms: tuple[ArmHead, ...]


class SessionHead(_Head):
    """A session without its jobs."""

    schema_version: Literal[1]
    session: Name
    state: str
    started: UtcTime
    ended: UtcTime | None = None
    plan: PlanHead
    machine: Machine
    software: Software
    capsules: tuple[CapsuleRef, ...] = ()
    content_sha256: Sha256
