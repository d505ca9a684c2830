"""What identifies a checkpoint's folder, and what makes one unusable before anything loads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints import digest
from zmlx_bench.checkpoints import folder as folders
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.errors import UnusableInput


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(TINY / "tiny_qwen3", tmp_path / "copied")
    return tmp_path / "copied"


def identity(folder: Path) -> tuple[str, dict[str, str]]:
    config = folders.read_config(folder, families.known("qwen3"), trust_remote_code=True)
    return folders.config_hash(config), digest.weights_sha256(folders.weight_files(folder))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_copy_elsewhere_is_the_same_checkpoint(copied: Path) -> None:
    assert identity(copied) == identity(TINY / "tiny_qwen3")


@pytest.mark.parametrize(
    ("change", "config_same", "weights_same"),
    [
        (lambda f: _flip(f / "model.safetensors"), True, False),
        (lambda f: (f / "tokenizer.json").write_text((f / "tokenizer.json").read_text() + " "), True, True),
        (lambda f: (f / "config.json").write_text(json.dumps(_config(f) | {"rope_theta": 1.0})), False, True),
        (lambda f: (f / "config.json").write_text(json.dumps(_config(f), indent=7)), True, True),
        (lambda f: (f / "README.md").write_text("x"), True, True),
    ],
    ids=["one bit of the weights", "tokenizer", "config", "config's layout", "a readme"],
)
def test_what_the_identity_follows(
    copied: Path, change: Callable[[Path], object], config_same: bool, weights_same: bool
) -> None:
    before = identity(copied)
    change(copied)
    assert tuple(a == b for a, b in zip(before, identity(copied), strict=True)) == (config_same, weights_same)


def _config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_weights_cut_anywhere_are_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = (TINY / "tiny_qwen3" / "model.safetensors").read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path / "model.safetensors"
    path.write_bytes(whole[:at])
    with pytest.raises(UnusableInput, match=r"model\.safetensors: .*copy or download it again"):
        folders.weight_files(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_in_one_line(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(junk)
    with pytest.raises(UnusableInput) as caught:
        folders.weight_files(tmp_path)
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_bytes(junk)
    with pytest.raises(UnusableInput):
        folders.read_config(tmp_path, families.known("qwen3"), trust_remote_code=False)


@pytest.mark.parametrize("key", ["model_file", "auto_map"])
def test_code_is_refused_unless_trusted(copied: Path, key: str) -> None:
    (copied / "config.json").write_text(json.dumps(_config(copied) | {key: "evil.py"}))
    with pytest.raises(UnusableInput, match=f"{key}: names code .* allow it with --trust-remote-code"):
        folders.read_config(copied, families.known("qwen3"), trust_remote_code=False)
    assert folders.read_config(copied, families.known("qwen3"), trust_remote_code=True)[key] == "evil.py"


def test_the_context_is_what_the_config_says() -> None:
    assert folders.context_length({"max_position_embeddings": 4096}) == 4096
    assert folders.context_length({}) is None
    assert folders.context_length({"max_position_embeddings": "many"}) is None
