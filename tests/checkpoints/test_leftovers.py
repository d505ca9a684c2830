"""What lies beside the weights does not matter, as it does not to mlx-lm; an unfinished download is refused."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints import folder as folders
from zmlx_bench.checkpoints import safetensors
from zmlx_bench.checkpoints.resolve import TINY, locate
from zmlx_bench.errors import UnusableInput
from zmlx_bench.machine import facts

WHOLE = TINY / "tiny_qwen3" / "model.safetensors"
NAMES = list(safetensors.tensors(WHOLE))
PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copytree(TINY / "tiny_qwen3", tmp_path / "place")
    return tmp_path / "place"


def write(path: Path, names: Iterable[str], change: bytes = b"") -> None:
    """Write tensors of the tiny checkpoint; `change` is what the first one begins with."""
    data, known = WHOLE.read_bytes(), safetensors.tensors(WHOLE)
    header: dict[str, object] = {}
    body = b""
    for name in names:
        tensor = known[name]
        begin = len(body)
        body += data[tensor.begin : tensor.end]
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, len(body)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + change + body[len(change) :])


def in_parts(place: Path, *kept: str) -> None:
    """Put the weights into two files with an index, of which `kept` are there."""
    (place / WHOLE.name).unlink()
    halves = dict(zip(PARTS, (NAMES[:40], NAMES[40:]), strict=True))
    index(place, {name: part for part, names in halves.items() for name in names})
    for part in kept:
        write(place / part, halves[part])


def index(place: Path, files: dict[str, str]) -> None:
    (place / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


def leftovers() -> dict[str, Callable[[Path], object]]:
    return {
        "the index of the weights before they were quantised": lambda p: index(
            p, {"model.embed_tokens.weight": PARTS[0], "lm_head.weight": PARTS[1], "gone.weight": PARTS[1]}
        ),
        "an index of a bin": lambda p: index(p, {"a": "pytorch_model-00001-of-00002.bin"}),
        "an index that was cut off": lambda p: (p / "model.safetensors.index.json").write_text('{"weight_map": {'),
        "an index without a map": lambda p: (p / "model.safetensors.index.json").write_text("[]"),
        "a consolidated copy that is cut off": lambda p: (p / "consolidated.safetensors").write_bytes(b"123"),
        "an adapter": lambda p: (p / "adapters.safetensors").write_bytes(b""),
        "a pickle": lambda p: (p / "pytorch_model.bin").write_bytes(b"x"),
        "an unfinished file of another name": lambda p: (p / "model.safetensors.incomplete").write_bytes(b"x"),
        "what macOS leaves on a disk of Windows": lambda p: (p / "._model.safetensors").write_bytes(b"x"),
        "the original's folder": lambda p: shutil.copytree(p, p / "original"),
        "the client's own folder": lambda p: (p / ".cache" / "huggingface" / "download").mkdir(parents=True),
        "Git's files": lambda p: (p / ".gitattributes").write_text("*.safetensors filter=lfs"),
        "a copy by hand": lambda p: shutil.copy(p / "model.safetensors", p / "model (1).safetensors"),
        "bytes behind the last tensor": lambda p: (p / WHOLE.name).write_bytes(WHOLE.read_bytes() + b"\0" * 64),
        "a generation config that is none": lambda p: (p / "generation_config.json").write_text("{"),
        "a key twice in the config": lambda p: _config(p, '"model_type"', '"model_type": "x", "model_type"'),
        "an infinite number in the config": lambda p: _config(p, "{", '{"limit": [0.0, Infinity],'),
    }  # fmt: skip


def _config(place: Path, old: str, new: str) -> None:
    path = place / "config.json"
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize("name", list(leftovers()))
def test_a_leftover_is_no_reason_to_refuse(place: Path, name: str) -> None:
    leftovers()[name](place)
    found = locate("qwen3", str(place), facts.read("cpu"))
    assert found.checkpoint.weights.keys() == {path.name for path in place.glob("model*.safetensors")}
    assert folders.has_weights(place)


@pytest.mark.model
@pytest.mark.parametrize("name", list(leftovers()))
def test_mlx_lm_loads_each_of_them(place: Path, name: str) -> None:
    from mlx_lm.utils import load_model

    leftovers()[name](place)
    model, _ = load_model(place, lazy=True)
    assert len(model.layers) > 0


@pytest.mark.parametrize("kept", [(), PARTS[:1], PARTS[1:]])
def test_an_unfinished_download_is_refused(place: Path, kept: tuple[str, ...]) -> None:
    in_parts(place, *kept)
    lost = next(part for part in PARTS if part not in kept)
    told = rf"{lost} is missing; finish its download" if kept else r"has no model\*\.safetensors; copy or download"
    with pytest.raises(UnusableInput, match=told):
        folders.weight_files(place)
    assert not folders.has_weights(place)
    (place / "model.safetensors.index.json").unlink()
    with pytest.raises(UnusableInput, match=told):
        folders.weight_files(place)
    assert not folders.has_weights(place)


def test_parts_that_are_all_there(place: Path) -> None:
    in_parts(place, *PARTS)
    assert [path.name for path in folders.weight_files(place)] == list(PARTS)
    assert folders.has_weights(place)


def test_an_index_counts_only_what_no_other_file_holds(place: Path) -> None:
    """As where the parts of a checkpoint were joined, and one of them was forgotten."""
    in_parts(place, PARTS[0])
    shutil.copy(WHOLE, place)
    assert len(folders.weight_files(place)) == 2
    assert folders.has_weights(place)


def test_two_versions_of_a_tensor_are_refused_because_either_might_run(place: Path) -> None:
    write(place / "model-old.safetensors", NAMES[:2], change=b"\xff\x00\xff\x00")
    told = rf"model\.safetensors: {NAMES[0]}: is another one than in model-old\.safetensors.*remove one"
    with pytest.raises(UnusableInput, match=told):
        folders.weight_files(place)


def test_what_cannot_be_opened_is_named(place: Path, tmp_path: Path) -> None:
    (place / "model-2.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UnusableInput, match=r"model-2\.safetensors: is a link to a file that is not there; copy"):
        folders.weight_files(place)
    assert not folders.has_weights(place)
    (place / "model-2.safetensors").unlink()
    os.mkfifo(place / "model-2.safetensors")
    with pytest.raises(UnusableInput, match=r"model-2\.safetensors: is no regular file"):
        folders.weight_files(place)
    (place / "model-2.safetensors").unlink()
    (place / "model-2.safetensors").mkdir()
    with pytest.raises(UnusableInput, match=r"model-2\.safetensors: "):
        folders.weight_files(place)


def test_another_architecture_is_still_refused(place: Path) -> None:
    _config(place, "qwen3_moe", "llama")
    with pytest.raises(UnusableInput, match="model_type: is 'llama', but qwen3 needs 'qwen3_moe'"):
        folders.read_config(place, families.known("qwen3"), trust_remote_code=False)
