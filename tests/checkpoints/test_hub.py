"""What counts as cached: weights and what is read before them. A real cache on disk, and no hub that answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.conftest import QUIET_ENV, Zmlx
from tests.hub import snapshot
from zmlx_bench.checkpoints import hub
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.errors import CannotHere
from zmlx_bench.workspace import Workspace

PUBLISHED = "mlx-community/Qwen3-30B-A3B-4bit"
TOKENIZER = [TINY / "tiny_qwen3" / name for name in ("config.json", "tokenizer.json", "tokenizer_config.json")]


def test_configuration_and_tokenizer_alone_are_not_a_checkpoint(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, "someone/a-model", *TOKENIZER)
    assert hub.cached("someone/a-model", cache=tmp_path) is None
    snapshot(tmp_path, "someone/a-model", TINY / "tiny_qwen3" / "model.safetensors")
    assert hub.cached("someone/a-model", cache=tmp_path) == folder


def test_a_part_that_the_index_names_and_the_cache_lacks(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}')
    snapshot(tmp_path, "someone/a-model", *TOKENIZER, index, "model-1.safetensors")
    assert hub.cached("someone/a-model", cache=tmp_path) is None
    snapshot(tmp_path, "someone/a-model", "model-2.safetensors")
    assert hub.cached("someone/a-model", cache=tmp_path) is not None


@pytest.mark.parametrize("lacking", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("dangling", [False, True], ids=["never fetched", "a link to nothing"])
def test_weights_without_what_is_read_first_are_not_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str, dangling: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = snapshot(tmp_path, "someone/a-model", *TOKENIZER, TINY / "tiny_qwen3" / "model.safetensors")
    assert hub.cached("someone/a-model", cache=tmp_path) == folder
    (folder / lacking).unlink()
    if dangling:
        (folder / lacking).symlink_to(Path("..") / ".." / "blobs" / "gone")
    assert hub.cached("someone/a-model", cache=tmp_path) is None
    if lacking == "config.json":
        with pytest.raises(CannotHere, match=r"the local cache lacks its config\.json and the hub did not give it"):
            hub.fetch("someone/a-model")
    else:
        # A tokenizer may lie under a name of its own, so that what was asked of the hub is tried.
        assert hub.fetch("someone/a-model") == folder


def test_a_cache_whose_main_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = snapshot(tmp_path, "someone/a-model", *TOKENIZER)
    (folder.parents[1] / "refs" / "main").write_bytes(b"\xff\xfe")
    assert hub.cached("someone/a-model", cache=tmp_path) is None
    with pytest.raises(CannotHere, match="is no folder here, not in the local cache and cannot be downloaded"):
        hub.fetch("someone/a-model")


def test_a_cache_whose_blobs_are_for_another_user(tmp_path: Path) -> None:
    folder = snapshot(tmp_path, "someone/a-model", *TOKENIZER, TINY / "tiny_qwen3" / "model.safetensors")
    blobs = folder.parents[1] / "blobs"
    blobs.chmod(0)
    try:
        if os.access(blobs, os.X_OK):
            pytest.skip("this process may read whatever it likes")
        assert hub.cached("someone/a-model", cache=tmp_path) is None
    finally:
        blobs.chmod(0o700)


@pytest.fixture
def partial(tmp_path: Path) -> dict[str, str]:
    """An environment whose hub cache holds configuration and tokenizer of the published model, and no hub."""
    snapshot(tmp_path / "hub", PUBLISHED, *TOKENIZER)
    return {**QUIET_ENV, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}


def test_auto_goes_on_to_tiny_and_full_says_what_lacks(
    partial: dict[str, str], fresh_workspace: Workspace, zmlx: Zmlx
) -> None:
    done = zmlx("generate", "qwen3", "--prompt", "hi", "--max-tokens", "1", cwd=fresh_workspace.root, env=partial)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint tiny ({PUBLISHED} is not in the hub cache" in " ".join((done.stdout + done.stderr).split())
    asked = {**partial, "ASKED": PUBLISHED}
    fetched = "import os; from zmlx_bench.checkpoints import hub; hub.fetch(os.environ['ASKED'])"
    full = subprocess.run([sys.executable, "-c", fetched], env=asked, capture_output=True, text=True, check=False)
    assert "CannotHere" in full.stderr
    assert "connect to the network" in full.stderr


@pytest.mark.slow
def test_doctor_and_models_agree(partial: dict[str, str], tmp_path: Path, zmlx: Zmlx) -> None:
    told = zmlx("doctor", cwd=tmp_path, env=partial).stdout
    assert PUBLISHED in " ".join(told.split()).partition("does not hold")[2]
    assert "not in the hub cache; --checkpoint full downloads it" in zmlx("models", cwd=tmp_path, env=partial).stdout
