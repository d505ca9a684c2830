"""What an upgrade check came to, for programs and as an exit code."""

from __future__ import annotations

from collections import Counter
from typing import Any

from zmlx_bench import exit_codes
from zmlx_bench.schema.upgrade import Upgrade
from zmlx_bench.upgrade.state import path_of
from zmlx_bench.workspace import Workspace


def code(upgrade: Upgrade) -> int:
    """Return the exit code: 1 where a promotion does not hold, else 2 where one is undecided, else 4 where there are
    promotions and none could be measured, else 0."""
    said = Counter(one.said for one in upgrade.checks)
    if said["fails"]:
        return exit_codes.NO
    if said["undecided"]:
        return exit_codes.INCONCLUSIVE
    return exit_codes.CANNOT if upgrade.checks and not said["held"] else exit_codes.DONE


def summary(workspace: Workspace, upgrade: Upgrade) -> dict[str, Any]:
    """Return the JSON object of `zmlx upgrade-check --json`."""
    return {
        "environment": upgrade.environment,
        "holds": code(upgrade) == exit_codes.DONE,
        "promotions": [one.model_dump(mode="json") for one in upgrade.checks],
        "state": path_of(workspace, upgrade.upgrade).relative_to(workspace.root).as_posix() if upgrade.digest else None,
    }
