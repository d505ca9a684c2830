"""Real sessions, each run once and looked at by many tests: of the tiny model where what it says is looked at."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUIET_ENV
from tests.prompts import ONE, TWO
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.session import Session
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

MEASURED = "qwen_qkv_joined"
ARGUMENTS = (
    "run", "qwen3", "--tokens", "5", "--tokens", "12", "--runs", "2", "--seed", "7", "--prompts", TWO, "--variants",
    MEASURED,
)  # fmt: skip


@dataclass
class Finished:
    """A session that ended, and what its command printed."""

    workspace: Workspace
    session: Session
    folder: Path
    done: subprocess.CompletedProcess[str]

    def capsule(self, variant: str, tokens: int | None = None) -> Capsule:
        """Return the variant's capsule at a budget, by default the largest."""
        budget = tokens or max(self.session.plan.tokens)
        (path,) = self.folder.glob(f"*_t{budget}_*_{variant}.json")
        return capsule_files.read(path)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / store.EVENTS_FILE).read_text().splitlines()]


def finished(workspace: Workspace, done: subprocess.CompletedProcess[str]) -> Finished:
    assert done.returncode == 0, done.stderr
    (folder,) = workspace.capsules.iterdir()
    return Finished(workspace, store.load(workspace, folder.name), folder, done)


FAILING = ("no_op", "raises", "raises_late", "killed", "sleeps", "shy", "memory")
AUDITED_TOKENS = 10
FP32 = "qwen_combine_fp32"
CONDITIONED = ("run", "qwen3", "--tokens", "3", "--tokens", "6", "--runs", "1", "--no-null")
SESSIONS = {
    "deep": (
        (),
        (*CONDITIONED, "--prompts", "great_wall,lighthouse", "--variants", "qwen_native", "--context", "24", "--batch",
         "3", "--max-kv-size", "40"),
    ),
    "quantised": (
        (),
        (*CONDITIONED, "--prompts", ONE, "--variants", "qwen_native", "--kv-bits", "8", "--json"),
    ),
    "undisturbed": ((), (*ARGUMENTS, "--json")),
    "with_failures": (
        FAILING,
        ("run", "qwen3", "--tokens", "4", "--runs", "1", "--no-null", "--prompts", ONE, "--timeout", "12", "--variants",
         ",".join(FAILING)),
    ),
    "audited": (
        ("doubles", "raises"),
        ("run", "qwen3", "--checkpoint", "tiny", "--tokens", str(AUDITED_TOKENS), "--runs", "1", "--no-null",
         "--audit", "--prompts", TWO, "--variants", f"doubles,raises,{FP32}", "--json"),
    ),
}  # fmt: skip
"""Fixture -> planted kernels, and the command, which names its checkpoint where it is not the smallest."""


@pytest.fixture(scope="session")
def sessions(
    request: pytest.FixtureRequest,
    make_workspace: Callable[..., Workspace],
    zmlx: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    small: str,
) -> Iterator[dict[str, Future[Finished]]]:
    """Those of SESSIONS that a collected test wants, all at once: none of them is looked at for its speed."""
    wanted = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}

    def run(workspace: Workspace, arguments: tuple[str, ...], locks: Path) -> Finished:
        # The device's lock lies in the temporary folder, and these are to run beside each other.
        env = {**QUIET_ENV, "TMPDIR": str(locks)}
        named = () if "--checkpoint" in arguments else ("--checkpoint", small)
        return finished(workspace, zmlx(*arguments, *named, "--workspace", str(workspace.root), env=env))

    with ThreadPoolExecutor(len(SESSIONS)) as pool:
        yield {
            name: pool.submit(run, make_workspace(*kernels), arguments, tmp_path_factory.mktemp("locks"))
            for name, (kernels, arguments) in SESSIONS.items()
            if name in wanted
        }


@pytest.fixture(scope="session")
def undisturbed(sessions: dict[str, Future[Finished]]) -> Finished:
    """One variant, two blocks, two prompts, nothing in the way; printed as JSON."""
    return sessions["undisturbed"].result()


@pytest.fixture(scope="session")
def with_failures(sessions: dict[str, Future[Finished]]) -> Finished:
    """Arms that fail in every way beside one that does not; no null arm, no variant after the table's own."""
    return sessions["with_failures"].result()


@pytest.fixture(scope="session")
def deep(sessions: dict[str, Future[Finished]]) -> Finished:
    """Three sequences at once after a context, in a cache that rotates."""
    return sessions["deep"].result()


@pytest.fixture(scope="session")
def quantised(sessions: dict[str, Future[Finished]]) -> Finished:
    """With a cache of 8 bits."""
    return sessions["quantised"].result()


@pytest.fixture(scope="session")
def audited(sessions: dict[str, Future[Finished]]) -> Finished:
    """With an audit: what is wrong, what rounds less than stock, and what fails."""
    return sessions["audited"].result()
