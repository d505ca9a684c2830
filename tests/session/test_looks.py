"""A session that looks: where it stops, what is recorded of that, and taking it up again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import BaseFileLock

from tests.prompts import ONE
from tests.session.conftest import Finished, finished
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.schema.plan import Job
from zmlx_bench.schema.session import Session, Stopped
from zmlx_bench.session import api, extend, looking, runner, store
from zmlx_bench.session.instructions import Ground
from zmlx_bench.session.request import Request, check
from zmlx_bench.session.supervise import Outcome
from zmlx_bench.workspace import SESSION_FILE, Workspace

ARGUMENTS = (
    "run", "qwen3", "--tokens", "4", "--prompts", ONE, "--variants", "no_op", "--until-decided", "--at-most", "2",
)  # fmt: skip

DECIDED = Stopped(blocks=1, why="decided", undecided=(), policy_sha256="0" * 64)


@pytest.fixture(scope="module")
def looked(make_workspace: Callable[..., Workspace], zmlx: Callable[..., Any], small: str) -> Finished:
    """One that stops after its first block: no two clocks agree as well as its policy asks, so no block would help."""
    workspace = make_workspace("no_op")
    policy = workspace.variants / "policy.toml"
    text = re.sub(r"clock_disagreement = .*", "clock_disagreement = 1e-12", policy.read_text())
    policy.write_text(text[: text.index("[min_blocks]")] + "[min_blocks]\n4 = 1\n")
    return finished(workspace, zmlx(*ARGUMENTS, "--checkpoint", small, "--workspace", str(workspace.root)))


def test_it_stops_at_a_look_and_runs_no_later_block(looked: Finished) -> None:
    session = looked.session
    assert (session.plan.looks, session.plan.blocks, session.blocks) == ((1, 2), 2, 1)
    assert session.stopped is not None
    assert (session.stopped.why, session.stopped.undecided) == ("futile", ("no_op",))
    ran = {event["job"] for event in looked.events() if event["kind"] == "end"}
    left = {job.id for job in session.plan.jobs if job.block == 2}
    assert ran == {job.id for job in session.plan.jobs} - left
    assert "looks after 1, 2 blocks" in looked.done.stderr
    shown = " ".join(looked.done.stdout.split())
    assert "stopped after 1 of at most 2 blocks: no block that was planned would decide what is left" in shown
    assert "undecided: no_op" in shown
    protocol = looked.capsule("no_op").protocol
    assert (protocol.blocks, len(protocol.order), protocol.estimator) == (1, 1, "bisquare")


def test_looking_again_gives_the_same_answer(looked: Finished) -> None:
    policy = read_policy(looked.workspace)
    unstopped = looked.session.model_copy(update={"stopped": None})
    assert looking.at(looked.workspace, unstopped, policy, 1) == looked.session.stopped
    extended = unstopped.model_copy(update={"extended": 1})
    assert looking.at(looked.workspace, extended, policy, 1) is None


def test_the_machines_state_is_read_anew_after_a_look(looked: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look takes seconds, in which the machine cools; no process is needed to see what each would be told."""
    told: list[MachineState | None] = []
    looks: list[int] = []

    def look(seen: Session, _: int) -> Session:
        looks.append(len(told))
        return seen

    def run(processes: runner.Processes, job: Job, _: object) -> Outcome:
        told.append(processes.left)
        processes.left = MachineState(load_average=job.id)
        return Outcome("ok", None, 0, 0.0)

    monkeypatch.setattr(runner.Processes, "run", run)
    nobody: Any = None
    catalog = Catalog(looked.workspace, looked.session.plan.family)
    unstopped = looked.session.model_copy(update={"stopped": None, "session": "another"})
    looked.workspace.session("another").mkdir()
    try:
        runner.run_jobs(unstopped, Ground(looked.workspace, Path(), catalog), nobody, look)
    finally:
        shutil.rmtree(looked.workspace.session("another"))
    assert 1 < looks[0] < len(told) - 1
    assert [number for number, state in enumerate(told) if state is None] == [0, looks[0]]


def rewritten(workspace: Workspace, session: Session, **stopped: object) -> Session:
    assert session.stopped is not None
    changed = session.stopped.model_copy(update=stopped)
    return store.write(workspace, session.model_copy(update={"stopped": changed}))


def test_what_says_otherwise_is_found(looked: Finished, zmlx_inside: Callable[..., Any]) -> None:
    where = ("--workspace", str(looked.workspace.root))
    try:
        assert zmlx_inside("check", *where).returncode == 0
        rewritten(looked.workspace, looked.session, why="decided", undecided=())
        wrong = zmlx_inside("check", *where)
        assert wrong.returncode == 1
        assert "stopped.undecided" in wrong.stdout
    finally:
        store.write(looked.workspace, looked.session)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "running", "ended": None}, "--resume finishes it"),
        ({"stopped": None}, "has run all 2 blocks"),
        ({"stopped": "decided"}, "every variant of it is decided"),
        ({"plan": "fixed"}, "were fixed beforehand"),
        ({"stopped": "last"}, "has run all 2 blocks"),
    ],
)
def test_what_cannot_be_taken_up_again_says_why(looked: Finished, change: dict, message: str) -> None:
    session = looked.session
    if change.get("plan"):
        change = {"plan": session.plan.model_copy(update={"looks": ()}), "stopped": None}
    elif change.get("stopped") == "last":
        change = {"stopped": Stopped(blocks=2, why="most", undecided=("no_op",), policy_sha256="0" * 64)}
    elif change.get("stopped") == "decided":
        change = {"stopped": DECIDED}
    with pytest.raises(UnusableInput, match=message):
        extend.check(looked.workspace, session.model_copy(update=change))


@pytest.mark.parametrize(
    ("before", "meanwhile", "message"),
    [
        ({}, {"stopped": DECIDED}, "every variant of it is decided"),
        (
            {"state": "running", "ended": None, "stopped": None, "capsules": ()},
            {"state": "failed", "failure": "it did not run"},
            "cannot be resumed, for it failed: it did not run",
        ),
    ],
)
def test_what_another_process_made_of_it_until_it_was_held_counts(
    looked: Finished, before: dict, meanwhile: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, session = looked.workspace, looked.session
    claim = store.claim

    def once_written(place: Workspace, name: str) -> BaseFileLock:
        store.write(place, store.load(place, name).model_copy(update=meanwhile))
        return claim(place, name)

    monkeypatch.setattr(store, "claim", once_written)
    try:
        store.write(workspace, session.model_copy(update=before))
        with pytest.raises(UnusableInput, match=message):
            api.reopen(workspace, session.session, share_device=True, more=not before)
    finally:
        store.write(workspace, session)
    assert store.holder(workspace, session.session) is None


@pytest.mark.slow
def test_an_undecided_session_goes_on_to_its_last_block(
    looked: Finished, zmlx: Callable[..., Any], tmp_path: Path
) -> None:
    shutil.copytree(looked.workspace.root, tmp_path / "ws")
    workspace, name = Workspace(tmp_path / "ws"), looked.session.session
    where = ("--workspace", str(workspace.root))
    done = zmlx("run", "qwen3", "--extend", name, "--json", *where)
    assert done.returncode == 0, done.stderr
    session = store.load(workspace, name)
    assert (session.state, session.extended, session.blocks) == ("finished", 1, 2)
    assert session.stopped is not None
    assert session.stopped.why == "most"
    (capsule,) = (path for path in workspace.session(name).glob("*.json") if path.name != SESSION_FILE)
    assert "_r2_" in capsule.name
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["blocks"], json.loads(workspace.matrix.read_text())["blocks"]) == (2, 2)
    assert zmlx("check", *where).returncode == 0
    refused = zmlx("run", "qwen3", "--extend", name, *where)
    assert (refused.returncode, "has run all 2 blocks" in refused.stderr) == (3, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until_decided": True, "runs": 3}, "--runs"),
        ({"at_most": 5}, "--at-most"),
        ({"until_decided": True, "null_arm": False}, "--no-null"),
        ({"until_decided": True, "at_most": 0}, "--at-most 0: must be at least 1"),
        ({"until_decided": True, "at_most": 1001}, "--at-most 1001: must be at most 1000"),
        ({"runs": 0}, "--runs 0: must be at least 1"),
    ],
)
def test_options_that_do_not_go_together(options: dict, message: str) -> None:
    with pytest.raises(UnusableInput, match=message):
        check(Request(family="qwen3", **options))


def test_the_blocks_asked_for() -> None:
    assert Request(family="qwen3").most_blocks == 3
    assert Request(family="qwen3", runs=5).most_blocks == 5
    assert Request(family="qwen3", until_decided=True).most_blocks == 40
    assert Request(family="qwen3", until_decided=True, at_most=7).most_blocks == 7


def test_nothing_is_asked_to_decide_without_the_policys_budgets(
    looked: Finished, zmlx_inside: Callable[..., Any]
) -> None:
    done = zmlx_inside("run", "qwen3", "--checkpoint", "tiny", "--tokens", "6", "--until-decided",
                "--workspace", str(looked.workspace.root))  # fmt: skip
    assert done.returncode == 3
    assert "--until-decided: nothing is decided without" in done.stderr
