"""Real sessions of the tiny model, each run once and looked at by many tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.session import Session
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

MEASURED = "qwen_qkv_joined"
# The shortest prompts: every process of a session reads its first one three times.
ARGUMENTS = (
    "run", "qwen3", "--checkpoint", "tiny", "--tokens", "12", "--runs", "2", "--seed", "7",
    "--prompts", "great_wall,lighthouse", "--variants", MEASURED,
)  # fmt: skip


@dataclass
class Finished:
    """A session that ended, and what its command printed."""

    workspace: Workspace
    session: Session
    folder: Path
    done: subprocess.CompletedProcess[str]

    def capsule(self, variant: str) -> Capsule:
        (path,) = self.folder.glob(f"*_{variant}.json")
        return capsule_files.read(path)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / store.EVENTS_FILE).read_text().splitlines()]


def finished(workspace: Workspace, done: subprocess.CompletedProcess[str]) -> Finished:
    assert done.returncode == 0, done.stderr
    (folder,) = workspace.capsules.iterdir()
    return Finished(workspace, store.load(workspace, folder.name), folder, done)


@pytest.fixture(scope="session")
def undisturbed(make_workspace: Callable[..., Workspace], zmlx: Callable[..., Any]) -> Finished:
    """One variant, two blocks, two prompts, nothing in the way; printed as JSON."""
    workspace = make_workspace()
    return finished(workspace, zmlx(*ARGUMENTS, "--workspace", str(workspace.root), "--json"))


@pytest.fixture(scope="session")
def with_failures(make_workspace: Callable[..., Workspace], zmlx: Callable[..., Any]) -> Finished:
    """Arms that fail in every way beside one that does not; no null arm, no variant after the table's own."""
    names = ("no_op", "raises", "raises_late", "killed", "sleeps", "shy", "memory")
    workspace = make_workspace(*names)
    done = zmlx(
        "run", "qwen3", "--checkpoint", "tiny", "--tokens", "4", "--runs", "1", "--no-null", "--prompts", "great_wall",
        "--timeout", "12", "--variants", ",".join(names), "--workspace", str(workspace.root),
    )  # fmt: skip
    return finished(workspace, done)
