"""A changed word in the code is no fault of the evidence: sentences are edited in a copy, and old evidence checked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = [
    ("ledger/prose.py", "makes decode of", "makes decoding of"),
    ("ledger/prose.py", "**Key results.**", "**What was measured.**"),
    ("ledger/prose.py", "Null arm of", "The A/A arm of"),
    ("ledger/prose.py", "Blocks that a new session needs", "Blocks needed"),
    ("ledger/notebook.py", "Written by date", "Put together by date"),
    ("analysis/decision/group.py", "faster at every budget", "faster at each budget"),
    ("analysis/decision/group.py", "latest valid sessions say CANDIDATE", "newest valid sessions agree"),
    ("analysis/decision/group.py", "promoted before, and nothing has beaten it", "still unbeaten"),
    ("analysis/decision/session.py", "not shown to be slower", "no slower as far as shown"),
    ("analysis/decision/session.py", "a budget is missing", "one budget was not measured"),
]


@pytest.fixture(scope="module")
def reworded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with other sentences."""
    root = tmp_path_factory.mktemp("reworded")
    shutil.copytree(ROOT / "zmlx_bench", root / "zmlx_bench", ignore=shutil.ignore_patterns("__pycache__"))
    for file, before, after in SENTENCES:
        path = root / "zmlx_bench" / file
        text = path.read_text()
        assert before in text, f"{file} no longer says {before!r}"
        path.write_text(text.replace(before, after))
    return root


def run(package: Path, workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from zmlx_bench.cli.main import main; main()", *arguments]
    env = {**QUIET_ENV, "PYTHONPATH": str(package)}
    return subprocess.run(command, cwd=workspace, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_the_landed_evidence_holds_under_other_words(reworded: Path) -> None:
    done = run(reworded, ROOT, "check")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_promoting_under_other_words_leaves_what_was_written(reworded: Path, decided: Workspace) -> None:
    before = {path: path.read_bytes() for path in decided.entries.iterdir()}
    done = run(reworded, decided.root, "promote")
    assert done.returncode == 0, done.stderr
    assert "promoted.toml unchanged" in done.stderr
    assert {path: path.read_bytes() for path in decided.entries.iterdir()} == before
    assert run(ROOT, decided.root, "check").returncode == 0


def test_the_copy_is_the_one_that_runs(reworded: Path, decided: Workspace) -> None:
    for path in decided.entries.iterdir():
        path.unlink()
    assert run(reworded, decided.root, "promote").returncode == 0
    text = decided.notebook.read_text()
    assert "makes decoding of qwen3" in text
    assert "faster at each budget" in text
    assert run(ROOT, decided.root, "check").returncode == 0
