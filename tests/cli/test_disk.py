"""A disk that is full or read-only: one line, code 4, and nothing half-written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_bad_input import tree
from tests.conftest import QUIET_ENV
from zmlx_bench.workspace import Workspace

RUN = ("run", "qwen3", "--checkpoint", "tiny", "--tokens", "4", "--runs", "1", "--variants", "qwen_qkv_joined")


NO_CACHE = {**QUIET_ENV, "PYTHONDONTWRITEBYTECODE": "1"}
"""Under a limit of file sizes Python leaves half a compiled module, which every later process then fails to read."""


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Return mount(OPTIONS) -> a small file system of its own; skipped where that is not allowed."""
    point = tmp_path / "disk"
    point.mkdir()

    def mount(options: str, *, again: bool = False) -> Path:
        flags = f"remount,{options}" if again else options
        if shutil.which("mount") is None or os.geteuid() != 0:
            pytest.skip("mounting a file system needs root")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", flags, "tmpfs", str(point)], check=False)
        if done.returncode != 0:
            pytest.skip("mounting a file system is not allowed here")
        return point

    yield mount
    subprocess.run(["umount", str(point)], check=False, stderr=subprocess.DEVNULL)


def _refused(done: subprocess.CompletedProcess[str], root: Path, before: dict[str, bytes | None], says: str) -> None:
    assert done.returncode == 4, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    assert "or choose another place" in done.stderr
    assert tree(root) == before


def test_a_session_that_cannot_be_written_is_not_begun(fresh_workspace: Workspace, zmlx: Callable[..., Any]) -> None:
    before = tree(fresh_workspace.root)
    done = zmlx(*RUN, "--workspace", str(fresh_workspace.root), preexec_fn=_limit, env=NO_CACHE)
    _refused(done, fresh_workspace.root, before, "session.json: cannot be written: File too large")


def test_a_file_where_the_capsules_should_lie(fresh_workspace: Workspace, zmlx_inside: Callable[..., Any]) -> None:
    fresh_workspace.capsules.rmdir()
    fresh_workspace.capsules.write_text("mine")
    before = tree(fresh_workspace.root)
    done = zmlx_inside(*RUN, "--workspace", str(fresh_workspace.root))
    _refused(done, fresh_workspace.root, before, "session.json: cannot be written: Not a directory")


def test_a_read_only_workspace(
    fresh_workspace: Workspace, zmlx_inside: Callable[..., Any], mounted: Callable[..., Path]
) -> None:
    disk = mounted("size=4m")
    shutil.copytree(fresh_workspace.root, disk / "ws")
    mounted("ro", again=True)
    before = tree(disk)
    done = zmlx_inside(*RUN, "--workspace", str(disk / "ws"))
    _refused(done, disk, before, "session.json: cannot be written: Read-only file system")
    made = zmlx_inside("init", str(disk / "other"))
    assert (made.returncode, len(made.stderr.splitlines())) == (4, 1)
    assert "cannot be made: Read-only file system" in made.stderr


@pytest.mark.parametrize("size", ["16k", "1m"], ids=["no folder", "some files"])
def test_init_on_a_full_disk_leaves_nothing(
    zmlx_inside: Callable[..., Any], mounted: Callable[..., Path], size: str
) -> None:
    disk = mounted(f"size={size}")
    done = zmlx_inside("init", str(disk / "ws"))
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
    assert "cannot be made: " in done.stderr
    assert done.stderr.count("No space left on device") == 1, "one refusal is enough"
    assert done.stderr.endswith("; name another folder\n")
    assert list(disk.iterdir()) == []


RECORD = """
import sys
from pathlib import Path
from tests.schema.strategies import example
from zmlx_bench.errors import CannotHere
from zmlx_bench.ledger import matrix
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.workspace import Workspace
rows = [MatrixRow.model_validate({**example(MatrixRow), "capsule": f"c{i}", "device": "x" * 900}) for i in range(9)]
try:
    for number, row in enumerate(rows):
        matrix.record(Workspace(Path(sys.argv[1])), f"s{number}", [row])
except CannotHere as error:
    sys.exit(f"refused: {error}")
"""


def test_the_matrix_never_keeps_half_a_row(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    path = tmp_path / "matrix.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", RECORD, str(tmp_path)],
        capture_output=True, text=True, check=False, preexec_fn=limit, env=NO_CACHE,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert "refused: " in done.stderr
    assert "cannot be written" in done.stderr
    data = path.read_bytes()
    assert data.endswith(b"}\n")
    assert 1 <= data.count(b"\n") < 9
