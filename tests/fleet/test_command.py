"""What cannot be asked is one line with the option's name, before anything is made; and what to install is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Zmlx
from tests.fleet.real import workspace_in
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace_in(tmp_path_factory.mktemp("asked") / "ws")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nobody",), "unknown model family 'nobody'"),
        (("qwen3", "--variants", "qwen_nothing"), "unknown variant 'qwen_nothing'"),
        (("qwen3", "glm47", "--variants", "qwen_native"), "none of them is a variant of glm47"),
        (("qwen3", "qwen3"), "names a family twice"),
        (("qwen3", "--sessions", "0"), "--sessions 0: must be from 1 to 100"),
        (("qwen3", "--per-host", "0"), "--per-host 0: must be from 1 to 64"),
        (("qwen3", "--tokens", "1"), "--tokens 1: must be at least 2"),
        (("qwen3", "--runs", "0"), "--runs 0: must be at least 1"),
        (("qwen3", "--seed", "-1"), "--seed -1: must not be negative"),
        (("qwen3", "--prompts", "mine.toml"), "a file does not travel"),
        (("qwen3", "--prompts", "nobody"), "unknown prompt 'nobody'"),
        (("qwen3", "--checkpoint", "/my/model"), "a folder is on one machine"),
        (("qwen3", "gpt_oss", "--checkpoint", "tiny"), "--checkpoint tiny: gpt_oss has none; use synthetic or full"),
        (("qwen3", "--address", "auto"), "leave it or --address auto out"),
    ],
)
def test_it_is_refused_before_anything_is_made(
    workspace: Workspace, zmlx_inside: Zmlx, arguments: tuple[str, ...], says: str
) -> None:
    done = zmlx_inside("fleet", "run", *arguments, "--local", cwd=workspace.root)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert says in done.stderr
    assert not (workspace.root / "fleet").exists()


def test_a_family_whose_facts_cannot_be_read_does_not_travel(zmlx_inside: Zmlx, tmp_path: Path) -> None:
    mine = workspace_in(tmp_path / "ws")
    folder = mine.root / "families" / "gpt_oss"
    folder.mkdir(parents=True)
    (folder / "facts.toml").write_text('model = "mine"\n')
    (folder / "family.py").write_text("")
    done = zmlx_inside("fleet", "run", "gpt_oss", "--local", cwd=mine.root)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "families/gpt_oss/facts.toml: model: unknown field; did you mean 'model_type'?" in done.stderr
    assert not (mine.root / "fleet").exists()


@pytest.mark.parametrize("command", ["status", "collect", "stop"])
def test_without_a_run_it_is_said_how_to_begin_one(workspace: Workspace, zmlx_inside: Zmlx, command: str) -> None:
    done = zmlx_inside("fleet", command, cwd=workspace.root)
    assert done.returncode == 3
    assert "no fleet run has begun here; begin one with `zmlx fleet run FAMILY`" in done.stderr


@pytest.mark.process
def test_without_ray_it_is_said_what_to_install(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from zmlx_bench.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "fleet", "run", "qwen3", "--workspace", str(workspace.root)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert "pip install 'zmlx-bench[fleet]'" in done.stderr
    assert "--local" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (workspace.root / "fleet").exists()
