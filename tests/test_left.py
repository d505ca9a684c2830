"""A test that fails leaves no process and no pipe to the tests after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.left import end, processes_of

pytestmark = pytest.mark.process
ROOT = Path(__file__).resolve().parents[1]
SLEEPS = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '600'])"]
WAITS = [
    sys.executable, "-c", "import os, time; by = os.getppid()\nwhile os.getppid() == by: time.sleep(0.05)"
]  # fmt: skip
"""Until whoever started it has gone."""
FAILS = f"""
import gc, subprocess

def waits(process):
    process.communicate(timeout=0.2)

def test_a_process_that_takes_too_long():
    waits(subprocess.Popen({WAITS!r}, stdin=-1, stdout=-1, stderr=-1, text=True))

def test_several_when_something_else_is_wrong():
    begun = [subprocess.Popen(["true"], stdout=-1), subprocess.Popen({WAITS!r})]
    assert begun == []

def test_the_next_is_told_of_none():
    gc.collect()
"""


@pytest.mark.parametrize("ended", [True, False])
def test_the_tests_after_one_that_fails_hear_nothing_of_what_it_left(tmp_path: Path, ended: bool) -> None:
    (tmp_path / "test_fails.py").write_text(FAILS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]
    done = subprocess.run(
        [*command, *(["-p", "tests.left"] if ended else []), str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    failed = [line.partition("::")[2].split()[0] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    expected = ["test_a_process_that_takes_too_long", "test_several_when_something_else_is_wrong"]
    assert failed[:2] == expected, done.stdout
    assert ("2 failed, 1 passed" in done.stdout) == ended, done.stdout
    assert ("still running" in done.stdout + done.stderr) != ended


def test_what_a_process_started_ends_with_it() -> None:
    def waits() -> None:
        process = subprocess.Popen(SLEEPS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while not psutil.Process(process.pid).children():
            assert process.poll() is None
        raise TimeoutError(process.pid)

    with pytest.raises(TimeoutError) as caught:
        waits()
    (process,) = processes_of(caught.tb)
    (child,) = psutil.Process(process.pid).children()
    end(process)
    assert process.returncode == -9
    assert process.stdout is not None
    assert process.stdout.closed
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
