"""Names of folders and files: no Latin letter, not UTF-8, very long, with line breaks or escapes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import ROOT
from tests.conftest import QUIET_ENV, Zmlx
from tests.reliability.standin import COMMAND as STANDIN
from zmlx_bench import workspace as workspaces
from zmlx_bench.checkpoints.resolve import TINY, locate
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.machine import facts
from zmlx_bench.session.environment import shared_variables
from zmlx_bench.workspace import Workspace

NO_UTF8 = os.fsdecode(b"caf\xff")
ESCAPE = "a\x1b[31mb"
ODD = ["模型", "модель", "🐙", ESCAPE, "a\nb", " ", "--x", "x" * 255, "‮name"]
CPU = facts.read("cpu")
NAMEABLE = sys.platform != "darwin"
"""Whether files may have names that are not UTF-8."""
needs_bytes = pytest.mark.skipif(not NAMEABLE, reason="macOS has no names that are not UTF-8")


def copy(place: Path) -> Path:
    shutil.copytree(TINY / "tiny_qwen3", place)
    return place


@pytest.mark.parametrize("name", ODD)
def test_a_folders_name_gives_a_label_and_never_another_checkpoint(name: str, tmp_path: Path) -> None:
    found = locate("qwen3", str(copy(tmp_path / name)), CPU).checkpoint
    assert found.digest == locate("qwen3", "tiny", CPU).checkpoint.digest
    assert found.label.isascii()
    assert found.source.isprintable()
    if not any(letter.isascii() and letter.isalnum() for letter in name):
        assert found.label == f"checkpoint-{found.digest[:8]}"


@needs_bytes
def test_what_mlx_cannot_open_is_refused_and_reached_by_a_link(tmp_path: Path) -> None:
    for name, why in ((NO_UTF8, "is not UTF-8 as a path"), ("q[4bit]", "takes its path for a pattern")):
        place = copy(tmp_path / name)
        with pytest.raises(UnusableInput, match=f"{why}.*give a link to it"):
            locate("qwen3", str(place), CPU)
        link = tmp_path / "plain"
        link.symlink_to(place)
        found = locate("qwen3", str(link), CPU)
        assert found.checkpoint.source.isprintable()
        assert locate("qwen3", found.option, CPU).checkpoint == found.checkpoint, "a resume finds it again"
        link.unlink()


@needs_bytes
def test_a_weight_file_of_any_name(tmp_path: Path) -> None:
    place = copy(tmp_path / "place")
    (place / "model.safetensors").rename(place / "model ‮(1)\n模.safetensors")
    found = locate("qwen3", str(place), CPU).checkpoint
    assert list(found.weights) == ["model \\u202e(1)\\n模.safetensors"]
    next(place.glob("model*.safetensors")).rename(place / f"model{NO_UTF8}.safetensors")
    with pytest.raises(UnusableInput, match="is not UTF-8 as a path"):
        locate("qwen3", str(place), CPU)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("y" * 300, "File name too long; give"),
        ("/tmp/" + "y/" * 3000, "File name too long; give"),
        ("~nobody-of-this-name/x", "there is no such user; write the folder out"),
        (f"/nowhere/{NO_UTF8}", "there is no such folder"),
        ("/", "has no config.json"),
        ("", "unknown checkpoint ''"),
        (f"owner/{ESCAPE}", "neither a folder nor a hub id"),
        ("owner/模型", "neither a folder nor a hub id"),
    ],
)
def test_what_is_no_folder_is_one_line(wanted: str, told: str, zmlx_inside: Zmlx, fresh_workspace: Workspace) -> None:
    done = zmlx_inside("run", "qwen3", f"--checkpoint={wanted}", "--backend", "cpu", cwd=fresh_workspace.root)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert told in line
    assert line.isprintable()
    assert list(fresh_workspace.capsules.iterdir()) == []


@pytest.mark.parametrize("name", ["模型", ESCAPE, "a\nb", "q[4]"])
def test_a_workspace_of_any_name(name: str, tmp_path: Path, zmlx_inside: Zmlx) -> None:
    made = zmlx_inside("init", str(tmp_path / name))
    assert made.returncode == 0
    assert all(line.isprintable() for line in made.stdout.splitlines())
    for command in ("check", "variants", "kernels", "sessions", "report"):
        done = zmlx_inside(command, cwd=tmp_path / name)
        assert done.returncode == 0, (command, done.stderr)
        assert all(line.isprintable() for line in (done.stdout + done.stderr).splitlines())


@needs_bytes
def test_a_workspace_whose_path_no_json_can_tell(tmp_path: Path, zmlx_inside: Zmlx) -> None:
    place = tmp_path / NO_UTF8
    done = zmlx_inside("init", str(place))
    assert done.returncode == 3
    assert "its path is not UTF-8; rename the folder or take another" in done.stderr
    assert not place.exists()
    shutil.copytree(workspaces.packaged() / "variants", place / "variants")
    (place / "kernels").mkdir()
    for arguments in (("check",), ("run", "qwen3"), ("report",)):
        done = zmlx_inside(*arguments, cwd=place)
        assert done.returncode == 3
        assert "its path is not UTF-8" in done.stderr
        assert done.stderr.strip().isprintable()


@pytest.fixture
def strewn(fresh_workspace: Workspace) -> Iterator[Workspace]:
    """A workspace with files and folders of odd names wherever it keeps some."""
    root = fresh_workspace.root
    for name in (*([NO_UTF8] if NAMEABLE else []), "模型", ESCAPE, "a\nb"):
        for folder in ("kernels", "families", "capsules", "variants", "notebook"):
            (root / folder / name).mkdir(parents=True)
            (root / folder / f"{name}.toml").write_text("")
            (root / folder / f"{name}.json").write_text("")
    yield fresh_workspace
    for left in root.rglob("*"):
        if NO_UTF8 in left.name and left.is_dir():
            shutil.rmtree(left)


@pytest.mark.parametrize("command", ["check", "variants", "kernels", "sessions", "report", "models", "promote"])
def test_odd_names_inside_a_workspace(command: str, strewn: Workspace, zmlx_inside: Zmlx) -> None:
    for options in ((), ("--json",)):
        if command == "report" and options:
            options = ("--format", "json")
        done = zmlx_inside(command, *options, cwd=strewn.root)
        assert done.returncode in (0, 1, 3), done.stderr
        assert "Traceback" not in done.stderr
        assert all(line.isprintable() for line in (done.stdout + done.stderr).splitlines())
        if options and done.returncode != 3:
            json.loads(done.stdout)


def test_reports_and_pages_go_into_files_of_any_name(fresh_workspace: Workspace, zmlx_inside: Zmlx) -> None:
    for name in (*([NO_UTF8] if NAMEABLE else []), ESCAPE, "模型"):
        done = zmlx_inside("report", "--format", "md", "--out", name, cwd=fresh_workspace.root)
        assert done.returncode == 0
        assert (fresh_workspace.root / name).stat().st_size > 0
        assert done.stderr.strip().isprintable()


def test_variables_that_are_no_utf8_are_recorded_as_escapes() -> None:
    told = shared_variables({"ZMLX_A": os.fsdecode(b"/tmp/\xff"), "MLX_B": "模型\n"})
    assert told == {"MLX_B": "模型\n", "ZMLX_A": "/tmp/\\udcff"}


@pytest.mark.slow
@needs_bytes
def test_a_session_with_a_home_and_caches_that_are_no_utf8(
    fresh_workspace: Workspace, tmp_path: Path, zmlx: Zmlx
) -> None:
    home, model = tmp_path / NO_UTF8, str(copy(tmp_path / ESCAPE))
    home.mkdir()
    names = ("HOME", "XDG_CACHE_HOME", "HF_HOME", "TMPDIR", "ZMLX_GRAPH_DIR")
    env = {**QUIET_ENV, **dict.fromkeys(names, str(home)), "PYTHONPATH": str(ROOT)}
    arguments = (
        "run", "qwen3", "--checkpoint", model, "--tokens", "2", "--runs", "1", "--no-null", "--json",
        "--variants", "qwen_qkv_joined", "--prompts", "great_wall",
    )  # fmt: skip
    recorded = subprocess.run(
        [sys.executable, "-c", STANDIN, *arguments],
        cwd=fresh_workspace.root, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert recorded.returncode == 0, recorded.stderr
    json.loads(recorded.stdout)
    assert check_workspace(fresh_workspace).findings == ()
    decoded = zmlx(
        "generate", "qwen3", "--checkpoint", model, "--prompt", "hi", "--max-tokens", "1",
        cwd=fresh_workspace.root, env=env,
    )  # fmt: skip
    assert decoded.returncode == 0, decoded.stderr
    for done in (recorded, decoded):
        assert all(line.isprintable() for line in (done.stdout + done.stderr).splitlines())
