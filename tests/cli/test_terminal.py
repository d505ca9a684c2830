"""What a terminal shows: completion, usage errors that say where to look, plain output, and no line too wide."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from tests.conftest import QUIET_ENV, ZMLX
from zmlx_bench import files
from zmlx_bench.cli.output import console
from zmlx_bench.doctor import checkup
from zmlx_bench.ledger import capsules
from zmlx_bench.report import capsule as capsule_view
from zmlx_bench.report import listings, overview_text
from zmlx_bench.report.build import build
from zmlx_bench.report.layout import Command
from zmlx_bench.report.session_table import session_table
from zmlx_bench.schema.session import Session
from zmlx_bench.session.spent import Spent
from zmlx_bench.workspace import Workspace

SESSION = "20261122T123702Z-qwen3-977c"
ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")


def completed(words: str, folder: Path) -> list[str]:
    """Return what bash is offered at the end of `words`."""
    count = len(words.split()) - (0 if words.endswith(" ") else 1)
    env = {**QUIET_ENV, "COMP_WORDS": words, "COMP_CWORD": str(count), "_ZMLX_COMPLETE": "complete_bash"}
    done = subprocess.run(ZMLX, env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("zmlx run q", {"qwen3", "qwen3_5_moe", "qwen3_dense", "qwen3_next"}),
        ("zmlx run qwen3 --variants qwen_native,qwen_native_l", {"qwen_native,qwen_native_linear"}),
        ("zmlx run glm47 --variants qwen", set()),
        ("zmlx kernels bench moe_combine.st", {"moe_combine.stock"}),
        ("zmlx run qwen3 --resume 20261122T1237", {"20261122T123702Z-qwen3-977c"}),
        ("zmlx run qwen3 --checkpoint t", {"tiny"}),
        ("zmlx run qwen3 --backend c", {"cuda", "cpu"}),
        ("zmlx run qwen3 --prompts primes,tcp", {"primes,tcp_udp"}),
        ("zmlx schema caps", {"capsule"}),
    ],
)
def test_tab_completes(repository: Workspace, words: str, offered: set[str]) -> None:
    assert set(completed(words, repository.root)) == offered


def test_tab_offers_the_packaged_names_outside_a_workspace(tmp_path: Path) -> None:
    assert completed("zmlx run qwen3 --variants qwen_native_l", tmp_path) == ["qwen_native_linear"]
    assert completed("zmlx run qwen3 --workspace /not/there --variants qwen_native_l", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rnu",), "zmlx: No such command 'rnu'. Did you mean 'run'; see `zmlx --help`\n"),
        (("run",), "zmlx: Missing argument 'FAMILY'; see `zmlx run --help`\n"),
        (("kernels", "bench", "--bach", "1"), "see `zmlx kernels bench --help`\n"),
    ],
)
def test_a_usage_error_says_where_to_look(
    zmlx_inside: Callable[..., Any], arguments: tuple[str, ...], told: str
) -> None:
    done = zmlx_inside(*arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith(told)


@pytest.mark.parametrize("arguments", [(), ("capsule",)])
def test_no_command_shows_the_help(zmlx_inside: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    done = zmlx_inside(*arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("Usage: zmlx ")
    assert "\nCommands:\n" in done.stderr


def test_init_and_schema_take_json(zmlx_inside: Callable[..., Any], tmp_path: Path) -> None:
    def told(*arguments: str) -> Any:
        return json.loads(zmlx_inside(*arguments, "--json").stdout)

    assert told("init", str(tmp_path / "ws")) == {"workspace": str(tmp_path / "ws")}
    assert told("report", "--workspace", str(tmp_path / "ws"))["groups"] == []
    assert told("schema", "capsule")["title"] == "Capsule"


def on_a_terminal(columns: int, folder: Path, *arguments: str, code: int = 0, **variables: str) -> str:
    """Return what the command draws on a terminal of so many columns, escape sequences included."""
    controller, terminal = os.openpty()
    env = {**QUIET_ENV, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40", **variables}
    process = subprocess.Popen([*ZMLX, *arguments], stdout=terminal, stderr=terminal, cwd=folder, env=env)
    os.close(terminal)
    drawn = b""
    try:
        while data := os.read(controller, 1 << 16):
            drawn += data
    except OSError:
        pass  # Linux says so when the last writer has gone.
    finally:
        os.close(controller)
    assert process.wait(60) == code
    return drawn.decode()


@pytest.fixture(scope="module")
def shown(repository: Workspace) -> dict[str, RenderableType]:
    """What the commands show of this repository."""
    built = build(repository, None)
    session = files.read_json(repository.session(SESSION) / "session.json", Session)
    found = [capsules.read(repository.session(SESSION) / reference.file) for reference in session.capsules]
    return {
        "variants": listings.variant_list(listings.variants(repository, None)),
        "kernels": listings.kernel_list(listings.kernels(repository)),
        "models": listings.model_list(listings.models(repository)),
        "doctor": listings.observations_list(checkup.observations()),
        "report": overview_text.tables(built.groups, built.legacy, built.refusals),
        "run": session_table(session, found, Spent(22, *(123.4 + part for part in range(11)))),
        "capsule": capsule_view.view(found[0]),
    }


@pytest.mark.parametrize("columns", [140, 80, 60])
def test_no_line_is_wider_than_the_terminal(shown: dict[str, RenderableType], columns: int) -> None:
    for command, renderable in shown.items():
        console = Console(width=columns, markup=False, highlight=False)
        with console.capture() as captured:
            console.print(renderable)
        lines = captured.get().splitlines()
        assert lines, command
        assert [line for line in lines if len(line.rstrip()) > columns] == [], command
        assert "\u2026" not in captured.get(), f"{command}: something was cut off"


def test_a_long_command_can_be_copied_line_by_line() -> None:
    text = "zmlx run qwen3 --checkpoint tiny --tokens 200 --tokens 1024 --variants one,two --runs 166"
    console = Console(width=40)
    with console.capture() as captured:
        console.print(Command(text))
    lines = captured.get().splitlines()
    assert len(lines) > 1
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert captured.get().replace("\\\n", " ").split() == text.split()


def test_a_part_of_a_command_that_does_not_fit_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    names = ",".join(["qwen_native_down_combine"] * 20)
    console().print(Command(f"zmlx run qwen3 --variants {names} --runs 6"))
    out = capsys.readouterr().out
    assert out.splitlines()[-2:] == [f"      --variants {names} \\", "      --runs 6"]


def test_an_error_breaks_between_words_on_a_terminal_only(
    zmlx_inside: Callable[..., Any], repository: Workspace
) -> None:
    wrong = ("run", "qwen3", "--variants", "nothing_of_that_name")
    lines = on_a_terminal(60, repository.root, *wrong, code=3).splitlines()
    assert len(lines) > 1
    assert [line for line in lines if len(line) > 60] == []
    piped = zmlx_inside(*wrong, cwd=repository.root).stderr
    assert piped.count("\n") == 1
    assert " ".join(lines).split() == piped.split()


@pytest.mark.parametrize("command", ["models", "doctor"])
def test_no_line_in_a_pipe_is_filled_up_with_blanks(
    zmlx_inside: Callable[..., Any], repository: Workspace, command: str
) -> None:
    lines = zmlx_inside(command, cwd=repository.root).stdout.splitlines()
    assert len(lines) > 10
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_report_in_a_file_has_no_escape_sequences(repository: Workspace, tmp_path: Path) -> None:
    on_a_terminal(80, repository.root, "report", "--out", str(tmp_path / "report.txt"))
    text = (tmp_path / "report.txt").read_text()
    assert "recommended: " in text
    assert "\x1b" not in text


def test_no_color_leaves_no_colour(repository: Workspace) -> None:
    def colours(**variables: str) -> set[str]:
        text = on_a_terminal(80, repository.root, "models", **variables)
        return {code for codes in ESCAPE.findall(text) for code in codes.split(";") if code[:1] in ("3", "4", "9")}

    assert colours()
    assert colours(NO_COLOR="1") == set()
