"""What a node returns is a stranger's: looked at outside the evidence, and taken whole, once, or not at all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.errors import UnusableInput, ZmlxError
from zmlx_bench.fleet.agent import request_of
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.check.workspace import check_session
from zmlx_bench.schema.fleet import FleetDevice, FleetWork
from zmlx_bench.schema.matrix import row_of
from zmlx_bench.schema.prompts import PromptSet
from zmlx_bench.schema.session import Session
from zmlx_bench.session import store
from zmlx_bench.workspace import SESSION_FILE, Workspace

MOST_FILES = 4096
MOST_BYTES = 1024 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,250}\.json")
_SHOWN = 3

Fetch = Callable[[str], bytes]
"""Gives a file of the session by its name."""


class Refused(ZmlxError):
    """What a node returned is not taken; the text says what is wrong with it."""


def receive(
    workspace: Workspace,
    staging: Path,
    parcel: Workspace,
    work: FleetWork,
    sizes: Mapping[str, int],
    fetch: Fetch,
) -> None:
    """Take a finished session into the workspace; nothing where it is there already. The matrix is not yet written.

    `staging` is a folder on the workspace's disk, `parcel` what was sent to the node. Refused where it is not
    what was asked for; whatever `fetch` raises passes through.
    """
    target = workspace.session(work.session)
    check_names(work.session, sizes)
    place = Workspace(staging / work.session)
    shutil.rmtree(place.root, ignore_errors=True)
    try:
        folder = place.session(work.session)
        for name, size in sizes.items():
            data = fetch(name)
            if len(data) != size:
                raise Refused(f"{name}: has {len(data)} bytes, the node said {size}")
            files.write_atomic(folder / name, data)
        _check(place, folder, work, parcel)
        if target.exists():
            _same(target, folder)
            return
        target.parent.mkdir(exist_ok=True)
        folder.rename(target)
        files.sync_folder(target.parent)
    finally:
        shutil.rmtree(place.root, ignore_errors=True)


def check_names(session: str, sizes: Mapping[str, int]) -> None:
    """Raise Refused unless these can be the files of one finished session: names without a path, within bounds."""
    for name, size in sizes.items():
        if not _NAME.fullmatch(name):
            raise Refused(f"{name[:80]!r}: is no name of a capsule")
        if not 0 < size <= files.LARGEST_FILE:
            raise Refused(f"{name}: of {size} bytes, {files.LARGEST_FILE} at most are taken")
    if SESSION_FILE not in sizes:
        raise Refused(f"session {session}: {SESSION_FILE} is missing")
    if len(sizes) > MOST_FILES or sum(sizes.values()) > MOST_BYTES:
        raise Refused(f"session {session}: {len(sizes)} files with {sum(sizes.values())} bytes are too many")


def _check(place: Workspace, folder: Path, work: FleetWork, parcel: Workspace) -> None:
    """Raise Refused where the session does not stand up to a check, or is not the one that was asked for."""
    try:
        session = store.load(place, work.session)
        rows = [row_of(capsule_files.read(folder / reference.file)) for reference in session.capsules]
        matrix.record(place, work.session, rows)
    except UnusableInput as error:
        raise Refused(str(error).replace(f"{place.root}/", "")) from None
    found = check_session(place, folder).findings
    if found:
        told = "; ".join(f"{one.file.rpartition('/')[2]}: {one.field}: {one.message}" for one in found[:_SHOWN])
        raise Refused(f"{told}{f' and {len(found) - _SHOWN} more' if len(found) > _SHOWN else ''}")
    for field, asked, got in _asked(session, work):
        if asked != got:
            raise Refused(f"{field}: is {got}, asked for was {asked}")
    _identities(session, work, parcel)


def _asked(session: Session, work: FleetWork) -> list[tuple[str, object, object]]:
    """Return what must be as the head asked for it: field, asked, returned."""
    plan, request = session.plan, request_of(work)
    software, machine = session.software, session.machine
    said = FleetDevice(
        device=work.device.device, host=work.device.host, machine=machine, mlx=software.mlx, mlx_lm=software.mlx_lm,
        zmlx=software.zmlx, code=work.device.code,
    )  # fmt: skip
    names = {arm.name for arm in plan.arms if arm.role == "variant"}
    asked = names if request.variants is None else set(request.variants) - {"all"}
    weights = plan.checkpoint.source if plan.checkpoint.kind == "hub" else plan.checkpoint.kind
    wanted = request.checkpoint.partition("@")[0]
    return [
        ("state", "finished", session.state),
        ("session", work.session, session.session),
        ("family", request.family, plan.family),
        ("tokens", tuple(sorted(set(request.tokens))), tuple(sorted(plan.tokens))),
        ("blocks", request.most_blocks, plan.blocks),
        ("seed", request.seed, plan.seed),
        ("checkpoint", wanted, wanted if wanted == "auto" else weights.partition("@")[0]),
        ("prompts", _called(prompt_catalog.load(request.prompts)), _called(plan.prompts)),
        ("null_arm", request.null_arm, any(arm.role == "null" for arm in plan.arms)),
        ("conditions", request.conditions, plan.conditions),
        ("device", work.device.group, said.group),
        ("zmlx", work.device.zmlx, software.zmlx),
        ("shared_device", False, session.shared_device),
        ("variants", sorted(asked & names), sorted(asked)),
    ]


def _called(prompts: PromptSet) -> str:
    return f"{','.join(one.id for one in prompts.prompt)} ({prompts.sha256[:8]})"


def _identities(session: Session, work: FleetWork, parcel: Workspace) -> None:
    """Raise Refused where a variant's meaning is not that of what was sent."""
    catalog = Catalog(parcel, session.plan.family)
    for arm in session.plan.arms:
        if arm.variant is None or arm.variant.environment is not None:
            continue
        if arm.name not in catalog.specs:
            raise Refused(f"variant {arm.name}: was not sent to the node")
        sent = catalog.identify(catalog.resolve(arm.name), work.device.machine.backend, session.plan.conditions)
        if arm.variant.identity != sent.identity:
            raise Refused(f"variant {arm.name}: is another than was sent: its identity differs")


def _same(target: Path, folder: Path) -> None:
    """Raise Refused where another session stands in the place of what came."""
    name = SESSION_FILE
    there = target / name
    if not there.is_file() or there.read_bytes() != (folder / name).read_bytes():
        raise Refused(f"session {target.name}: another of this name is in the workspace")
