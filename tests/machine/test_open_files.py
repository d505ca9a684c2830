"""A low limit of open files: every command says so and how to raise it."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from zmlx_bench.machine import open_files

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    if open_files._may_raise():
        pytest.skip("this process may raise the limit, so that mlx-lm can be imported under any")


def limit(hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024), hard))


@pytest.mark.usefixtures("few")
def test_doctor_names_cause_and_remedy(zmlx: Run, tmp_path: Any) -> None:
    done = zmlx("doctor", cwd=tmp_path, preexec_fn=limit(1024))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    words = " ".join(done.stdout.split())
    assert "a hard limit of 4,096 open files and this process may have 1,024" in words
    assert "--ulimit nofile=4096:4096" in words


@pytest.mark.usefixtures("few")
def test_a_run_is_refused_before_anything_is_written(zmlx: Run, fresh_workspace: Any) -> None:
    done = zmlx("run", "qwen3", "--checkpoint", "tiny", cwd=fresh_workspace.root, preexec_fn=limit(2048))
    assert done.returncode == 4
    assert "may have 2,048; raise it" in done.stderr
    assert not list(fresh_workspace.capsules.iterdir())


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("command", ["generate", "serve"])
def test_the_winner_in_use_is_refused_in_one_line(zmlx: Run, fresh_workspace: Any, command: str) -> None:
    done = zmlx(command, "qwen3", "--checkpoint", "tiny", cwd=fresh_workspace.root, preexec_fn=limit(1024))
    assert done.returncode == 4
    assert "may have 1,024; raise it" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.process
def test_a_command_imports_mlx_lm_only_after_it_has_looked() -> None:
    code = "import sys, zmlx_bench.use.command; print(*({'mlx', 'mlx.core', 'mlx_lm'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_enough_is_enough(zmlx: Run, tmp_path: Any) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096:
        pytest.skip("the tests themselves run under a lower limit")
    done = zmlx("doctor", cwd=tmp_path, preexec_fn=limit(4096))
    assert "open files" not in done.stdout
