"""The guide's commands, run as they stand in it, from an empty folder to a verdict."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV
from tests.docs.blocks import DOCS, Line, blocks

GUIDE = DOCS / "guide-kernel.md"
MEASURING = ("zmlx run", "zmlx kernels bench", "zmlx promote", "zmlx report")


def commands() -> list[Line]:
    """All commands of the guide but those that need a GPU, in order."""
    return [line for block in blocks(GUIDE) if block.mark == "" for line in block.lines]


def run(lines: Sequence[Line], folder: Path) -> str:
    """Run the commands in one shell, whose folder the guide changes; return what they printed."""
    script = ["set -u"]
    for line in lines:
        fails = " && ".join(f"[ $code -ne {code} ]" for code in line.codes)
        script += [line.text, f"code=$?; if {fails}; then echo line {len(script)} ended with $code >&2; exit 99; fi"]
    environment = {**QUIET_ENV, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_before_measuring_run_as_written(tmp_path: Path) -> None:
    lines = commands()
    quick = [line for line in lines if not line.text.startswith(MEASURING)]
    assert len(lines) - len(quick) == len(MEASURING)
    said = run(quick, tmp_path)
    assert "wrote kernels/my_combine/kernel.metal" in said
    assert "8 passed" in said or not sys.platform.startswith("linux")
    assert "failed" in said, "the guide's wrong kernel is found"


def test_the_files_that_the_guide_names_are_those_that_are_written(tmp_path: Path) -> None:
    run(commands()[:3], tmp_path)
    named = [
        line.split("`")[1] for line in GUIDE.read_text().splitlines() if line.startswith(("| `kernels/", "| `tests/"))
    ]
    made = [path for folder in ("kernels/my_combine", "tests") for path in (tmp_path / "lab" / folder).rglob("*.*")]
    assert sorted(named) == sorted(path.relative_to(tmp_path / "lab").as_posix() for path in made)


@pytest.mark.slow
def test_the_guide_leads_to_a_verdict(tmp_path: Path) -> None:
    said = run(commands(), tmp_path)
    lab = tmp_path / "lab"
    rows = (lab / "matrix.jsonl").read_text().splitlines()
    assert len(rows) == 2
    verdicts = {words[1]: words[2] for words in map(str.split, said.splitlines()) if words[:1] in (["1"], ["2"])}
    assert verdicts["my_combine"] in ("INCONCLUSIVE", "HOLD")
    if platform.machine() == "x86_64":
        assert verdicts["my_combine_fp32"] == "REJECT", "a rounding that changes a token on this backend"
