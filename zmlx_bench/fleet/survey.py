"""What a node says of itself: its devices, through the functions behind `zmlx doctor`. A process of its own.

Run as a program it prints them as JSON, a list.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

from pydantic import TypeAdapter

from zmlx_bench import __version__
from zmlx_bench.catalog import families
from zmlx_bench.catalog.identity import path_digest
from zmlx_bench.checkpoints import hub
from zmlx_bench.doctor import checkup
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import facts, nvidia
from zmlx_bench.schema.base import content_hash
from zmlx_bench.schema.fleet import FleetDevice

HOST = "ZMLX_FLEET_HOST"
"""Names the machine where the system's name does not: containers that share one are one host."""
DEVICES: TypeAdapter[list[FleetDevice]] = TypeAdapter(list[FleetDevice])


def host() -> str:
    """Return the name of this machine."""
    return os.environ.get(HOST, "").strip() or socket.gethostname()


def devices() -> list[FleetDevice]:
    """Return the devices of this node: those of the backend that `--backend auto` takes. CannotHere where none runs."""
    backend = backends.choose("auto")
    problems = tuple(f"{one.subject}: {one.found}" for one in checkup.observations() if one.level == "problem")
    here = tuple(name for name in families.names() if hub.cached(families.facts(name).hub_id) is not None)
    found: list[FleetDevice] = []
    for number, select in enumerate(_selections(backend)):
        os.environ.update(select)
        found.append(
            FleetDevice(
                device=f"{host()}/{backend}-{number}",
                host=host(),
                machine=facts.read(backend),
                mlx=backends.installed("mlx") or "none",
                mlx_lm=backends.installed("mlx-lm") or "none",
                zmlx=__version__,
                code=code(),
                select=select,
                checkpoints=here,
                problems=problems,
                nice=os.nice(0),
            )
        )
    return found


def code() -> str:
    """Return the digest of the measured paths of the families that this zmlx comes with."""
    return content_hash({name: path_digest(families.folder(name)) for name in families.names()})


def _selections(backend: str) -> Iterator[dict[str, str]]:
    if backend != "cuda":
        yield {}
        return
    for gpu in nvidia.visible():
        yield {"CUDA_VISIBLE_DEVICES": gpu}


def main() -> int:
    """Print the devices of this node."""
    try:
        sys.stdout.write(DEVICES.dump_json(devices(), exclude_none=True).decode())
    except CannotHere as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
