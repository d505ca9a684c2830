"""`--rehash`: weights that are here are hashed again, and evidence of others is found, and not promoted by."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.builders import Made, add_session, make_workspace
from tests.conftest import Zmlx
from zmlx_bench.checkpoints.resolve import TINY, locate
from zmlx_bench.ledger.check.workspace import check_session, check_workspace
from zmlx_bench.ledger.decide import decide
from zmlx_bench.machine import facts
from zmlx_bench.schema.plan import Checkpoint
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace


@pytest.fixture
def measured(tmp_path: Path) -> tuple[Workspace, Path]:
    """Two sessions of a folder's weights that promote, and that folder."""
    place = tmp_path / "my-model"
    shutil.copytree(TINY / "tiny_qwen3", place)
    checkpoint = locate("qwen3", str(place), facts.read("cpu")).checkpoint
    workspace = make_workspace(tmp_path / "workspace")
    for hour in (0, 24):
        session = add_session(workspace, hour, [Made("combine_one", 0.1)], blocks=3, checkpoint=checkpoint)
        store.write(workspace, session.model_copy(update={"checkpoint_option": str(place)}))
    return workspace, place


def change(place: Path) -> None:
    path = place / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_weights_that_are_still_the_same(measured: tuple[Workspace, Path]) -> None:
    workspace, _ = measured
    checked = check_workspace(workspace, rehash=True)
    assert checked.findings == ()
    assert "hashed the weights of 1 checkpoint again" in checked.notes
    assert len(decide(workspace, None, rehash=True).after.promotion) == 1


def test_other_weights_are_found_and_not_promoted_by(measured: tuple[Workspace, Path]) -> None:
    workspace, place = measured
    change(place)
    assert check_workspace(workspace).findings == (), "nobody asked"
    found = check_workspace(workspace, rehash=True).findings
    assert [finding.field for finding in found] == ["plan.checkpoint.digest"] * 2
    assert "the weights of my-model are others now" in found[0].message
    (one,) = check_session(workspace, sorted(workspace.capsules.iterdir())[0], rehash=True).findings
    assert one == found[0]
    decided = decide(workspace, None, rehash=True)
    assert decided.after.promotion == ()
    assert len(decided.refusals) == 2


def test_weights_that_cannot_be_used_or_are_not_here(measured: tuple[Workspace, Path]) -> None:
    workspace, place = measured
    (place / "model.safetensors").write_bytes(b"x")
    assert "cannot be used any more" in check_workspace(workspace, rehash=True).findings[0].message
    shutil.rmtree(place)
    checked = check_workspace(workspace, rehash=True)
    assert checked.findings == ()
    assert "hashed the weights of 0 checkpoints again; not here: my-model" in checked.notes


def test_what_no_files_make_is_left_alone(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    add_session(workspace, 0, [Made("combine_one")], blocks=3)  # of version 1, whose identity nobody can compute
    made = Checkpoint(kind="synthetic", label="synthetic", digest="2" * 64, source="made", config_sha256="0" * 64)
    add_session(workspace, 1, [Made("combine_one")], blocks=3, checkpoint=made, kind="synthetic")
    checked = check_workspace(workspace, rehash=True)
    assert checked.findings == ()
    assert "hashed the weights of 0 checkpoints again" in checked.notes


def test_the_commands_take_it(measured: tuple[Workspace, Path], zmlx_inside: Zmlx) -> None:
    workspace, place = measured
    assert zmlx_inside("check", "--rehash", cwd=workspace.root).returncode == 0
    change(place)
    assert zmlx_inside("check", "--rehash", cwd=workspace.root).returncode == 1
    done = zmlx_inside("promote", "--rehash", "--dry-run", cwd=workspace.root)
    assert done.returncode == 0
    assert "promoted.toml would not change" in done.stderr
