"""A command that is forked does, says and ends as one that is started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import QUIET_ENV, ZMLX
from tests.forked import Forker

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="commands are forked on Linux alone"),
]
Forked = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def forked(forker: Forker) -> Forked:
    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return forker.run([*ZMLX, *arguments], **{"env": QUIET_ENV, "timeout": 100, **options})

    return run


@pytest.mark.parametrize("arguments", [("--version",), ("variants", "no_such_family"), ("check", "--no-such-option")])
def test_it_says_and_ends_as_one_that_is_started(forked: Forked, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    started = subprocess.run(
        [*ZMLX, *arguments], env=QUIET_ENV, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    again = forked(*arguments, cwd=tmp_path)
    assert (again.returncode, again.stdout, again.stderr) == (started.returncode, started.stdout, started.stderr)


def test_it_writes_where_it_is_and_leaves_what_others_read(forked: Forked, tmp_path: Path) -> None:
    assert forked("init", "place", cwd=tmp_path).returncode == 0
    assert (tmp_path / "place" / "variants" / "policy.toml").is_file()
    (tmp_path / "place" / "variants" / "policy.toml").write_text("schema_version = ?")
    assert forked("variants", cwd=tmp_path / "place").returncode == 0
    refused = forked("promote", cwd=tmp_path / "place")
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert forked("check", cwd=tmp_path).returncode != 0, "it has no workspace above it"


def test_what_takes_too_long_is_killed(forked: Forked, tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forked("variants", cwd=tmp_path, timeout=0.001)
    assert forked("--version", cwd=tmp_path).returncode == 0
    waits = [each for each in psutil.Process().children() if "tests.forked" in " ".join(each.cmdline())]
    begun = [command for each in waits for command in each.children()]
    assert waits
    assert psutil.wait_procs(begun, timeout=10)[1] == []


def test_another_environment_is_for_one_that_is_started(forker: Forker, tmp_path: Path) -> None:
    assert forker.serves({"env": QUIET_ENV, "cwd": tmp_path, "timeout": 9})
    assert forker.serves({"env": {**QUIET_ENV, "TMPDIR": str(tmp_path)}})
    assert not forker.serves({"env": {**QUIET_ENV, "LC_ALL": "C"}})
    assert not forker.serves({"env": {**QUIET_ENV, "XDG_CACHE_HOME": str(tmp_path)}})
    assert not forker.serves({"env": QUIET_ENV, "preexec_fn": print})
