"""A head for tests that kill it, which looks often and is not patient: WORKSPACE ADDRESS ASKED (JSON)."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from tests.fleet import real
from zmlx_bench.fleet import command
from zmlx_bench.fleet.head import Pace
from zmlx_bench.fleet.items import Terms
from zmlx_bench.workspace import Workspace

ASKED = replace(real.ASKED, families=["qwen3", "glm47"], variants=["qwen_qkv_joined", "glm_combine_exact"])


def main() -> None:
    """Run it until it is done."""
    root, address, asked = sys.argv[1:]
    command.run(
        Workspace(Path(root)),
        replace(ASKED, **json.loads(asked)),
        address,
        lambda line: print(line, file=sys.stderr, flush=True),
        ("zmlx", "fleet", "run"),
        Terms(patience_s=120, taken_s=2, again_s=0.5, starts=40),
        Pace(step_s=0.3, devices_s=1.0, ask_again_s=2.0),
    )


if __name__ == "__main__":
    main()
