"""Bad input: one clear line on standard error, the exit code of the contract, and nothing written."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.cli.main import main
from zmlx_bench.workspace import Workspace


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command takes SIGTERM over; give it back."""
    held = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, held)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], fresh_workspace: Workspace) -> Callable[..., str]:
    """Run `zmlx` here with a workspace; return its one line after checking that nothing was written."""

    def run(code: int, *arguments: str) -> str:
        before = tree(fresh_workspace.root)
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--workspace", str(fresh_workspace.root)])
        out, err = capsys.readouterr()
        assert left.value.code == code, err
        assert out == ""
        assert len(err.splitlines()) == 1, err
        assert "Traceback" not in err
        assert tree(fresh_workspace.root) == before
        return err

    return run


def tree(root: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}


SHORT = ("--checkpoint", "tiny", "--tokens", "4", "--runs", "1")


@pytest.mark.parametrize(
    ("code", "arguments", "says"),
    [
        (3, ("run", "qwen4"), "unknown model family 'qwen4'; did you mean 'qwen3'?"),
        (3, ("run", "llama"), "unknown model family 'llama'; known: deepseek_v3, gemma4_text, glm47, gpt_oss, "),
        (3, ("run", "qwen3", "--variants", "qwen_qkv_joint"), "unknown qwen3 variant 'qwen_qkv_joint'; did you mean"),
        (3, ("run", "qwen3", "--variants", ""), "--variants: names no variant"),
        (3, ("run", "qwen3", *SHORT, "--context", "0"), "--context 0: must be at least 1"),
        (3, ("run", "qwen3", *SHORT, "--context", "9999999"), "--context 9999999: must be at most 1048576"),
        (3, ("run", "qwen3", *SHORT, "--batch", "0"), "--batch 0: must be at least 1"),
        (3, ("run", "qwen3", *SHORT, "--batch", "1000"), "--batch 1000: must be at most 256"),
        (3, ("run", "qwen3", *SHORT, "--kv-bits", "7"), "--kv-bits 7: must be one of 2, 3, 4, 5, 6, 8"),
        (3, ("run", "qwen3", *SHORT, "--max-kv-size", "4"), "--max-kv-size 4: must be at least 5"),
        (3, ("run", "qwen3", *SHORT, "--kv-bits", "8", "--batch", "2"), "batched generation has no quantised cache"),
        (3, ("run", "qwen3", *SHORT, "--kv-bits", "8", "--max-kv-size", "9"), "quantises no cache that rotates"),
        (3, ("run", "qwen3", *SHORT, "--batch", "2", "--audit"), "--audit: compares logits under the default"),
        (3, ("run", "qwen3", "--checkpoint", "tinny"), "unknown checkpoint 'tinny'; did you mean 'tiny'?"),
        (3, ("run", "qwen3", "--checkpoint", "/not/there"), "checkpoint /not/there: there is no such folder"),
        (3, ("run", "qwen3", *SHORT, "--tokens", "0"), "--tokens 0: must be at least 2"),
        (3, ("run", "qwen3", "--tokens", "1"), "--tokens 1: must be at least 2"),
        (3, ("run", "qwen3", "--tokens", "-5"), "--tokens -5: must be at least 2"),
        (3, ("run", "qwen3", "--runs", "0"), "--runs 0: must be at least 1"),
        (3, ("run", "qwen3", "--runs", "1e9"), "--runs 1e9: must be a whole number in digits"),
        (3, ("run", "qwen3", "--timeout", "soon"), "--timeout soon: must be a number"),
        (3, ("screen", "qwen3", "--processes", "9" * 5000), f"--processes {'9' * 40}: must be a whole number"),
        (3, ("run", "qwen3", "--runs", "1000000000"), "--runs 1000000000: must be at most 1000"),
        (3, ("run", "qwen3", "--seed", "-1"), "--seed -1: must not be negative"),
        (3, ("run", "qwen3", *SHORT, "--seed", "1" + 40 * "0"), "0: must be at most 9223372036854775807"),
        (3, ("kernels", "bench", "--seed", "1" + 40 * "0"), "0: must be at most 9223372036854775807"),
        (3, ("run", "qwen3", *SHORT, "--max-kv-size", "1048577"), "--max-kv-size 1048577: must be at most 1048576"),
        (3, ("run", "qwen3", "--checkpoint", "synthetic", "--force", "--layers", "49"), "--layers 49: Qwen3-30B-A3B"),
        (3, ("run", "qwen3", "--cooldown", "-1"), "--cooldown -1: must"),
        (3, ("run", "qwen3", "--cooldown", "nan"), "--cooldown nan: must"),
        (3, ("run", "qwen3", "--cooldown", "inf"), "--cooldown inf: must"),
        (3, ("run", "qwen3", *SHORT, "--timeout", "0"), "--timeout 0: must be above 0"),
        (3, ("run", "qwen3", *SHORT, "--timeout", "nan"), "--timeout nan: must be above 0 seconds and at most 86400"),
        (3, ("run", "qwen3", *SHORT, "--timeout", "1e12"), "--timeout 1e+12: must be above 0 seconds and at most"),
        (3, ("screen", "qwen3", "--timeout", "1e12"), "--timeout 1e+12: must be above 0 seconds and at most"),
        (3, ("kernels", "verify", "--timeout", "1e12"), "--timeout 1e+12: must be above 0 seconds and at most"),
        (3, ("run", "qwen3", "--cooldown", "1e12"), "--cooldown 1e+12: must be seconds from 0 to 86400"),
        (3, ("run", "qwen3", "--resume", ""), "unknown session ''; known: none"),
        (3, ("run", "qwen3", "--extend", ""), "unknown session ''; known: none"),
        (3, ("run", "qwen3", *SHORT, "--timeout", "inf"), "--timeout inf: must be above 0"),
        (3, ("run", "qwen3", "--layers", "0"), "--layers 0: must be at least 1"),
        (3, ("run", "qwen3", "--backend", "gpu"), "unknown backend 'gpu'; "),
        (3, ("run", "qwen3", "--prompts", "tcp_upd"), "unknown prompt 'tcp_upd'; did you mean 'tcp_udp'?"),
        (3, ("run", "qwen3", "--prompts", ","), "--prompts: names no prompt"),
        (3, ("run", "qwen3", "--prompts", "not/there.toml"), "not/there.toml: no such file"),
        (3, ("run", "qwen3", "--resume", "20300101"), "unknown session '20300101'; known: none"),
        (3, ("run", "qwen3", *SHORT, "--tokens", "100000"), "exceed the context of 4096; shorten the prompt or lower"),
        (4, ("run", "qwen3", "--checkpoint", "synthetic", "--backend", "cpu"), "use tiny, or insist with --force"),
        (3, ("variants", "qwen4"), "unknown model family 'qwen4'; did you mean 'qwen3'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_to_do(refused: Callable[..., str], code: int, arguments: Any, says: str) -> None:
    line = refused(code, *arguments)
    assert line.startswith("zmlx: ")
    assert says in line


def test_a_backend_that_is_not_here(refused: Callable[..., str]) -> None:
    missing = "metal" if sys.platform != "darwin" else "cuda"
    assert f"--backend {missing}: {missing} needs " in refused(4, "run", "qwen3", "--backend", missing)


@pytest.mark.parametrize("arguments", [("run",), ("run", "qwen3", "--nonsense"), ("run", "qwen3", "--runs", "many")])
def test_wrong_usage_is_unusable_input(refused: Callable[..., str], arguments: tuple[str, ...]) -> None:
    line = refused(3, *arguments)
    assert any(what in line for what in ("FAMILY", "--nonsense", "--runs"))


def test_a_prompt_longer_than_the_context(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    path.write_text('[[prompt]]\nid = "long"\ndomain = "x"\ntext = "' + "one two three " * 5000 + '"\n')
    line = refused(3, "run", "qwen3", *SHORT, "--prompts", str(path))
    assert "prompt 'long': " in line
    assert "exceed the context of 4096" in line


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    shutil.copytree(TINY / "tiny_qwen3", tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (empty, "has no config.json"),
        (cut, "model.safetensors: is cut off"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors: is empty or cut off"),
        (lambda f: (f / "model.safetensors").write_bytes(b"GGUF" * 9), "not a safetensors file"),
        (lambda f: (f / "model.safetensors").rename(f / "model.bin"), "has no model*.safetensors"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: "),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: must hold a JSON object"),
        (lambda f: change(f / "config.json", model_type="llama"), "is 'llama', but qwen3 needs 'qwen3_moe'"),
        (lambda f: change(f / "config.json", model_file="evil.py"), "config.json: model_file: names code"),
        (lambda f: change(f / "tokenizer_config.json", auto_map={}), "tokenizer_config.json: auto_map: names code"),
    ],
    ids=[
        "empty", "truncated", "no bytes", "garbage", "pickle", "broken json", "a list", "architecture", "code",
        "tokenizer code",
    ],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_used(
    refused: Callable[..., str], checkpoint: Path, spoil: Callable[[Path], object], says: str
) -> None:
    spoil(checkpoint)
    line = refused(3, "run", "qwen3", "--tokens", "4", "--runs", "1", "--checkpoint", str(checkpoint))
    assert says in line
    assert "checkpoint" in line


def test_a_file_as_checkpoint(refused: Callable[..., str], checkpoint: Path) -> None:
    assert "is a file, not a folder; give the folder that it lies in" in refused(
        3, "run", "qwen3", "--checkpoint", str(checkpoint / "config.json")
    )


@pytest.mark.parametrize("command", [("run", "qwen3"), ("variants",), ("kernels",)])
def test_a_workspace_that_is_none(here: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]) -> None:
    for arguments, says in (
        ((), f"no workspace in {here} or above it; make one with `zmlx init DIR`"),
        (("--workspace", str(here)), f"--workspace {here}: not a workspace"),
        (("--workspace", str(here / "none")), "not a workspace"),
    ):
        with pytest.raises(SystemExit) as left:
            main([*command, *arguments])
        out, err = capsys.readouterr()
        assert (left.value.code, out, len(err.splitlines())) == (3, "", 1)
        assert says in err
    assert list(here.iterdir()) == []


def test_init_refuses_what_it_would_overwrite(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "full").mkdir()
    (here / "full" / "mine").write_text("mine")
    (here / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(SystemExit) as left:
            main(["init", name])
        assert left.value.code == 3
        assert "exists and is not an empty folder" in capsys.readouterr().err
    assert tree(here) == {"file": b"mine", "full": None, "full/mine": b"mine"}
