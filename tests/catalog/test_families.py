"""The families that there are: packaged, in a workspace, and found by an architecture's name."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench.catalog import families
from zmlx_bench.errors import UnusableInput
from zmlx_bench.workspace import Workspace

PACKAGED = families.names()


def add(workspace: Workspace, name: str, text: str, *, code: bool = True) -> Path:
    folder = workspace.families / name
    folder.mkdir(parents=True)
    (folder / "facts.toml").write_text(text)
    if code:
        (folder / "family.py").write_text("")
    return folder


def facts_of(model_type: str, title: str = "Planted") -> str:
    return (
        f'schema_version = 1\ntitle = "{title}"\nimplementation = "Planted"\nmodel_type = "{model_type}"\n'
        'hub_id = "someone/planted"\nmemory_gb = 1.0\n[config]\nlayers = 2\n'
    )


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_workspace_without_families_has_the_packaged_ones(place: Workspace) -> None:
    assert families.names(place) == PACKAGED
    for name in PACKAGED:
        assert families.facts(name, place) == families.facts(name)
        assert families.of_model_type(families.facts(name).model_type, place) == name
    assert families.of_model_type("no_such_architecture", place) is None


def test_a_folder_in_the_workspace_is_a_family(place: Workspace) -> None:
    folder = add(place, "planted", facts_of("planted_moe"))
    assert families.names(place) == sorted([*PACKAGED, "planted"])
    assert families.folder("planted", place) == folder
    assert families.facts("planted", place).config == {"layers": 2}
    assert families.of_model_type("planted_moe", place) == "planted"
    assert families.of_model_type("planted_moe") is None
    assert families.names() == PACKAGED


def test_the_workspaces_own_goes_before_a_packaged_one(place: Workspace) -> None:
    name = PACKAGED[0]
    packaged = families.facts(name)
    folder = add(place, name, facts_of(packaged.model_type, title="Mine"))
    assert (families.folder(name, place), families.facts(name, place).title) == (folder, "Mine")
    assert families.facts(name).title == packaged.title
    # Of two names for one architecture, the workspace's too.
    add(place, "zzz", facts_of(families.facts(PACKAGED[1]).model_type))
    assert families.of_model_type(families.facts(PACKAGED[1]).model_type, place) == "zzz"


def test_an_unknown_name_is_told_the_nearest_one(place: Workspace) -> None:
    add(place, "planted", facts_of("planted_moe"))
    with pytest.raises(UnusableInput, match="unknown model family 'plantet'; did you mean 'planted'"):
        families.check_name("plantet", place)


def test_a_folder_that_is_half_a_family_is_named_with_what_is_missing(place: Workspace) -> None:
    folder = add(place, "half", facts_of("half_moe"), code=False)
    with pytest.raises(UnusableInput) as raised:
        families.folder("half", place)
    assert str(raised.value) == f"{folder}: has facts.toml but no family.py with the class that it names"


def test_wrong_facts_are_named_with_file_and_field(place: Workspace) -> None:
    folder = add(place, "wrong", facts_of("wrong_moe").replace("memory_gb = 1.0", "memory_gb = -1.0"))
    with pytest.raises(UnusableInput, match=f"{folder / 'facts.toml'}: memory_gb"):
        families.facts("wrong", place)
