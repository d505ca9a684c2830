"""A session as a node really returns it: run by an agent with workers that measure nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import QUIET_ENV
from zmlx_bench import workspace as workspaces
from zmlx_bench.fleet import parcel, site
from zmlx_bench.fleet.agent import Said, Told
from zmlx_bench.fleet.ask import Asked, question_of
from zmlx_bench.schema.fleet import FleetDevice, FleetWork
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
VARIANT = "qwen_qkv_joined"
ASKED = Asked(["qwen3"], [VARIANT], sessions=2, tokens=[4], runs=1, checkpoint="tiny", null_arm=False, prompts="primes")
OPTIONS = (
    "qwen3", "--variants", VARIANT, "--tokens", "4", "--runs", "1", "--checkpoint", "tiny", "--no-null", "--prompts",
    "primes",
)  # fmt: skip
"""The same on the command line."""
AGENT = (
    "from zmlx_bench.session import runner; runner.WORKER_MODULE = 'tests.reliability.standin'; "
    "import sys; from zmlx_bench.fleet.agent import main; sys.exit(main())"
)
"""Python that is an agent with those workers; the checkout must be the working directory."""


@dataclass(frozen=True)
class Real:
    """What a node returned, and what it had been told."""

    head: Workspace
    parcel: Workspace
    work: FleetWork
    files: dict[str, bytes]


def workspace_in(folder: Path) -> Workspace:
    """Make a workspace whose policy asks for no time between two sessions."""
    made = workspaces.create(folder)
    policy = made.variants / "policy.toml"
    policy.write_text(policy.read_text().replace("session_gap_s = 3600", "session_gap_s = 0"))
    return made


def work_of(head: Workspace, device: FleetDevice, session: str) -> tuple[FleetWork, bytes]:
    """Return what a node is told of a session of `ASKED`."""
    data = parcel.pack(head)
    question = question_of(head, ASKED, data)
    work = FleetWork(
        session=session, family=question.families[0], question=question, device=device, command=("zmlx", "fleet", "run")
    )
    return work, data


def agent(node: Workspace, work: FleetWork) -> list[Said]:
    """Run an agent in the node's workspace to its end; return what it said."""
    told = Told(root=str(node.root), work=work).model_dump_json().encode()
    ours, theirs = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", AGENT, str(theirs)], input=told, pass_fds=(theirs,), env=QUIET_ENV, cwd=ROOT, check=False
    )
    os.close(theirs)
    with os.fdopen(ours) as channel:
        said = [Said.model_validate_json(line) for line in channel]
    assert done.returncode == 0, said
    return said


def measured(folder: Path) -> Real:
    """Return a session of this machine's device."""
    head = workspace_in(folder / "head")
    (device, *_) = site.survey(site.environment(QUIET_ENV))
    work, data = work_of(head, device, "20300101T100000Z-qwen3-abcd")
    node = parcel.unpack(folder / "node", work.question.parcel, data)
    assert [one.outcome for one in agent(node, work)] == [None, "finished"]
    names = site.returned(node, work.session)
    return Real(head, node, work, {name: site.fetch(node, work.session, name) for name in names})
