"""`--checkpoint`: which weights, why, and what they are grouped by."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.checkpoints.resolve import TINY, locate
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.machine import facts
from zmlx_bench.schema.machine import Machine

CPU = facts.read("cpu")
TRAINED = [name for name in family_catalog.names() if family_catalog.known(name).tiny is not None]
"""The families with a small trained checkpoint."""
SMALL = CPU.model_copy(update={"memory_gb": 8.0})
GPU = Machine(device="Made GPU", backend="cuda", os="Made", arch="made", gpu_memory_gb=141.0)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty hub cache and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("family", TRAINED)
def test_auto_without_the_published_weights_is_tiny_and_says_why(family: str) -> None:
    found = locate(family, "auto", CPU)
    assert found.checkpoint.kind == "tiny"
    assert found.option == "tiny"
    assert "is not in the hub cache" in found.why
    assert found.checkpoint.digest == locate(family, "tiny", CPU).checkpoint.digest


def test_a_folder_is_known_by_its_content_and_never_by_its_place(tmp_path: Path) -> None:
    for place in ("here", "there"):
        shutil.copytree(TINY / "tiny_qwen3", tmp_path / place / "my model")
    one, other = (locate("qwen3", str(tmp_path / place / "my model"), CPU) for place in ("here", "there"))
    assert one.checkpoint == other.checkpoint
    assert one.checkpoint.label == "my-model"
    assert str(tmp_path) not in one.checkpoint.model_dump_json()
    assert locate("qwen3", one.option, CPU).checkpoint == one.checkpoint


def test_a_way_round_is_told_straight_unless_a_link_stands_in_it(tmp_path: Path) -> None:
    mine = Path(shutil.copytree(TINY / "tiny_qwen3", tmp_path / "models" / "mine"))
    (tmp_path / "lab").mkdir()
    assert locate("qwen3", f"{tmp_path}/lab/../models/mine", CPU).option == str(mine)
    (tmp_path / "link").symlink_to(mine)
    assert locate("qwen3", f"{tmp_path}/link/../mine", CPU).option == f"{tmp_path}/link/../mine"


@pytest.mark.parametrize("name", ["tiny", "full", "synthetic", "auto"])
def test_a_folder_of_ones_own_is_never_labelled_as_a_checkpoint_that_zmlx_knows(tmp_path: Path, name: str) -> None:
    shutil.copytree(TINY / "tiny_qwen3", tmp_path / name)
    found = locate("qwen3", str(tmp_path / name), CPU).checkpoint
    assert (found.kind, found.label) == ("path", f"{name}-{found.digest[:8]}")


def test_evidence_of_different_weights_never_meets() -> None:
    ids = {locate(family, "tiny", CPU).checkpoint.digest for family in TRAINED}
    ids |= {locate("qwen3", "synthetic", GPU, seed=seed).checkpoint.digest for seed in (0, 1)}
    ids |= {locate("qwen3", "synthetic", GPU, layers=2).checkpoint.digest}
    assert len(ids) == len(TRAINED) + 3


def test_a_family_whose_synthetic_weights_became_others_has_another_recipe() -> None:
    recipes = {name: str(locate(name, "synthetic", GPU, layers=1).checkpoint.recipe) for name in family_catalog.names()}
    numbers = {name: int(recipe.split()[1].rstrip(",")) for name, recipe in recipes.items()}
    assert numbers == {name: family_catalog.known(name).facts.recipe for name in recipes}
    assert {name for name, number in numbers.items() if number > 1} == {"qwen3_next", "qwen3_5_moe"}


def test_published_sizes_are_for_a_gpu_unless_forced() -> None:
    with pytest.raises(CannotHere, match="use tiny, or insist with --force"):
        locate("qwen3", "synthetic", CPU)
    assert locate("qwen3", "synthetic", CPU, force=True, layers=1).checkpoint.layers == 1
    with pytest.raises(CannotHere, match=r"needs 17\.\d+ GB and this machine has 8\.0 GB; use tiny"):
        locate("qwen3", "synthetic", SMALL, force=True)


def test_full_says_what_is_missing() -> None:
    with pytest.raises(CannotHere, match=r"needs 17\.\d+ GB and this machine has 8\.0 GB; use tiny"):
        locate("qwen3", "full", SMALL)
    with pytest.raises(CannotHere, match="is not in the local cache and cannot be downloaded"):
        locate("qwen3", "full", GPU)


@pytest.mark.parametrize("name", ["", "ful", "TINY", "nowhere"])
def test_what_is_neither_a_kind_nor_a_folder_nor_a_hub_id(name: str) -> None:
    with pytest.raises(UnusableInput, match="unknown checkpoint"):
        locate("qwen3", name, CPU)


@pytest.mark.parametrize("name", ["./nowhere", "~/nowhere", "/nowhere/x", "../nowhere/at/all", ".nowhere"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(UnusableInput, match=f"checkpoint {name}: there is no such folder"):
        locate("qwen3", name, CPU)


def test_a_hub_id_without_a_network() -> None:
    lacks = "owner/name: is no folder here, not in the local cache and cannot be downloaded"
    with pytest.raises(CannotHere, match=rf"{lacks}.*or use --checkpoint tiny"):
        locate("qwen3", "owner/name@main", CPU)
    with pytest.raises(CannotHere, match=lacks) as refused:
        locate("any-llama", "owner/name@main", CPU)
    assert "tiny" not in str(refused.value), "which it has not"
    with pytest.raises(UnusableInput, match="neither a folder nor a hub id"):
        locate("qwen3", "owner/name/more", CPU)
