"""Bringing a workspace's copies up to date: what is replaced, what is kept, and what a killed update leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Zmlx
from zmlx_bench import copies, workspace
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.workspace import Workspace


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package of two kernels, a library and two files of variants, in place of the real one."""
    root = tmp_path / "package"
    for name in ("kernels/one", "kernels/two", "kernels/_lib/words"):
        (root / name).mkdir(parents=True)
        (root / name / "kernel.py").write_text(f"# {name}\n")
    (root / "kernels/_lib/shared.py").write_text("# shared\n")
    (root / "variants").mkdir()
    for name in ("family.toml", "policy.toml", "promoted.toml"):
        (root / "variants" / name).write_text(f"# {name}\n")
    for module in (workspace, copies):
        monkeypatch.setattr(module, "packaged", lambda: root)
    return root


@pytest.fixture
def made(package: Path, tmp_path: Path) -> Workspace:
    created = workspace.create(tmp_path / "ws")
    copies.remember(created)
    return created


def states(units: list[copies.Unit]) -> dict[str, str]:
    return {unit.name: unit.state for unit in units if unit.state != "current"}


def test_nothing_is_stale_in_a_new_workspace(made: Workspace) -> None:
    assert copies.stale(made) == []
    assert states(copies.update(made)) == {}


def test_every_file_that_a_workspace_is_made_of_belongs_to_a_unit(tmp_path: Path) -> None:
    made = workspace.create(tmp_path / "whole")
    copies.remember(made)
    units = {made.root / unit.name for unit in copies.compare(made)}
    copied = [*made.kernels.rglob("*"), *made.variants.iterdir()]
    loose = [path for path in copied if path.is_file() and units.isdisjoint([path, *path.parents])]
    assert [path for path in loose if not path.name.startswith(".")] == []
    assert len(units) > 30


def test_unedited_copies_follow_the_package(package: Path, made: Workspace) -> None:
    (package / "kernels/one/kernel.py").write_text("# newer\n")
    (package / "kernels/_lib/words/more.h").write_text("// newer\n")
    (package / "kernels/_lib/shared.py").write_text("# newer\n")
    (package / "kernels/two/kernel.py").unlink()
    (package / "kernels/two").rmdir()
    (package / "kernels/three").mkdir()
    (package / "kernels/three/kernel.py").write_text("# three\n")
    assert copies.stale(made) == ["kernels/_lib/shared.py", "kernels/_lib/words", "kernels/one", "kernels/two"]
    assert states(copies.update(made)) == {
        "kernels/_lib/shared.py": "replaced",
        "kernels/_lib/words": "replaced",
        "kernels/one": "replaced",
        "kernels/three": "added",
        "kernels/two": "removed",
    }
    assert (made.kernels / "one/kernel.py").read_text() == "# newer\n"
    assert (made.kernels / "_lib/words/more.h").is_file()
    assert (made.kernels / "_lib/shared.py").read_text() == "# newer\n"
    assert (made.kernels / "three/kernel.py").is_file()
    assert not (made.kernels / "two").exists()
    assert states(copies.update(made)) == {}
    assert sorted(p.name for p in made.kernels.iterdir()) == ["_lib", "one", "three"]


def test_edits_stay(package: Path, made: Workspace) -> None:
    (made.variants / "family.toml").write_text("# my variant\n")
    (made.kernels / "one/kernel.py").write_text("# mine\n")
    assert copies.stale(made) == []
    (package / "kernels/one/kernel.py").write_text("# newer\n")
    (package / "kernels/one/second.cu").write_text("// newer\n")
    assert states(copies.update(made)) == {"kernels/one": "kept"}
    assert (made.kernels / "one/kernel.py").read_text() == "# mine\n"
    assert not (made.kernels / "one/second.cu").exists()
    assert (made.variants / "family.toml").read_text() == "# my variant\n"


def test_what_the_user_took_out_or_added_is_let_be(package: Path, made: Workspace) -> None:
    (made.kernels / "two/kernel.py").unlink()
    (made.kernels / "two").rmdir()
    (made.kernels / "own").mkdir()
    (made.kernels / "own/kernel.py").write_text("# own\n")
    (package / "kernels/two/kernel.py").write_text("# newer\n")
    assert states(copies.update(made)) == {}
    assert not (made.kernels / "two").exists()
    assert (made.kernels / "own/kernel.py").is_file()


def test_a_workspace_that_remembers_nothing_keeps_what_differs(package: Path, made: Workspace) -> None:
    (made.root / copies.RECORD).unlink()
    (package / "kernels/one/kernel.py").write_text("# newer\n")
    assert copies.stale(made) == []
    assert states(copies.update(made)) == {"kernels/one": "kept"}
    (package / "kernels/two/kernel.py").write_text("# newer\n")
    assert states(copies.update(made)) == {"kernels/one": "kept", "kernels/two": "replaced"}


@pytest.mark.parametrize(
    ("refusal", "told"),
    [(OSError(28, "No space left on device"), CannotHere), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_disk_that_refuses_or_an_interrupt_leaves_whole_kernels(
    package: Path,
    made: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    refusal: BaseException,
    told: type[BaseException],
) -> None:
    for name in ("one", "two"):
        (package / "kernels" / name / "kernel.py").write_text("# newer\n")
    rename = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if self.name.startswith(".two.") and self.name.endswith(".new"):
            raise refusal
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(told, match="No space left" if told is CannotHere else None):
        copies.update(made)
    monkeypatch.undo()
    assert (made.kernels / "one/kernel.py").read_text() == "# newer\n"
    assert (made.kernels / "two/kernel.py").read_text() == "# kernels/two\n"
    assert sorted(p.name for p in made.kernels.iterdir()) == ["_lib", "one", "two"]


def test_the_package_itself_is_refused(package: Path) -> None:
    assert copies.compare(Workspace(package)) == []
    with pytest.raises(UnusableInput, match="is where the copies are made from"):
        copies.update(Workspace(package))


def test_the_command(zmlx_inside: Zmlx, tmp_path: Path) -> None:
    made = tmp_path / "ws"
    assert zmlx_inside("init", str(made)).returncode == 0
    combine = made / "kernels" / "moe_combine" / "kernel.py"
    whole = combine.read_text()
    record = json.loads((made / copies.RECORD).read_text())
    assert "older copies" not in zmlx_inside("check", str(made)).stderr
    combine.write_text("# an older copy\n")
    record["units"]["kernels/moe_combine"] = copies._digest(combine.parent)
    (made / copies.RECORD).write_text(json.dumps(record))
    told = zmlx_inside("check", str(made))
    assert (told.returncode, "older copies than those of this zmlx: kernels/moe_combine;" in told.stderr) == (0, True)
    done = zmlx_inside("init", "--update", str(made))
    assert (done.returncode, done.stdout) == (0, "kernels/moe_combine: replaced\n")
    assert combine.read_text() == whole
    assert zmlx_inside("init", "--update", str(tmp_path)).returncode == 3
    (made / copies.RECORD).write_text("{")
    told = zmlx_inside("check", str(made))
    assert (told.returncode, told.stdout.startswith(copies.RECORD)) == (1, True)
