"""A kernel that is edited while its session runs: a session is of one code, whatever words are in it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.reliability.sessions import VARIANT, start
from zmlx_bench.session.unfinished import unfinished
from zmlx_bench.workspace import Workspace


def edited_meanwhile(workspace: Workspace, before: str, after: str) -> tuple[int, str]:
    """Run a session of workers that measure nothing, and edit the kernel once it has begun."""
    process = start(workspace, env={"STANDIN_TOKEN_S": "0.2"})
    end = time.monotonic() + 60
    while not list(workspace.capsules.glob("*/events.jsonl")) and time.monotonic() < end:
        time.sleep(0.05)
    path = workspace.kernels / "qkv_joined" / "kernel.py"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("import mlx.core as mx", "import mlx.core as mx\n\nEDITED = 1", 3),
        ("import mlx.core as mx", "# why\nimport mlx.core as mx", 0),
    ],
    ids=["code", "comment"],
)
def test_a_session_is_of_one_code(make_workspace: Callable[..., Workspace], before: str, after: str, code: int) -> None:
    workspace = make_workspace()
    returned, said = edited_meanwhile(workspace, before, after)
    assert returned == code, said
    capsules = list(workspace.capsules.glob(f"*/*_{VARIANT}.json"))
    if code == 0:
        assert capsules
    else:
        assert not capsules
        assert f"{VARIANT}, its kernels or the measured path changed while it ran; nothing was recorded" in said
        assert "--resume" not in said, "its jobs have run, of two codes"
        [only] = unfinished(workspace)
        assert only.failure is not None
        assert "changed while it ran" in only.failure
