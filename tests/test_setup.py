"""tools/setup.sh on machines that are not here: what it refuses, and what it leaves out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.process
SETUP = Path(__file__).resolve().parents[1] / "tools" / "setup.sh"
PYTHON = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *"-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *platform.machine*) echo {machine} ;;
  *cuda.is_available*) exit 1 ;;
esac
"""
"""A Python that says what machine it is built for, makes a folder as its environment, and writes down what it runs."""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def set_up(tmp_path: Path, system: str, machine: str) -> tuple[subprocess.CompletedProcess[str], str]:
    log = tmp_path / "log"
    log.touch()
    script(tmp_path / "bin" / "uname", f'#!/bin/sh\ncase "$1" in -m) echo {machine} ;; *) echo {system} ;; esac\n')
    script(tmp_path / "bin" / "c++", "#!/bin/sh\n")
    python = script(tmp_path / "bin" / "python-for-venv", PYTHON.format(log=log, machine=machine))
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    environment = os.environ | {"PATH": path, "PYTHON_FOR_VENV": str(python)}
    command = ["bash", str(SETUP), str(tmp_path / "venv")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done, log.read_text()


def test_a_python_for_intel_is_refused_on_a_mac(tmp_path: Path) -> None:
    done, ran = set_up(tmp_path, "Darwin", "x86_64")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "is built for Intel: MLX needs an arm64 Python" in done.stderr
    assert "venv" not in ran.replace("python-for-venv", "")
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(("system", "machine", "built"), [("Darwin", "arm64", False), ("Linux", "x86_64", True)])
def test_native_kernels_are_built_where_they_can_run(tmp_path: Path, system: str, machine: str, built: bool) -> None:
    done, ran = set_up(tmp_path, system, machine)
    assert done.returncode == 0, done.stderr
    assert ("kernels/_lib/native/build.py" in ran) == built
    assert (tmp_path / "venv" / ".ready").exists()
