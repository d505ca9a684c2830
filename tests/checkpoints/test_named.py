"""What stands in FAMILY's place: a family, an architecture without one, a checkpoint's folder, a hub id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints.named import named
from zmlx_bench.checkpoints.resolve import TINY, locate
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.machine import facts
from zmlx_bench.workspace import Workspace

FAMILY = next(name for name in families.names() if families.known(name).tiny is not None)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def checkpoint(folder: Path, config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_family_is_what_it_was(place: Workspace) -> None:
    assert named(FAMILY, "tiny", place) == (FAMILY, "tiny")
    assert named("any-llama", "somewhere", place) == ("any-llama", "somewhere")


def test_a_folder_is_of_the_family_of_its_architecture(place: Workspace, tmp_path: Path) -> None:
    own = checkpoint(tmp_path / "own", {"model_type": families.facts(FAMILY).model_type})
    other = checkpoint(tmp_path / "other", {"model_type": "llama"})
    assert named(str(own), "auto", place) == (FAMILY, str(own))
    assert named(str(other), "auto", place) == ("any-llama", str(other))
    assert named(str(TINY / f"tiny_{FAMILY}"), "auto", place)[0] == FAMILY


def test_a_familys_name_goes_before_a_folder_that_is_called_so(place: Workspace, here: Path) -> None:
    checkpoint(here / FAMILY, {"model_type": "llama"})
    assert named(FAMILY, "auto", place) == (FAMILY, "auto")
    assert named(f"./{FAMILY}", "auto", place) == ("any-llama", f"./{FAMILY}")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "model_type: is None; must name an architecture"),
        ({"model_type": 3}, "model_type: is 3; must name an architecture"),
        ({"model_type": "../evil"}, r"odd/config\.json: model_type: is '\.\./evil'; must be letters, digits"),
        ({"model_type": "x y" * 100}, r"odd/config\.json: model_type: is .{,60}…; must be letters, digits"),
        ({"model_type": ["x"] * 100}, r"odd/config\.json: model_type: is .{,60}…; must name an architecture"),
        ([], "must hold a JSON object"),
    ],
)
def test_a_folder_that_names_no_architecture(place: Workspace, tmp_path: Path, config: object, says: str) -> None:
    with pytest.raises(UnusableInput, match=says):
        named(str(checkpoint(tmp_path / "odd", config)), "auto", place)


def test_what_is_neither(place: Workspace, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UnusableInput, match=r"has no config\.json"):
        named(str(empty), "auto", place)
    with pytest.raises(UnusableInput, match=r"unknown model family 'lama'; .*or give a checkpoint's folder"):
        named("lama", "auto", place)
    for path in ("./nowhere", "../nowhere/at", "/nowhere/at/all", "~/nowhere/at-all"):
        with pytest.raises(UnusableInput, match=f"checkpoint {path}: there is no such folder; give one that exists"):
            named(path, "auto", place)
    for path in ("models/nested/nowhere", "nowhere/"):
        with pytest.raises(UnusableInput, match="neither a folder nor a hub id"):
            named(path, "auto", place)


def test_a_file_is_no_checkpoint(place: Workspace, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "own", {"model_type": "llama"})
    with pytest.raises(UnusableInput, match=r"own/config\.json: is a file, not a folder; give the folder that it lies"):
        named(str(folder / "config.json"), "auto", place)


def test_a_folder_that_was_mistyped_may_be_a_hub_id(place: Workspace) -> None:
    says = "checkpoint models/nope: is no folder here, not in the local cache and cannot be downloaded"
    with pytest.raises(CannotHere, match=says) as refused:
        named("models/nope", "auto", place)
    assert "tiny" not in str(refused.value), "the checkpoint stands in FAMILY's place already"


def test_the_checkpoint_is_named_once(place: Workspace, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "other", {"model_type": "llama"})
    with pytest.raises(UnusableInput, match="--checkpoint tiny: the checkpoint stands in FAMILY's place already"):
        named(str(folder), "tiny", place)


@pytest.mark.parametrize("wanted", ["auto", "tiny", "full", "full@main", "synthetic"])
def test_an_architecture_alone_names_no_checkpoint(place: Workspace, wanted: str) -> None:
    with pytest.raises(UnusableInput, match="zmlx knows none by name; give a checkpoint's folder, or a hub id"):
        locate("any-llama", wanted, facts.read("cpu"), workspace=place)


def test_a_checkpoint_of_another_architecture_is_refused(place: Workspace, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "other", {"model_type": "mixtral"})
    with pytest.raises(UnusableInput, match="model_type: is 'mixtral', but any-llama needs 'llama'"):
        locate("any-llama", str(folder), facts.read("cpu"), workspace=place)


def test_an_architecture_with_a_family_of_its_own_is_that_family(place: Workspace) -> None:
    name = f"any-{families.facts(FAMILY).model_type}"
    with pytest.raises(UnusableInput, match=f"'{name}': an architecture with a family of its own, {FAMILY}; name that"):
        named(name, "somewhere", place)
    assert named(name, "auto", place, anew=False) == (name, "auto"), "a session of it from before is finished"
