"""Where an upgrade check is written down, so that it goes on after whatever ended it."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path

from zmlx_bench import files, locks
from zmlx_bench.schema.base import content_hash
from zmlx_bench.schema.upgrade import Upgrade, UpgradeCheck
from zmlx_bench.workspace import Workspace

_ASKED = ("environment", "digest", "blocks", "seed", "prompts_sha256")
_PLACE = ("family", "checkpoint_digest", "backend", "device", "cores", "conditions", "variant")


def named(asked: Upgrade) -> Upgrade:
    """Return the check with the name that follows from what is asked: the same question is the same check."""
    key = content_hash(asked.model_dump(mode="json", include=set(_ASKED)))[:8]
    last = re.sub(r"[^A-Za-z0-9_.]+", "-", asked.environment.rpartition("/")[2])[:60].strip("-.") or "environment"
    return asked.model_copy(update={"upgrade": f"{last}-{key}"})


def path_of(workspace: Workspace, name: str) -> Path:
    """Return the file of a check."""
    return workspace.root / "upgrades" / f"{name}.json"


def begun(workspace: Workspace, asked: Upgrade) -> Upgrade:
    """Return the check as far as it was taken before; as it is asked where it never was."""
    return files.as_begun(workspace.root, path_of(workspace, asked.upgrade), asked, _ASKED)


def known(upgrade: Upgrade, check: UpgradeCheck) -> UpgradeCheck | None:
    """Return what was found of the same promotion before; None where nothing was, or its variant is another since."""
    same = (one for one in upgrade.checks if all(getattr(one, name) == getattr(check, name) for name in _PLACE))
    found = next(same, None)
    return None if found is None or found.identity != check.identity else found


def with_check(workspace: Workspace, upgrade: Upgrade, check: UpgradeCheck) -> Upgrade:
    """Write down what is known of a promotion now, in the place of what was."""
    kept = [one for one in upgrade.checks if any(getattr(one, name) != getattr(check, name) for name in _PLACE)]
    now = upgrade.model_copy(update={"checks": (*kept, check)})
    files.write_atomic(path_of(workspace, now.upgrade), files.dump_json(now))
    return now


def only(upgrade: Upgrade, checks: list[UpgradeCheck]) -> Upgrade:
    """Return the check with these promotions alone, in their order: what it is asked about now."""
    return upgrade.model_copy(update={"checks": tuple(checks)})


def alone(workspace: Workspace, name: str) -> AbstractContextManager[None]:
    """Keep others from the same check until the block ends; CannotHere where one is at it."""
    return locks.alone(path_of(workspace, name), f"upgrade check {name}")
