"""Checkpoints that bring code, and secrets in the environment."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Zmlx
from tests.session.conftest import finished
from tests.variants import variant
from zmlx_bench.catalog import families
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.kernels import sources
from zmlx_bench.checkpoints import folder as folders
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.plan import Arm
from zmlx_bench.session.environment import secrets, shared_variables, without_secrets, worker_environment
from zmlx_bench.workspace import Workspace

CODE = """from pathlib import Path
from mlx_lm.models.qwen3_moe import *
Path(__file__).with_name("ran").touch()
"""


@pytest.fixture
def with_code(tmp_path: Path) -> Path:
    """The tiny model with a model file of its own, which leaves a mark when it is run."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(TINY / "tiny_qwen3", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_file": "own.py"}))
    (folder / "own.py").write_text(CODE)
    return folder


ARGUMENTS = ("run", "qwen3", "--tokens", "4", "--runs", "1", "--no-null", "--prompts", "primes", "--variants",
             "qwen_qkv_joined")  # fmt: skip


def test_code_of_a_checkpoint_is_not_run_without_the_flag(
    with_code: Path, fresh_workspace: Workspace, zmlx: Zmlx
) -> None:
    done = zmlx(*ARGUMENTS, "--checkpoint", str(with_code), "--workspace", str(fresh_workspace.root))
    assert done.returncode == 3
    assert "names code that loading would run" in done.stderr
    assert not (with_code / "ran").exists()
    assert list(fresh_workspace.capsules.iterdir()) == []


@pytest.mark.slow
def test_the_flag_that_lets_code_run_is_in_the_capsule(with_code: Path, fresh_workspace: Workspace, zmlx: Zmlx) -> None:
    root = str(fresh_workspace.root)
    done = zmlx(*ARGUMENTS, "--checkpoint", str(with_code), "--trust-remote-code", "--workspace", root)
    measured = finished(fresh_workspace, done)
    capsule = measured.capsule("qwen_qkv_joined")
    assert capsule.status == "ok"
    assert (with_code / "ran").exists()
    assert capsule.protocol.trust_remote_code is True
    assert capsule.checkpoint.trust_remote_code is True


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("boom"),)


@pytest.mark.parametrize("name", ["model.bin", "pytorch_model.bin", "model.pt", "weights.pkl", "model.safetensors"])
def test_a_pickle_is_never_loaded(with_code: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(with_code)
    (with_code / "model.safetensors").unlink()
    (with_code / name).write_bytes(pickle.dumps(_Bomb()))
    with pytest.raises(UnusableInput, match=r"is a pickle, which could run code|not a safetensors file|is cut off"):
        folders.weight_files(with_code)
    assert not (with_code / "boom").exists()


def test_a_tokenizer_with_code_is_refused(with_code: Path) -> None:
    config = json.loads((with_code / "config.json").read_text())
    del config["model_file"]
    (with_code / "config.json").write_text(json.dumps(config))
    path = with_code / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    with pytest.raises(UnusableInput, match=r"tokenizer_config\.json: auto_map: names code"):
        folders.read_config(with_code, families.known("qwen3"), trust_remote_code=False)


def _file(folder: Path, outside: Path) -> None:
    (folder / "kernel.py").unlink()
    (folder / "kernel.py").symlink_to(outside / "kernel.py")


def _folder(folder: Path, outside: Path) -> None:
    (folder / "parts").symlink_to(outside)


def _inside(folder: Path, outside: Path) -> None:
    (folder / "parts").symlink_to(folder.parent / "moe_combine")


@pytest.mark.parametrize("spoil", [_file, _folder, _inside])
def test_code_from_outside_the_workspace_or_its_hash_is_refused(
    fresh_workspace: Workspace, tmp_path: Path, spoil: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "kernel.py").write_text("def bind(module, request): ...\n")
    spoil(fresh_workspace.kernels / "qkv_joined", tmp_path)
    with pytest.raises(UnusableInput, match="links to a folder or leads outside the workspace's kernels/"):
        kernel_catalog.load(fresh_workspace)


@pytest.mark.parametrize("module", ["....elsewhere", "...", "....etc.passwd"])
def test_imports_lead_to_no_file_outside_the_kernels(fresh_workspace: Workspace, module: str) -> None:
    (fresh_workspace.root / "elsewhere.py").write_text("x = 1\n")
    path = fresh_workspace.kernels / "qkv_joined" / "kernel.py"
    path.write_text(f"from {module} import elsewhere\n" + path.read_text())
    assert all(f.is_relative_to(fresh_workspace.kernels) for f in sources(fresh_workspace, "qkv_joined", None))


HUSH = {
    "HF_TOKEN": "hf_0123456789", "AWS_SECRET_ACCESS_KEY": "k1", "OPENAI_API_KEY": "k2", "MY_PASSWORD": "k3",
    "GITHUB_PAT": "k4", "DATABASE": "postgres://user:k5@host/db", "MLX_API_KEY": "k6", "ZMLX_TOKEN": "k7",
}  # fmt: skip
KEPT = {"MLX_MAX_OPS_PER_BUFFER": "200", "PATH": "/bin", "ZMLX_MAX_TOKENS": "3", "KEYBOARD": "us", "AUTHOR": "a"}


def test_what_is_a_secret_is_kept_from_workers_and_records(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**HUSH, **KEPT}.items():
        monkeypatch.setenv(name, value)
    made = variant("qwen3", "combine=moe_combine")
    for arm in (Arm(name="made", role="variant", variant=made), Arm(name="baseline", role="baseline")):
        found = worker_environment(arm)
        assert not set(HUSH) & set(found)
        assert set(KEPT.items()) <= set(found.items())
    assert set(secrets({**HUSH, **KEPT})) == set(HUSH)
    assert shared_variables({**HUSH, **KEPT}) == {"MLX_MAX_OPS_PER_BUFFER": "200", "ZMLX_MAX_TOKENS": "3"}
    assert without_secrets("it is hf_0123456789!") == "it is [HF_TOKEN]!"
