"""A head that looks often and is not patient, for tests that kill it: WORKSPACE ADDRESS SESSIONS."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from tests.fleet.real import ASKED
from zmlx_bench.fleet import command
from zmlx_bench.fleet.head import Pace
from zmlx_bench.fleet.items import Terms
from zmlx_bench.workspace import Workspace


def main() -> None:
    """Run `ASKED` with both families until it is done."""
    root, address, sessions = sys.argv[1:]
    asked = replace(
        ASKED, families=["qwen3", "glm47"], variants=["qwen_qkv_joined", "glm_combine_exact"], sessions=int(sessions)
    )
    command.run(
        Workspace(Path(root)),
        asked,
        address,
        lambda line: print(line, file=sys.stderr, flush=True),
        ("zmlx", "fleet", "run"),
        Terms(patience_s=120, taken_s=2, again_s=0.5, starts=40),
        Pace(step_s=0.3, devices_s=1.0),
    )


if __name__ == "__main__":
    main()
