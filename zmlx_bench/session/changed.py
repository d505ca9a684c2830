"""What of a session is no longer as it was planned: the versions, the machine, the checkpoint, the variants."""

from __future__ import annotations

from collections.abc import Iterator

from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.session import Session
from zmlx_bench.session import elsewhere
from zmlx_bench.session.environment import software
from zmlx_bench.session.failing import ChangedMeanwhile


def differences(
    session: Session, catalog: Catalog, made: elsewhere.Found, machine: Machine, located: Located
) -> list[str]:
    """Return why a session cannot be resumed as things are now, in words; none where it can.

    `made` are the environments of its arms as they are now.
    """
    changed: list[str] = []
    if session.plan.encoded is None:
        changed.append("it was planned before prompts were made token ids once a session")
    now = software(catalog.workspace.root)
    for field in ("mlx", "mlx_lm", "zmlx", "python", "commit"):
        before, after = getattr(session.software, field), getattr(now, field)
        if before != after:
            changed.append(f"{field} was {before} and is {after}")
    for field in ("device", "os", "cpu_count", "cores", "memory_gb"):
        before, after = getattr(session.machine, field), getattr(machine, field)
        if before != after:
            changed.append(f"machine.{field} was {before} and is {after}")
    if located.checkpoint.digest != session.plan.checkpoint.digest:
        changed.append(f"checkpoint was {session.plan.checkpoint.digest} and is {located.checkpoint.digest}")
    changed += [f"variant {parts} changed" for parts in _arms(session, catalog, made)]
    return changed


def refuse(session: Session, catalog: Catalog) -> None:
    """Raise ChangedMeanwhile where the jobs of a session cannot all have run what its plan says."""
    for parts in _arms(session, catalog, elsewhere.again(catalog, session.plan)):
        raise ChangedMeanwhile(
            f"session {session.session}: {parts} changed while it ran; nothing was recorded, start a new one"
        )


def _arms(session: Session, catalog: Catalog, made: elsewhere.Found) -> Iterator[str]:
    """Yield each variant that is no longer what was planned, with what may have changed; `made` are the environments
    as they are now. Its meaning counts, not the bytes of its sources."""
    for planned in (arm.variant for arm in session.plan.arms if arm.variant is not None):
        if planned.name in catalog.specs:
            now = elsewhere.as_now(catalog, planned.name, made)
            if planned.identity is None and now == planned:
                continue
            identified = catalog.identify(now, session.plan.backend, session.plan.conditions)
            if planned.identity is not None and identified.identity == planned.identity:
                continue
        own = "" if planned.environment is None else ", its environment"
        yield f"{planned.name}, its kernels{own} or the measured path"
