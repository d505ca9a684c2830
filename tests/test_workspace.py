"""A workspace is made whole or not at all, found from where one stands, and named in commands where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from zmlx_bench import workspace
from zmlx_bench.errors import UnusableInput
from zmlx_bench.workspace import Workspace


def test_an_interrupt_leaves_no_half_of_a_workspace(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree

    def interrupted(source: Any, target: Any, *options: Any, **named: Any) -> Any:
        if Path(target).name == "variants":
            raise KeyboardInterrupt
        return copy(source, target, *options, **named)

    monkeypatch.setattr(shutil, "copytree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        workspace.create(here / "lab")
    assert list(here.iterdir()) == []
    monkeypatch.undo()
    assert workspace.is_workspace(workspace.create(here / "lab").root)


def test_a_command_names_the_workspace_only_where_it_would_not_find_it(here: Path) -> None:
    for name in ("lab", "other"):
        for folder in ("kernels", "variants", "capsules"):
            (here / name / folder).mkdir(parents=True)
    lab = Workspace(here / "lab")
    said = ("--workspace", str(here / "lab"))
    assert workspace.options(lab) == said, "none is around"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here / "lab" / "capsules")
        assert workspace.options(lab) == ()
        patch.chdir(here / "other")
        assert workspace.options(lab) == said, "another one is"


def test_a_folder_that_was_removed_under_the_shell(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = here / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UnusableInput, match="the current folder was removed; cd into one that exists"):
        workspace.find(None)
