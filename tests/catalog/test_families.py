"""The families that there are: packaged, in a workspace, and found by an architecture's name."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlx_lm.utils import MODEL_REMAPPING

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
    for path in ("models/mine", "owner/name", "./mine"):
        with pytest.raises(UnusableInput, match=r"known: .*\(any-<model_type> is an architecture without a folder"):
            families.check_name(path, place)


def test_where_a_folder_of_its_own_is_needed_an_architecture_is_none(place: Workspace) -> None:
    add(place, "planted", facts_of("planted_moe"))
    assert families.check_folder("planted", place) == "planted"
    for name in ("any-llama", families.ANY, "plantet"):
        with pytest.raises(UnusableInput, match=r"unknown model family .*\(one with a folder of its own\)"):
            families.check_folder(name, place)


def test_a_folder_that_is_half_a_family_is_named_with_what_is_missing(place: Workspace) -> None:
    folder = add(place, "half", facts_of("half_moe"), code=False)
    with pytest.raises(UnusableInput) as raised:
        families.folder("half", place)
    assert str(raised.value) == f"{folder}: has facts.toml but no family.py with the class that it names"


def test_wrong_facts_are_named_with_file_and_field(place: Workspace) -> None:
    folder = add(place, "wrong", facts_of("wrong_moe").replace("memory_gb = 1.0", "memory_gb = -1.0"))
    with pytest.raises(UnusableInput, match=f"{folder / 'facts.toml'}: memory_gb"):
        families.facts("wrong", place)


def test_an_architecture_without_a_folder_is_a_family_too(place: Workspace) -> None:
    name = families.named_by("llama", place)
    assert name == "any-llama"
    assert families.is_structural(name, place)
    assert families.architecture(name, place) == families.Architecture(name, "llama")
    assert families.folder(name, place) == families.folder(families.ANY)
    assert families.declared_as(name, place) == families.ANY
    assert families.ANY not in families.names(place), "it is no family that could be measured by itself"
    with pytest.raises(UnusableInput, match="model family 'any': is the folder of many; any-<model_type> is"):
        families.check_name(families.ANY, place)


def test_an_architecture_with_a_folder_is_that_family(place: Workspace) -> None:
    for name in PACKAGED:
        model_type = families.facts(name).model_type
        assert families.named_by(model_type, place) == name
        assert families.declared_as(name, place) == name
        assert not families.is_structural(name, place)
    # A family may be called as another architecture is: the two never meet.
    apart = [name for name in PACKAGED if families.of_model_type(name, place) != name]
    assert {families.named_by(name, place) for name in apart} == {"any-glm47", "qwen3_dense", "any-qwen3_dense"}
    add(place, "any-llama", facts_of("planted_moe"))
    assert not families.is_structural("any-llama", place), "the workspace's own goes before"


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("kimi_k2", "deepseek_v3"), ("kimi_k25", "deepseek_v3"), ("minimax_m2", "minimax"), ("gemma4", "gemma4_text")],
)
def test_checkpoints_that_mlx_lm_loads_as_an_architecture_are_of_its_family(model_type: str, name: str) -> None:
    assert families.named_by(model_type) == name
    assert model_type in families.known(name).also
    said = model_type if model_type in MODEL_REMAPPING else families.facts(name).model_type
    assert MODEL_REMAPPING.get(said, said) == families.facts(name).model_type


@pytest.mark.parametrize("model_type", ["", "../evil", "a b", "a/b", "\x1b[31m", "a" * 61, ".a", "é"])
def test_a_model_type_that_no_file_could_be_named_by_is_refused(place: Workspace, model_type: str) -> None:
    with pytest.raises(UnusableInput, match="must be letters, digits"):
        families.named_by(model_type, place)
    assert not families.is_structural(f"any-{model_type}", place)
