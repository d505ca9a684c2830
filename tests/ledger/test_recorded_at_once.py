"""Several processes that record decisions in one workspace at once: nobody's entry or promotion is lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zmlx_bench import locks
from zmlx_bench.errors import CannotHere
from zmlx_bench.ledger import notebook, promotions
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.schema.promotion import Promotions
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
APPEND = """
import sys
from pathlib import Path
from zmlx_bench.ledger import notebook
from zmlx_bench.ledger.entry import Entry, Mark
path, name, go = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
def entry(title):
    mark = Mark(title, (title,), None, "0")
    return Entry(title, mark, f"## {title}\\n\\n{mark.line()}\\n\\n" + "text of many lines\\n" * 200)
while not go.exists():
    pass
for i in range(25):
    assert len(notebook.append(path, [entry(f"{name}-{i}")])) == 1
    notebook.append(path, [entry(f"same-{i}")])
"""


def test_processes_that_append_at_once_lose_and_double_no_entry(tmp_path: Path) -> None:
    path, go = tmp_path / "LAB_NOTEBOOK.md", tmp_path / "go"
    path.write_text("# Lab notebook\n\n## By hand\n\nKept.\n")
    writers = [subprocess.Popen([sys.executable, "-c", APPEND, str(path), name, str(go)], cwd=ROOT) for name in "xy"]
    time.sleep(0.5)
    killed = tmp_path / ".LAB_NOTEBOOK.md.k1ll3d.tmp"
    killed.write_text("part of an entry, by a process that was killed")
    go.touch()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert not killed.exists()
    text = path.read_text()
    assert text.startswith("# Lab notebook\n\n## By hand\n\nKept.\n")
    found = notebook.written_entries(text, path)
    assert sorted(entry.title for entry in found) == sorted(
        f"{name}-{i}" for name in ("x", "y", "same") for i in range(25)
    )
    assert {entry.text.count("text of many lines\n") for entry in found} == {200}


def test_promotions_that_another_command_wrote_meanwhile_are_not_undone(decided: Workspace) -> None:
    path = promotions.path_of(decided)
    stood = path.read_bytes()
    path.unlink()
    late = decide(decided, None)
    shutil.copyfile(ROOT / "variants" / "promoted.toml", path)
    others = path.read_bytes()
    with pytest.raises(CannotHere, match=r"promoted\.toml: another command has changed it meanwhile; try again"):
        record(decided, late)
    assert path.read_bytes() == others
    path.write_bytes(stood)
    assert record(decided, late).promotions is False, "what the other wrote is what this one would write"


@pytest.mark.parametrize("name", ["LAB_NOTEBOOK.md", "variants/promoted.toml"])
def test_a_lock_that_stays_held_is_no_endless_wait(
    decided: Workspace, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided.notebook.unlink()
    promotions.path_of(decided).unlink()
    found = decide(decided, None)
    assert found.after != Promotions()
    monkeypatch.setattr(locks, "TIMEOUT_S", 0.1)
    with locks.locked(decided.root / name), pytest.raises(CannotHere, match=r"has held its lock for 0\.1 s"):
        record(decided, found)
