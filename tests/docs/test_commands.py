"""Every command of the pages runs as written, or is one that needs a GPU; every option that they name exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.conftest import QUIET_ENV
from tests.docs.blocks import ROOT, Block, Line, blocks, every_page, pages, python
from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.cli.main import app
from zmlx_bench.workspace import Workspace

MARKS = {"", "slow", "gpu", "served", "install"}
SET_UP = {"make setup", "make run", "make quick", "make test", 'export PATH="$PWD/.venv/bin:$PATH"'}
EVIDENCE = ("kernels", "variants", "capsules", "notebook", "matrix.jsonl", "LAB_NOTEBOOK.md")
QUICK = [page for page in pages() if any(b.mark == "" for b in blocks(page))]
SLOW = [page for page in pages() if any(b.mark == "slow" for b in blocks(page))]


def _every_line() -> Iterator[tuple[Block, Line]]:
    for page in every_page():
        for block in blocks(page):
            for line in block.lines:
                yield block, line


def test_every_block_is_marked_with_what_it_needs() -> None:
    found = [block for page in every_page() for block in blocks(page)]
    assert {"quick-start.md", "ci.md", "README.md"} <= {block.page for block in found}
    assert [(block.page, block.mark) for block in found if block.mark not in MARKS] == []


def test_no_command_hides_in_another_kind_of_block() -> None:
    """What looks like a command stands in a shell block, and so is run or marked."""
    kinds: set[str] = set()
    hidden: list[tuple[str, str]] = []
    for page in every_page():
        for kind, body in re.findall(r"^[ ]*```(.*)\n((?:.*\n)*?)[ ]*```$", page.read_text(), re.MULTILINE):
            kinds.add(kind)
            if not re.search(r"\bsh\b", kind):
                hidden += [
                    (page.name, line)
                    for line in body.splitlines()
                    if re.match(r"\s*(\$ )?(zmlx|make|pip|pytest) ", line)
                ]
    assert {kind for kind in kinds if not re.search(r"\bsh\b", kind)} <= {"text", "toml", "yaml", "python", "json"}
    assert hidden == []


def test_every_command_named_in_a_sentence_exists() -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    named = {
        (page.name, word)
        for page in every_page()
        for word in re.findall(r"`(?:\.venv/bin/)?zmlx ([a-z]+(?:-[a-z]+)*)", page.read_text())
    }
    assert len(named) > 10
    assert [one for one in sorted(named) if one[1] not in known] == []


def test_setting_up_is_what_the_tests_themselves_do() -> None:
    lines = {line.text for block, line in _every_line() if block.mark == "install"}
    assert "make setup" in lines
    assert {line.partition("  #")[0].strip() for line in lines} <= SET_UP


def test_a_server_is_tested_by_itself() -> None:
    lines = [line for block, line in _every_line() if block.mark == "served"]
    assert lines
    assert {line.words[0] for line in lines} <= {"zmlx", "curl"}
    assert "zmlx" in (ROOT / "tests" / "cli" / "test_serve.py").read_text()


def test_every_zmlx_command_and_option_exists() -> None:
    command = get_command(app)
    checked = 0
    for block, line in _every_line():
        words = line.words
        at = next((i for i, word in enumerate(words) if word.rpartition("/")[2] == "zmlx"), None)
        if at is None:
            continue
        wanted = words[at + 1 :]
        if ">" in wanted:
            wanted = wanted[: wanted.index(">")]
        try:
            _parse(command, wanted)
        except Exception as error:  # noqa: BLE001 - Typer carries click's errors under names of its own
            pytest.fail(f"{block.page}: {line.text}: {error}")
        checked += 1
    assert checked > 20


def _parse(command: Any, words: list[str]) -> None:
    """Parse the words as the command line would, without running anything."""
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)


def test_every_variant_that_a_mac_owner_is_told_to_run_exists_on_metal(repository: Workspace) -> None:
    named: set[tuple[str, str]] = set()
    for block, line in _every_line():
        words = line.words
        if block.mark != "gpu" or "run" not in words or any(word.startswith(("CUDA_", "MLX_CUDA_")) for word in words):
            continue
        family = words[words.index("run") + 1]
        if "--variants" in words and family in families.names():
            named |= {(family, name) for name in words[words.index("--variants") + 1].split(",")}
    assert ("qwen3", "qwen_fused") in named
    for family, name in named:
        catalog = Catalog(repository, family)
        if name in catalog.names():
            assert catalog.missing_on(catalog.resolve(name), "metal") is None, f"{family}: {name}"


@pytest.mark.parametrize(("family", "fused"), [("qwen3", "qwen_fused"), ("glm47", "glm_fused")])
def test_without_options_a_mac_measures_the_fused_set(repository: Workspace, family: str, fused: str) -> None:
    catalog = Catalog(repository, family)
    assert fused in [name for name in catalog.defaults() if catalog.missing_on(catalog.resolve(name), "metal") is None]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's evidence, in which the pages' commands run one after the other."""
    folder = tmp_path_factory.mktemp("pages") / "workspace"
    folder.mkdir()
    for name in EVIDENCE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("events.jsonl", "logs", "build"))
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def ran() -> set[str]:
    """What ran already: a command that several pages show runs once."""
    return set()


@pytest.mark.parametrize("page", QUICK, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page: Path, workspace: Path, ran: set[str]) -> None:
    lines = [line for block in blocks(page) if block.mark == "" for line in block.lines]
    new = [line for line in lines if line.text not in ran]
    ran.update(line.text for line in lines)
    if new:
        _run(new, workspace)


@pytest.mark.parametrize("page", [page for page in pages() if python(page)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, workspace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", python(page)], cwd=workspace, env=QUIET_ENV, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=lambda page: page.name)
def test_the_slow_commands_of_a_page_run(page: Path, workspace: Path) -> None:
    lines = [line for block in blocks(page) if block.mark == "slow" for line in block.lines]
    assert lines
    _run(lines, workspace)


def _run(lines: list[Line], where: Path) -> None:
    environment = {**QUIET_ENV, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    script = ["set -uo pipefail"]
    for line in lines:
        good = " && ".join(f"[ $code -ne {code} ]" for code in line.codes)
        script += [line.text, f"code=$?; if {good}; then echo {_quoted(line.text)} ended with $code >&2; exit 99; fi"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=where, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
