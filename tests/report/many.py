"""A workspace of many sessions: copies of the repository's, each sealed anew under a name, a time and a device."""

from __future__ import annotations

import itertools
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from zmlx_bench.files import read_json
from zmlx_bench.ledger import capsules, matrix
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.matrix import row_of
from zmlx_bench.schema.session import CapsuleRef, Session
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

START = datetime(2030, 1, 1, tzinfo=UTC)


def copied(source: Workspace, root: Path, sessions: int, devices: int) -> Workspace:
    """Make a workspace of `sessions` sessions, two hours apart, on `devices` devices in turn."""
    made = Workspace(root)
    made.kernels.mkdir(parents=True)
    shutil.copytree(source.variants, made.variants, ignore=shutil.ignore_patterns("promoted.toml"))
    found = sorted(path.parent for path in source.capsules.glob("*/session.json"))
    originals = [_read(folder) for folder in found if _small(folder)]
    for number, (session, parts) in zip(range(sessions), itertools.cycle(originals), strict=False):
        # Every family of the originals meets every device.
        device = f"Device {number // len(originals) % devices}"
        _copy(made, session, parts, START + timedelta(hours=2 * number), device)
    return made


def _small(folder: Path) -> bool:
    """Whether a session is not so large that a hundred copies of it would be a test of the disk."""
    return sum(path.stat().st_size for path in folder.glob("*.json")) < 6_000_000


def _read(folder: Path) -> tuple[Session, list[Capsule]]:
    session = read_json(folder / "session.json", Session)
    return session, [read_json(folder / part.file, Capsule) for part in session.capsules]


def _copy(made: Workspace, session: Session, parts: list[Capsule], start: datetime, device: str) -> None:
    name = f"{start:%Y%m%dT%H%M%SZ}-{session.plan.family}-{session.session[-4:]}"
    ended = _utc(start + timedelta(minutes=10))
    machine = session.machine.model_copy(update={"device": device})
    references, rows = [], []
    for part in parts:
        copy = part.model_copy(update={"session": name, "time": ended, "machine": machine}).sealed()
        path = capsules.write(made, copy)
        references.append(CapsuleRef(file=path.name, content_sha256=copy.content_sha256))
        rows.append(row_of(copy))
    matrix.record(made, name, rows)
    changed = {
        "session": name, "started": _utc(start), "ended": ended, "machine": machine, "capsules": tuple(references),
    }  # fmt: skip
    store.write(made, session.model_copy(update=changed))


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
