"""One session's process on a node: what it says where it cannot begin, or cannot go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fleet.real import Real, agent, measured
from zmlx_bench.machine import device
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    return measured(tmp_path_factory.mktemp("agent"))


def test_a_device_that_somebody_else_measures_on_is_taken(real: Real) -> None:
    work = real.work.model_copy(update={"session": "20300101T110000Z-qwen3-0001"})
    with device.hold(work.device.machine.backend):
        (said,) = agent(real.parcel, work)
    assert (said.begun, said.outcome) == (False, "taken")
    assert "measures on this device" in said.why
    assert not real.parcel.session(work.session).exists()


def test_a_device_that_is_another_by_now_is_refused(real: Real) -> None:
    was = real.work.device.model_copy(update={"mlx": "0.0.1"})
    (said,) = agent(real.parcel, real.work.model_copy(update={"device": was, "session": "20300101T120000Z-qwen3-0002"}))
    assert said.outcome == "refused"
    assert "mlx 0.0.1" in said.why


def test_a_finished_session_is_finished_and_a_changed_one_is_begun_anew(real: Real, tmp_path: Path) -> None:
    node = Workspace(shutil.copytree(real.parcel.root, tmp_path / "node"))
    assert [one.outcome for one in agent(node, real.work)] == [None, "finished"]
    session = store.load(node, real.work.session)
    half = {"state": "running", "ended": None, "capsules": ()}
    store.write(node, session.model_copy(update=half))
    with (node.kernels / "qkv_joined" / "kernel.py").open("a") as file:
        file.write("CHANGED = True\n")
    (said,) = agent(node, real.work)
    assert said.outcome == "changed"
    assert "its kernels or the measured path changed" in said.why
