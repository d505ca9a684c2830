"""`kernels bench` takes the device as a session does: not beside one, unless told to, and then it says so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.bench.tiny_sizes import SIZES
from tests.conftest import Zmlx
from tests.reliability import sessions
from zmlx_bench.bench import run
from zmlx_bench.bench.schema import BenchRow
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import device
from zmlx_bench.workspace import Workspace

WISHES = run.Request(
    names=["no_op"], families=["qwen3"], batches=(1,), backend="cpu", sizes=SIZES["qwen3"], effort=0.01
)
BUSY = f"process {os.getpid()} measures on this device (cpu)"


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("no_op")


@pytest.fixture
def taken() -> Iterator[None]:
    with device.hold("cpu"):
        yield


def test_a_session_waits_while_kernels_are_measured(workspace: Workspace) -> None:
    refused = []

    def note(_: BenchRow) -> None:
        refused.append(sessions.run(workspace))

    report = run.run(workspace, WISHES, note)
    (done,) = refused
    assert (done.returncode, done.stdout) == (4, "")
    assert BUSY in done.stderr
    assert ([row.status for row in report.rows], report.shared_device) == (["ok"], False)
    free = device.take("cpu")
    assert free is not None
    free.release()


@pytest.mark.usefixtures("taken")
def test_kernels_are_not_measured_on_a_device_that_is_taken(workspace: Workspace) -> None:
    with pytest.raises(CannotHere, match=r"insist with --share-device") as refused:
        run.run(workspace, WISHES, lambda _: None)
    assert BUSY in str(refused.value)
    report = run.run(workspace, replace(WISHES, share_device=True), lambda _: None)
    assert ([row.status for row in report.rows], report.shared_device) == (["ok"], True)


@pytest.mark.usefixtures("taken")
def test_the_command_names_the_process_and_takes_the_option(workspace: Workspace, zmlx: Zmlx) -> None:
    # A kernel of another family, so that nothing is measured at the published sizes.
    command = ("kernels", "bench", "mla_decode", "--family", "qwen3", "--json", "--workspace", str(workspace.root))
    refused = zmlx(*command)
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.startswith(f"zmlx: {BUSY}")
    assert json.loads(zmlx(*command, "--share-device").stdout)["shared_device"] is True
