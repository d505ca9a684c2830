"""Starts `zmlx run` with workers that measure nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import QUIET_ENV
from tests.reliability.standin import COMMAND
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
VARIANT = "qwen_qkv_joined"
PATIENCE_S = 300
"""What takes longer hangs, however busy the machine is."""
RUN = (
    "run", "qwen3", "--checkpoint", "tiny", "--tokens", "4", "--runs", "1", "--no-null", "--prompts", "primes",
    "--variants", VARIANT,
)  # fmt: skip


def start(workspace: Workspace, *more: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a session of one block, or with `--resume NAME` among `more` take one up again."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *RUN, "--workspace", str(workspace.root), *more],
        cwd=ROOT, env={**QUIET_ENV, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(workspace: Workspace, *more: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a session to its end."""
    process = start(workspace, *more, env=env)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
