"""What continuous integration runs on a Mac: a sentence where no Metal is, else every command; red if one failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import ROOT

SCRIPT = ROOT / ".ci" / "metal"
SHORT = "run qwen3 --checkpoint tiny --backend metal --variants qwen_fused --tokens 20 --runs 2"
COMMANDS = ["doctor", "kernels verify --family qwen3", SHORT]


def ran(bin_folder: Path, tmp_path: Path) -> tuple[int, str, str]:
    """Return exit code, log and summary of the script with these programs."""
    summary = tmp_path / "summary.md"
    environment = {**os.environ, "BIN": str(bin_folder), "GITHUB_STEP_SUMMARY": str(summary)}
    done = subprocess.run(["bash", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, summary.read_text()


def pretended(folder: Path, probe: str, failing: str = "none") -> Path:
    """Make a Python whose probe says and ends with `probe`, and a zmlx whose command `failing` ends with 1."""
    folder.mkdir()
    for name, body in (("python", probe), ("zmlx", f'echo "ran $*"; case "$*" in "{failing}"*) exit 1 ;; esac')):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_workflow_runs_it_on_a_mac_after_setting_up() -> None:
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "metal.yml").read_text())["jobs"].values()
    assert job["runs-on"].startswith("macos")
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make setup", ".ci/metal"]
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac may have Metal")
def test_without_metal_nothing_runs_and_the_summary_says_so(tmp_path: Path) -> None:
    code, log, summary = ran(Path(sys.executable).parent, tmp_path)
    assert (code, summary) == (0, "Nothing was run on Metal here: MLX finds no Metal device\n")
    assert log == summary


@pytest.mark.parametrize("end", ["exit 1", "kill -ABRT $$"])
def test_a_probe_that_fails_or_aborts_is_no_metal(tmp_path: Path, end: str) -> None:
    code, log, _ = ran(pretended(tmp_path / "bin", f"echo unexpected GPU; {end}"), tmp_path)
    assert code == 0
    assert "Nothing was run on Metal here: unexpected GPU" in log
    assert "ran " not in log


@pytest.mark.parametrize(("failing", "code"), [("none", 0), ("kernels verify", 1), ("doctor", 1), ("run", 1)])
def test_with_metal_every_command_runs_and_one_that_fails_fails_all(tmp_path: Path, failing: str, code: int) -> None:
    done, log, summary = ran(pretended(tmp_path / "bin", "echo Metal runs kernels here", failing), tmp_path)
    assert done == code
    assert [line[4:] for line in log.splitlines() if line.startswith("ran ")] == COMMANDS
    ended = [f"`zmlx {each}` ended with {int(each.startswith(failing))}" for each in COMMANDS]
    assert summary.splitlines() == ["Metal runs kernels here", *ended]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
