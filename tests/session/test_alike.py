"""Two variants that are the same kernels cost the others certainty: a session says so before it begins."""

from __future__ import annotations

import json

import pytest

from tests.reliability.sessions import VARIANT, run
from zmlx_bench.workspace import Workspace

SAME = f'[variant.same]\nwhy = "under another name"\nextends = "{VARIANT}"\n'
OTHER = f'[variant.other]\nwhy = "in another environment"\nextends = "{VARIANT}"\nenv = {{ ZMLX_PLANTED = "1" }}\n'


@pytest.mark.slow
def test_the_same_kernels_under_two_names_are_named(fresh_workspace: Workspace) -> None:
    with (fresh_workspace.variants / "qwen3.toml").open("a") as file:
        file.write(f"\n{SAME}\n{OTHER}")
    done = run(fresh_workspace, "--variants", f"{VARIANT},same,other", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    words = " ".join(done.stderr.split())
    assert (
        f"{VARIANT} and same are the same kernels with the same environment: all but one are measured in vain" in words
    )
    assert "other are the same" not in words
    alone = run(fresh_workspace, "--variants", f"{VARIANT},other")
    assert "the same kernels" not in alone.stderr
