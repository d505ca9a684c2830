"""A draft model that cannot be had is named by its option before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hub import snapshot
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.use import draft


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache on a machine without a network."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


def test_a_checkpoint_in_a_folder_or_in_the_cache_is_taken(cache: Path) -> None:
    draft.check(str(TINY / "tiny_qwen3"))
    snapshot(cache, "somebody/small", "config.json", "tokenizer.json", "model.safetensors")
    draft.check("somebody/small")


def test_what_is_no_checkpoint_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for name, says in (
        (str(tmp_path), f"--draft-model {tmp_path}: lacks weights (model*.safetensors)"),
        (str(tmp_path / "config.json"), "is a file; give the folder of an mlx-lm checkpoint or a hub id"),
        ("./not/there", "--draft-model './not/there': neither a folder nor a hub id of the form OWNER/NAME"),
        ("a\0b", "neither a folder nor a hub id"),
    ):
        with pytest.raises(UnusableInput) as refused:
            draft.check(name)
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)


def test_one_that_cannot_be_downloaded_says_so_and_no_checkpoint_option_is_offered() -> None:
    with pytest.raises(
        CannotHere, match=r"^--draft-model nobody/has-this: is no folder here, not in the local cache"
    ) as refused:
        draft.check("nobody/has-this")
    assert "--checkpoint" not in str(refused.value)
