"""Disks that fill up, refuse or are slow while a session is recorded: nothing half-written, and it can be finished."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV, ZMLX
from tests.reliability.sessions import ROOT, run
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.workspace import Workspace

PAGE = os.sysconf("SC_PAGE_SIZE")
ROOM = "size=64m"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, make_workspace: Callable[..., Workspace]) -> Iterator[Workspace]:
    """A workspace on a small file system of its own; skipped where mounting is not allowed."""
    point = tmp_path_factory.mktemp("disk")
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", ROOM, "tmpfs", str(point)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a file system is not allowed here")
    # A mount that a killed run left would be an error at the end of each later run, which removes old folders. The
    # pipe is closed when the run ends, however that happens; a session of its own is not killed with it.
    unmounts = ["sh", "-c", 'cat >/dev/null; umount -l "$1"', "unmounts", str(point)]
    with subprocess.Popen(unmounts, stdin=subprocess.PIPE, start_new_session=True):
        shutil.copytree(make_workspace().root, point / "ws")
        yield Workspace(point / "ws")


def remount(workspace: Workspace, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(workspace.root.parent)], check=True)


def used(workspace: Workspace) -> int:
    stat = os.statvfs(workspace.root)
    return (stat.f_blocks - stat.f_bfree) * stat.f_frsize


def whole(workspace: Workspace) -> None:
    """Assert that nothing on disk is half-written: every file is whole or absent, and what there is holds."""
    for path in workspace.capsules.rglob("*.json"):
        json.loads(path.read_text())
    if workspace.matrix.exists():
        assert workspace.matrix.read_bytes()[-1:] in (b"", b"\n")
    assert check_workspace(workspace).findings == ()


def refused(done: subprocess.CompletedProcess[str], workspace: Workspace, why: str) -> None:
    """Assert that the command said in one line which file could not be written, why, and what to do."""
    assert done.returncode == 4, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"zmlx: {workspace.root}/")
    assert f"cannot be written: {why}" in last or f"cannot be made: {why}" in last
    assert "or choose another place" in last
    assert "Traceback" not in done.stderr


def finish(workspace: Workspace) -> None:
    """Assert that a session that was begun can be finished, with its capsule and one row; leave the workspace empty."""
    names = [path.name for path in workspace.capsules.iterdir()]
    assert len(names) <= 1
    for name in names:
        done = run(workspace, "--resume", name)
        assert done.returncode == 0, done.stderr
        checked = check_workspace(workspace)
        assert (checked.findings, checked.capsules, checked.rows) == ((), 1, 1)
        assert list(workspace.root.rglob("*.tmp")) == []
        shutil.rmtree(workspace.session(name))
    workspace.matrix.unlink(missing_ok=True)


def fill(workspace: Workspace, pages: int) -> bool:
    """Run a session on a disk with `pages` free; return whether it was enough."""
    remount(workspace, f"size={used(workspace) + pages * PAGE}")
    done = run(workspace)
    remount(workspace, ROOM)
    if done.returncode != 0:
        refused(done, workspace, "No space left on device")
    whole(workspace)
    finish(workspace)
    return done.returncode == 0


def test_a_disk_that_fills_up_leaves_whole_files_and_a_session_to_finish(disk: Workspace) -> None:
    assert not fill(disk, 6)


@pytest.mark.slow
def test_a_disk_that_fills_up_at_every_page_of_a_session(disk: Workspace) -> None:
    pages = 0
    while not fill(disk, pages):
        pages += 1
    print(f"a session needs {pages} pages of {PAGE} bytes; each was refused once")
    assert pages > 6


@pytest.mark.slow
def test_a_workspace_that_becomes_read_only_between_two_runs(disk: Workspace) -> None:
    done = run(disk)
    assert done.returncode == 0, done.stderr
    remount(disk, "ro")
    try:
        refused(run(disk), disk, "Read-only file system")
        checked = check_workspace(disk)
        shown = subprocess.run(
            [*ZMLX, "report", "--workspace", str(disk.root)], cwd=ROOT, env=QUIET_ENV, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    finally:
        remount(disk, "rw")
    assert (checked.findings, checked.rows) == ((), 1), "reading needs no writing"
    assert (shown.returncode, shown.stderr) == (0, "")
    shutil.rmtree(disk.capsules)
    disk.capsules.mkdir()
    disk.matrix.unlink()


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Return env(WORKSPACE, **DISK) -> variables under which file operations in the workspace are as `disk.c` says."""
    compiler = shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("needs a C compiler and LD_PRELOAD")
    library = tmp_path_factory.mktemp("preload") / "disk.so"
    source = Path(__file__).with_name("disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)

    def env(workspace: Workspace, **disk: object) -> dict[str, str]:
        told = {f"DISK_{name.upper()}": str(value) for name, value in disk.items()}
        return {"LD_PRELOAD": str(library), "DISK_BELOW": str(workspace.root), **told}

    return env


@pytest.fixture(scope="module")
def operations(
    make_workspace: Callable[..., Workspace],
    preloaded: Callable[..., dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> int:
    """How many operations of the file system a session needs after the first in its workspace, which makes the lock."""
    workspace, counted = make_workspace(), tmp_path_factory.mktemp("count") / "count"
    workspace.matrix.with_name(f"{workspace.matrix.name}.lock").touch()
    done = run(workspace, env=preloaded(workspace, count=counted))
    assert done.returncode == 0, done.stderr
    return int(counted.read_text())


def refuse_from(
    workspace: Workspace, env: Callable[..., dict[str, str]], operation: int, error: int
) -> subprocess.CompletedProcess[str]:
    """Refuse every operation from the given one on, look at what is left, and finish the session."""
    done = run(workspace, env=env(workspace, fail_from=operation, errno=error))
    if done.returncode != 0:
        refused(done, workspace, os.strerror(error))
    whole(workspace)
    finish(workspace)
    return done


@pytest.mark.parametrize(
    ("share", "error"), [pytest.param(0.3, errno.EIO, marks=pytest.mark.slow), (0.97, errno.ENOSPC)]
)
def test_a_file_system_that_fails_at_some_operation(
    fresh_workspace: Workspace, preloaded: Callable[..., dict[str, str]], operations: int, share: float, error: int
) -> None:
    assert refuse_from(fresh_workspace, preloaded, int(operations * share), error).returncode == 4


@pytest.mark.slow
def test_a_file_system_that_fails_at_every_operation(
    fresh_workspace: Workspace, preloaded: Callable[..., dict[str, str]], operations: int
) -> None:
    errors = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
    codes = [refuse_from(fresh_workspace, preloaded, n, errors[n % 4]).returncode for n in range(1, operations + 1)]
    print(f"{operations} operations, each refused once: exit codes {sorted(set(codes))}")
    assert operations > 60
    # The last may be the folder's fsync after the last rename: the session is recorded by then.
    assert codes[:-1] == [4] * (operations - 1)


@pytest.mark.slow
def test_a_slow_folder_without_locks_of_its_own(
    fresh_workspace: Workspace, preloaded: Callable[..., dict[str, str]]
) -> None:
    done = run(fresh_workspace, env=preloaded(fresh_workspace, slow_us=20_000, no_flock=1))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    checked = check_workspace(fresh_workspace)
    assert (checked.findings, checked.capsules, checked.rows) == ((), 1, 1)
