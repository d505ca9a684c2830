"""The command as such: quick help without MLX, one JSON object, listings that say why something does not run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUIET_ENV, ZMLX
from zmlx_bench import __version__
from zmlx_bench.cli.artifacts import KINDS
from zmlx_bench.workspace import Workspace

# What makes a command slow to begin is what it imports; of the half second that `--help` may take each of these costs a
# good part.
HEAVY = {"mlx", "mlx_lm", "scipy", "pydantic", "numpy", "transformers", "rich", "huggingface_hub", "plotly", "jinja2"}
HEAVY |= {"tomlkit", "psutil", "filelock", "asyncio", "multiprocessing"}
LOADED = """
import sys
from zmlx_bench.cli.main import main
try:
    main(["--help"])
except SystemExit as left:
    print(left.code, *sorted(sys.modules), file=sys.stderr)
"""


def test_help_needs_no_heavy_module() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, env=QUIET_ENV)
    code, *modules = done.stderr.split()
    assert code == "0"
    assert HEAVY.intersection(modules) == set()
    # Of the package itself only the commands and what their options need.
    ours = {name.split(".")[1] for name in modules if name.startswith("zmlx_bench.")}
    assert ours <= {"cli", "errors", "exit_codes", "printable"}
    for command in ("run", "screen", "variants", "kernels", "models", "doctor", "init", "schema"):
        assert f"  {command} " in done.stdout


def test_the_version(zmlx: Callable[..., Any]) -> None:
    assert zmlx("--version").stdout == f"zmlx {__version__}\n"


@pytest.mark.parametrize("command", ["variants", "kernels", "models", "doctor"])
def test_a_listing_is_a_table_or_one_json_object(
    zmlx: Callable[..., Any], zmlx_inside: Callable[..., Any], fresh_workspace: Workspace, command: str
) -> None:
    place = {"cwd": fresh_workspace.root}
    # What a kernel's library prints as it is imported would come before the object; the others import none.
    told = (zmlx if command == "kernels" else zmlx_inside)(command, "--json", **place)
    assert (told.returncode, told.stderr) == (0, "")
    (rows,) = json.loads(told.stdout).values()
    assert rows
    shown = zmlx_inside(command, **place)
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) >= len(rows)


def test_what_does_not_run_here_says_why(zmlx_inside: Callable[..., Any], fresh_workspace: Workspace) -> None:
    folder = fresh_workspace.kernels / "moe_combine" / "kernel.toml"
    text = folder.read_text()
    folder.write_text(text.replace('["metal", "cuda", "cpu"]', '["metal"]'))
    rows = json.loads(zmlx_inside("variants", "qwen3", "--json", cwd=fresh_workspace.root).stdout)["variants"]
    reasons = {row["variant"]: row["not_here"] for row in rows}
    if sys.platform != "darwin":
        assert reasons["qwen_combine_fp32"].startswith("moe_combine.fp32 runs on metal, not on ")
        asked = zmlx_inside("run", "qwen3", "--variants", "qwen_combine_fp32", cwd=fresh_workspace.root)
        assert asked.returncode == 4
        assert "variant.qwen_combine_fp32: moe_combine.fp32 runs on metal, not on " in asked.stderr
    assert reasons["qwen_qkv_joined"] is None


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_artifact_has_its_json_schema(zmlx_inside: Callable[..., Any], kind: str) -> None:
    done = zmlx_inside("schema", kind)
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    assert schema["additionalProperties"] is False
    assert schema["title"] == KINDS[kind].__name__


def test_an_unknown_artifact(zmlx_inside: Callable[..., Any]) -> None:
    done = zmlx_inside("schema", "capsul")
    assert (done.returncode, done.stderr) == (3, "zmlx: unknown artifact 'capsul'; did you mean 'capsule'?\n")


def test_init_makes_a_workspace_that_commands_find_from_below(zmlx: Callable[..., Any], tmp_path: Any) -> None:
    made = zmlx("init", str(tmp_path / "ws"))
    assert made.returncode == 0
    assert "next: cd " in made.stdout
    below = tmp_path / "ws" / "capsules"
    assert "qwen_qkv_joined" in zmlx("variants", "qwen3", cwd=below).stdout
    assert not list((tmp_path / "ws").rglob("__pycache__"))


def test_a_reader_that_has_gone_is_no_error() -> None:
    # With and without enough output to fail before the command ends.
    for arguments in ("schema capsule", "--version"):
        command = f"{sys.executable} -c 'from zmlx_bench.cli.main import main; main()' {arguments}"
        done = subprocess.run(
            ["bash", "-c", f'{command} | true; echo "${{PIPESTATUS[0]}}"'], capture_output=True, text=True, check=True
        )
        assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*ZMLX, "schema", "capsule"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "zmlx: standard output: No space left on device\n")


def test_a_refusal_that_names_no_file_is_not_called_standard_output(
    zmlx_inside: Callable[..., Any], fresh_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(backend: str) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("zmlx_bench.machine.facts.read", read)
    done = zmlx_inside("run", "qwen3", "--checkpoint", "tiny", cwd=fresh_workspace.root)
    assert done.returncode == 4
    assert done.stderr == "zmlx: the system refused what api.prepare asked of it: Too many open files\n"
