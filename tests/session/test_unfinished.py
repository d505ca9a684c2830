"""Sessions begun and not finished are listed and can be dropped; evidence and what is being measured cannot."""

from __future__ import annotations

import errno
import json
import shutil

import pytest
from filelock import BaseFileLock

from tests.conftest import Zmlx
from tests.ledger.test_matrix import row
from tests.session.conftest import Finished
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.schema.session import Session
from zmlx_bench.session import store
from zmlx_bench.session.unfinished import drop, unfinished
from zmlx_bench.workspace import SESSION_FILE, Workspace


@pytest.fixture
def begun(undisturbed: Finished, fresh_workspace: Workspace) -> tuple[Workspace, str]:
    """A workspace with one finished session, and the same begun only."""
    name = undisturbed.session.session
    shutil.copytree(undisturbed.workspace.session(name), fresh_workspace.session(name))
    whole = store.load(fresh_workspace, name)
    only = "20300101T000000Z-other-0000"
    fresh_workspace.session(only).mkdir()
    fields = {"session": only, "state": "running", "ended": None, "capsules": ()}
    path = fresh_workspace.session(only) / SESSION_FILE
    begun = Session.model_validate({**whole.model_dump(), **fields}).sealed()
    path.write_bytes(begun.model_dump_json().encode())
    return fresh_workspace, only


def test_what_is_begun_is_listed(begun: tuple[Workspace, str], zmlx_inside: Zmlx) -> None:
    workspace, name = begun
    [only] = unfinished(workspace)
    assert (only.session, only.jobs_done, only.held_by) == (name, 0, None)
    shown = zmlx_inside("sessions", "--workspace", str(workspace.root)).stdout
    assert f"zmlx sessions drop {name}" in " ".join(shown.split())
    [told] = json.loads(zmlx_inside("sessions", "--json", "--workspace", str(workspace.root)).stdout)["unfinished"]
    assert told["session"] == name


def test_it_can_be_dropped(begun: tuple[Workspace, str], zmlx_inside: Zmlx) -> None:
    workspace, name = begun
    matrix.record(workspace, name, [row(name)])
    before = {path.name for path in workspace.capsules.iterdir()}
    assert zmlx_inside("sessions", "drop", name, "--workspace", str(workspace.root)).returncode == 0
    assert {path.name for path in workspace.capsules.iterdir()} == before - {name}
    assert {found.session for found in matrix.read(workspace.matrix)} == before - {name}
    assert "every session here is finished" in zmlx_inside("sessions", "--workspace", str(workspace.root)).stdout


def test_a_removal_that_is_cut_short_leaves_no_session(
    begun: tuple[Workspace, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, name = begun

    def refused(path: str) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(CannotHere, match="cannot be removed: Input/output error"):
        drop(workspace, name)
    assert list(unfinished(workspace)) == []
    assert not [found for found in check_workspace(workspace).findings if name in found.file]


def test_evidence_is_not_dropped(begun: tuple[Workspace, str], undisturbed: Finished) -> None:
    workspace, _ = begun
    with pytest.raises(UnusableInput, match="is finished; its capsules are evidence"):
        drop(workspace, undisturbed.session.session)
    with pytest.raises(UnusableInput, match="unknown session"):
        drop(workspace, "20300101")


def test_what_is_being_measured_is_not_dropped(begun: tuple[Workspace, str]) -> None:
    workspace, name = begun
    lock = store.claim(workspace, name)
    try:
        [only] = unfinished(workspace)
        assert only.held_by is not None
        with pytest.raises(CannotHere, match="is at session"):
            drop(workspace, name)
    finally:
        lock.release()
    assert workspace.session(name).is_dir()


def test_what_was_finished_just_before_it_was_held_is_not_dropped(
    begun: tuple[Workspace, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, name = begun
    claim = store.claim

    def once_finished(place: Workspace, session: str) -> BaseFileLock:
        known = store.load(place, session)
        store.write(place, known.model_copy(update={"state": "finished", "ended": known.started}))
        return claim(place, session)

    monkeypatch.setattr(store, "claim", once_finished)
    with pytest.raises(UnusableInput, match="is finished; its capsules are evidence"):
        drop(workspace, name)
    assert store.load(workspace, name).state == "finished"
    assert store.holder(workspace, name) is None


def test_evidence_that_cannot_be_read_is_not_dropped(
    begun: tuple[Workspace, str], undisturbed: Finished, zmlx_inside: Zmlx
) -> None:
    workspace, only = begun
    name = undisturbed.session.session
    path = workspace.session(name) / SESSION_FILE
    newer = {**json.loads(path.read_text()), "schema_version": 99}
    path.write_text(json.dumps(newer))
    assert [each.session for each in unfinished(workspace)] == [only]
    done = zmlx_inside("sessions", "drop", name, "--workspace", str(workspace.root))
    assert done.returncode == 3
    assert "99" in done.stderr
    assert path.is_file()


def test_one_that_cannot_be_read_can_be_dropped(begun: tuple[Workspace, str]) -> None:
    workspace, name = begun
    (workspace.session(name) / SESSION_FILE).write_text("{")
    [only] = unfinished(workspace)
    assert only.family is None
    drop(workspace, name)
    assert not workspace.session(name).exists()
