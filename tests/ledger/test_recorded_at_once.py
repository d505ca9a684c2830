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
WRITE = """
import sys
from pathlib import Path
from zmlx_bench.ledger import notebook
from zmlx_bench.schema.base import content_hash
from zmlx_bench.schema.entry import Entry, prose_hash
from zmlx_bench.workspace import Workspace
place, name, go = Workspace(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
def entry(title):
    prose = ("text of many lines",) * 200
    return Entry(title=f"EXP-{title}", sessions=(title,), evidence_sha256=content_hash(title), incumbent=None,
                 policy_sha256="0" * 64, decision=None, cited=(), prose=prose, prose_sha256=prose_hash(prose))
while not go.exists():
    pass
for i in range(15):
    assert len(notebook.write(place, [entry(f"{name}-{i}")])) == 1
    notebook.write(place, [entry(f"SAME-{i}")])
"""


def test_processes_that_write_at_once_lose_and_double_no_entry(tmp_path: Path) -> None:
    place, go = Workspace(tmp_path), tmp_path / "go"
    place.entries.mkdir()
    (place.entries / "0001-by-hand.md").write_text("## By hand\n\nKept.\n")
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path), name, str(go)], cwd=ROOT) for name in "XY"]
    time.sleep(0.5)
    killed = tmp_path / ".LAB_NOTEBOOK.md.k1ll3d.tmp"
    killed.write_text("part of a notebook, by a process that was killed")
    go.touch()
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert not killed.exists()
    titles = sorted(f"EXP-{name}-{i}" for name in ("X", "Y", "SAME") for i in range(15))
    assert sorted(entry.title for entry in notebook.all_entries(place)) == titles
    sections = notebook.split(place.notebook.read_text())[1]
    assert sections[0].text == "## By hand\n\n<!-- notebook/0001-by-hand.md -->\n\nKept.\n"
    assert sorted(section.title for section in sections[1:]) == titles
    assert {section.text.count("text of many lines\n") for section in sections[1:]} == {200}


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
