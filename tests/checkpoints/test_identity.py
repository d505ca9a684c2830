"""One repository is one checkpoint by whatever name and however its cache is laid out; other weights are another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.hub import snapshot
from zmlx_bench.analysis.decision.adapter import key_of
from zmlx_bench.checkpoints import hub
from zmlx_bench.checkpoints.resolve import TINY, Located, locate
from zmlx_bench.machine import facts
from zmlx_bench.schema.plan import Conditions

PUBLISHED = "mlx-community/Qwen3-30B-A3B-4bit"
FILES = sorted(path for path in (TINY / "tiny_qwen3").iterdir() if path.suffix != ".md")
LARGE = facts.read("cpu").model_copy(update={"memory_gb": 64.0})


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of hub caches; `in_cache` chooses one. There is no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def in_cache(monkeypatch: pytest.MonkeyPatch, cache: Path, wanted: str) -> Located:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return locate("qwen3", wanted, LARGE)


def other_weights(path: Path) -> Path:
    data = bytearray((TINY / "tiny_qwen3" / "model.safetensors").read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("links", [True, False])
def test_full_hub_id_and_folder_are_one_group(caches: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = snapshot(caches / "hub", PUBLISHED, *FILES, links=links)
    found = [in_cache(monkeypatch, caches / "hub", wanted) for wanted in ("full", PUBLISHED, str(folder))]
    assert [each.checkpoint.kind for each in found] == ["full", "hub", "path"]
    keys = {key_of("qwen3", each.checkpoint, Conditions(), LARGE, "1", "2") for each in found}
    tiny = locate("qwen3", "tiny", LARGE).checkpoint
    assert {key.checkpoint for key in keys} == {tiny.digest}
    assert len(keys) == 1
    assert found[0].checkpoint.weights == tiny.weights


def test_equal_weights_with_another_chat_template_are_one_group(caches: Path) -> None:
    """A template decides prompts' token ids, which stand in every capsule, and no prompt is part of a group."""
    folder = Path(shutil.copytree(TINY / "tiny_qwen3", caches / "copied"))
    told = json.loads((folder / "tokenizer_config.json").read_text())
    told["chat_template"] = "{{ messages[0]['content'] }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    found = [locate("qwen3", wanted, LARGE).checkpoint for wanted in ("tiny", str(folder))]
    assert len({key_of("qwen3", each, Conditions(), LARGE, "1", "2") for each in found}) == 1


@pytest.mark.parametrize("links", [True, False])
def test_other_weights_in_the_cache_are_another_checkpoint(
    caches: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = other_weights(caches / "model.safetensors")
    digests = set()
    for name, files in (("one", FILES), ("other", [*(f for f in FILES if f.suffix != ".safetensors"), weights])):
        snapshot(caches / name, "someone/a-model", *files, links=links)
        digests.add(in_cache(monkeypatch, caches / name, "someone/a-model").checkpoint.digest)
    assert len(digests) == 2


def test_a_blob_is_what_it_holds_and_not_what_it_is_called(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that saves to the file in the snapshot writes through the link."""
    folder = snapshot(caches / "hub", "someone/a-model", *FILES)
    before = in_cache(monkeypatch, caches / "hub", "someone/a-model").checkpoint
    other_weights(folder / "model.safetensors")
    after = in_cache(monkeypatch, caches / "hub", "someone/a-model").checkpoint
    assert hub.blobs_of(folder)["model.safetensors"] == before.weights["model.safetensors"]
    assert after.digest != before.digest


def test_a_leftover_index_in_the_cache_is_no_reason_to_download(caches: Path) -> None:
    index = caches / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    folder = snapshot(caches / "hub", PUBLISHED, *FILES, index)
    assert hub.cached(PUBLISHED, cache=caches / "hub") == folder
