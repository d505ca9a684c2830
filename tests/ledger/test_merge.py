"""Two clones measure in one group; plain Git merges them in either order, and `zmlx promote` makes the rest again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import Made, add_session, make_workspace
from tests.conftest import Zmlx
from zmlx_bench.ledger import conflict, matrix, notebook, promotions
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.workspace import Workspace

WRITTEN = {"matrix.jsonl", "LAB_NOTEBOOK.md", "variants/promoted.toml"}
FAST, RIVAL, EQUAL = Made("fast", 0.08), Made("rival", 0.1), Made("equal", 0.0)
Work = Callable[[Workspace], None]


def git(root: Path, *arguments: str, fails: bool = False) -> str:
    """Run Git with nobody's settings."""
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=root, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"},
    )  # fmt: skip
    assert fails or done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(workspace: Workspace, message: str) -> None:
    git(workspace.root, "add", "-A")
    git(workspace.root, "commit", "-q", "-m", message)


def measured(*sessions: tuple[float, list[Made]], note: str = "", by_hand: str = "") -> Work:
    """Return what somebody does in a clone: measure, write a note, promote."""

    def work(workspace: Workspace) -> None:
        for hour, made in sessions:
            add_session(workspace, hour, made)
        if note:
            (workspace.entries / f"20300101T090000Z-{note}.md").write_text(f"## {note}\n\nA note of {note}.\n")
        if by_hand:
            with workspace.notebook.open("a") as file:
                file.write(f"\n## {by_hand}\n\nWritten where it is shown, by {by_hand}.\n")
        record(workspace, decide(workspace, None))

    return work


def before_files(workspace: Workspace) -> None:
    """Add a session as a release before this one did: rows and entry in the two shared files only."""
    add_session(workspace, 4, [EQUAL])
    rows = next(workspace.capsules.glob("20300101T14*/rows.jsonl"))
    rows.unlink()
    with workspace.notebook.open("a") as file:
        file.write("\n## Of another release\n\nWords.\n")


BRANCHES: dict[str, tuple[Work, Work, str | None]] = {
    "each has half of a promotion": (measured((2, [FAST])), measured((4, [FAST, EQUAL])), "fast"),
    "each has promoted another": (
        measured((2, [FAST, EQUAL, Made("noise", 0.0)])),
        measured((3, [RIVAL]), (5, [RIVAL])),
        "fast",
    ),
    "each has told something": (measured((2, [EQUAL]), note="mine"), measured((4, [EQUAL]), by_hand="theirs"), None),
    "one has an older release": (measured((2, [FAST])), before_files, "fast"),
    "one was decided by the other": (measured((2, [FAST])), lambda place: add_session(place, 6, [FAST]), "fast"),
}


def branched(tmp_path: Path, first: Work, second: Work) -> Workspace:
    """Return a repository with a session on `main`, and two clones' branches."""
    workspace = make_workspace(tmp_path / "origin")
    (workspace.kernels / ".keep").write_text("")
    (workspace.root / ".gitignore").write_text("*.lock\n")
    add_session(workspace, 0, [FAST])
    record(workspace, decide(workspace, None))
    git(workspace.root, "init", "-q", "-b", "main")
    commit(workspace, "the first session")
    for name, work in (("first", first), ("second", second)):
        git(tmp_path, "clone", "-q", str(workspace.root), name)
        clone = Workspace(tmp_path / name)
        git(clone.root, "switch", "-q", "-c", name)
        work(clone)
        commit(clone, f"measured in {name}")
        git(clone.root, "push", "-q", "origin", name)
    return workspace


def merged(tmp_path: Path, origin: Workspace, *branches: str) -> Workspace:
    """Merge the branches in this order in a clone of its own, as the documentation says."""
    name = "-then-".join(branches)
    git(tmp_path, "clone", "-q", str(origin.root), name)
    clone = Workspace(tmp_path / name)
    for branch in branches:
        git(clone.root, "merge", "-q", "--no-edit", f"origin/{branch}", fails=True)
        conflicts = set(git(clone.root, "diff", "--name-only", "--diff-filter=U").split())
        assert conflicts <= WRITTEN
        if conflicts:
            record(clone, decide(clone, None))
            commit(clone, f"merge {branch}")
    record(clone, decide(clone, None))
    commit(clone, "made again") if git(clone.root, "status", "--porcelain") else None
    return clone


def files_of(workspace: Workspace) -> dict[str, bytes]:
    files = (path for path in workspace.root.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path.relative_to(workspace.root).as_posix(): path.read_bytes() for path in files if path.suffix != ".lock"}


@pytest.mark.parametrize("name", BRANCHES)
def test_two_clones_measure_in_one_group(tmp_path: Path, name: str) -> None:
    first, second, default = BRANCHES[name]
    origin = branched(tmp_path, first, second)
    one = merged(tmp_path, origin, "first", "second")
    other = merged(tmp_path, origin, "second", "first")
    assert check_workspace(one, processes=1).findings == ()
    assert [p.variant for p in promotions.read(one).promotion] == ([default] if default else [])
    assert files_of(one) == files_of(other)
    for clone in (Workspace(tmp_path / "first"), Workspace(tmp_path / "second")):
        assert {row.capsule for row in matrix.read(clone.matrix)} <= {row.capsule for row in matrix.read(one.matrix)}
        titles = {section.title for section in notebook.split(clone.notebook.read_text())[1]}
        assert titles <= {section.title for section in notebook.split(one.notebook.read_text())[1]}


def test_by_the_command_line(tmp_path: Path, zmlx_inside: Zmlx) -> None:
    """The documented way: merge, `zmlx promote`, commit."""
    origin = branched(tmp_path, *BRANCHES["each has half of a promotion"][:2])
    git(origin.root, "merge", "-q", "--no-edit", "first")
    git(origin.root, "merge", "-q", "--no-edit", "second", fails=True)
    assert set(git(origin.root, "diff", "--name-only", "--diff-filter=U").split()) == WRITTEN
    unresolved = zmlx_inside("check", cwd=origin.root)
    assert unresolved.returncode == 1
    assert "LAB_NOTEBOOK.md: file: holds a conflict of Git's; `zmlx promote` writes the file again" in unresolved.stdout
    assert zmlx_inside("report", cwd=origin.root).returncode == 3
    promoted = zmlx_inside("promote", cwd=origin.root)
    assert promoted.returncode == 0
    assert "promoted.toml changed" in promoted.stderr
    done = zmlx_inside("check", cwd=origin.root)
    assert (done.returncode, done.stdout) == (0, "")
    commit(origin, "merged")
    assert zmlx_inside("promote", cwd=origin.root).returncode == 0
    assert git(origin.root, "status", "--porcelain") == ""


def test_a_conflict_in_promotions_needs_the_whole_evidence(tmp_path: Path, zmlx_inside: Zmlx) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    shutil.copy(Path(__file__).parents[2] / "variants" / "qwen3.toml", workspace.variants)
    for hour in (0, 2):
        add_session(workspace, hour, [FAST])
    record(workspace, decide(workspace, None))
    path = promotions.path_of(workspace)
    whole = path.read_text()
    path.write_text(f"<<<<<<< HEAD\n{whole}=======\n>>>>>>> theirs\n")
    refused = zmlx_inside("promote", "qwen3", cwd=workspace.root)
    assert (refused.returncode, refused.stderr.count("\n")) == (3, 1)
    assert "promoted.toml: holds a conflict of Git's; `zmlx promote` writes the file again, without a family" in (
        refused.stderr
    )
    assert zmlx_inside("promote", cwd=workspace.root).returncode == 0
    assert path.read_text() == whole


def test_a_conflict_in_a_note_is_for_people(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    workspace.entries.mkdir()
    (workspace.entries / "0001-note.md").write_text("## Note\n\n<<<<<<< HEAD\na\n=======\nb\n>>>>>>> theirs\n")
    (fault,) = check_workspace(workspace, processes=1).findings
    assert (fault.file, fault.message) == ("notebook/0001-note.md", conflict.REFUSAL)
