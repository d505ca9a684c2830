"""Plans what `kernels verify` compares and runs it: a process for each family and configuration."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from zmlx_bench import __version__
from zmlx_bench.bench.reporter import Lost, work_through
from zmlx_bench.bench.schema import BenchTask
from zmlx_bench.bench.tasks import families_of, tasks_of
from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.identity import kernel_digest
from zmlx_bench.catalog.kernels import Kernel
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.machine import device, facts
from zmlx_bench.machine.backend import installed
from zmlx_bench.process import told_path
from zmlx_bench.schema.base import Backend, Status, utc_now
from zmlx_bench.schema.verification import Probe, SizesName, Verification, VerifiedRow
from zmlx_bench.verify.schema import Compared, Event, Instructions, Probed
from zmlx_bench.workspace import Workspace

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
OnRow = Callable[[VerifiedRow | Probe], None]


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    names: Sequence[str]
    """`kernel` or `kernel.mode`; none means all."""
    families: Sequence[str]
    backend: Backend
    seed: int = 0
    timeout_s: float = 600.0
    """Longest silence of a process: the weights of a layer, or one comparison."""
    sizes: Sequence[SizesName] = ("tiny", "published")
    share_device: bool = False


def run(workspace: Workspace, request: Request, on_row: OnRow) -> Verification:
    """Compare; `on_row` is told each probe and row as it is known. CannotHere while another command measures."""
    begun = time.monotonic()
    probes: list[Probe] = []
    rows: list[VerifiedRow] = []

    def note(found: VerifiedRow | Probe) -> None:
        if isinstance(found, Probe):
            probes.append(found)
        else:
            rows.append(found)
        on_row(found)

    chosen = kernel_catalog.choose(workspace, request.names)
    families = families_of(workspace, request.families)
    with device.hold(request.backend, share=request.share_device):
        for found in _everything(workspace, request, families, chosen):
            note(found)
    compared = {row.kernel for row in rows if row.compared}
    known = kernel_catalog.load(workspace)
    return Verification(
        schema_version=1,
        time=utc_now(),
        machine=facts.read(request.backend),
        mlx=installed("mlx") or "none",
        mlx_lm=installed("mlx-lm") or "none",
        zmlx=__version__,
        seed=request.seed,
        seconds=math.ceil(time.monotonic() - begun),
        kernels={
            name: kernel_digest(workspace.kernels, name, known[name].most_tokens, request.backend)
            for name in sorted(compared)
        },
        probes=tuple(probes),
        rows=tuple(rows),
    )


def _everything(
    workspace: Workspace, request: Request, families: Sequence[str], chosen: Sequence[tuple[Kernel, str]]
) -> Iterator[VerifiedRow | Probe]:
    asked = False
    for family in families:
        tasks, not_here = tasks_of(workspace, chosen, request.backend)
        for task, reason in not_here:
            yield _without(task, family, None, "unavailable", reason)
        for name in request.sizes:
            sizes = _sizes(family, name, workspace)
            if tasks and sizes is not None:
                yield from _compared(workspace, request, family, tasks, name, sizes, ask=not asked)
                asked = True


def _sizes(family: str, name: SizesName, workspace: Workspace) -> dict[str, Any] | None:
    """Return what replaces entries of the published configuration; None for a family without a tiny checkpoint."""
    if name == "published":
        return {}
    path = TINY / f"tiny_{family}" / "config.json"
    if not path.is_file():
        return None
    config, published = json.loads(path.read_text()), family_catalog.facts(family, workspace).config
    # Lists are of layers, and here is one.
    return {key: config[key] for key, value in published.items() if key in config and not isinstance(value, list)}


def _without(task: BenchTask, family: str, sizes: SizesName | None, status: Status, reason: str) -> VerifiedRow:
    return VerifiedRow(
        kernel=task.kernel,
        mode=task.mode,
        numerics=task.numerics,
        family=family,
        sites=task.sites,
        sizes=sizes,
        module=None,
        status=status,
        reason=reason,
    )


def _compared(
    workspace: Workspace,
    request: Request,
    family: str,
    tasks: Sequence[BenchTask],
    name: SizesName,
    sizes: dict[str, Any],
    *,
    ask: bool,
) -> Iterator[VerifiedRow | Probe]:
    def told(left: Sequence[BenchTask]) -> Instructions:
        return Instructions(
            family=family,
            family_folder=told_path(family_catalog.folder(family, workspace)),
            backend=request.backend,
            kernels=told_path(workspace.kernels),
            tasks=tuple(left),
            seed=request.seed,
            sizes_name=name,
            sizes=sizes,
            probe=ask and len(left) == len(tasks),
        )

    for event in work_through("zmlx_bench.verify", tasks, told, _EVENT, request.timeout_s):
        match event:
            case Probed(probe=probe):
                yield probe
            case Compared(row=row):
                yield row
            case Lost():
                yield _without(event.task, family, name, event.status, event.reason)
