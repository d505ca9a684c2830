"""Artifacts made by hand to break a reader: each is refused with a line that names the file, or read as what it is."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.test_check import FIRST, GOOD, MATRIX, SESSION, edit, found, put
from zmlx_bench import files
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.decide import decide
from zmlx_bench.report.build import build
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.variant import VariantFile
from zmlx_bench.session import store
from zmlx_bench.workspace import Workspace

DEEP = 100_000


def twice(text: str) -> str:
    """The first key of every object again, with another value."""
    return text.replace('"schema_version": 2', '"schema_version": 2, "schema_version": 2', 1)


BROKEN: dict[str, Callable[[str], bytes]] = {
    "duplicate key": lambda text: twice(text).encode(),
    "nan": lambda text: text.replace('"schema_version": 2', '"schema_version": NaN', 1).encode(),
    "1e400": lambda text: text.replace('"schema_version": 2', '"schema_version": 1e400', 1).encode(),
    "deep": lambda text: text.replace('"schema_version": 2', '"schema_version": ' + "[" * DEEP, 1).encode(),
    "digits": lambda text: text.replace('"schema_version": 2', '"schema_version": ' + "1" * 10**6, 1).encode(),
    "not UTF-8": lambda text: text.replace("cpu", "\udcff", 1).encode("utf-8", "surrogateescape"),
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "newer": lambda text: text.replace('"schema_version": 2', '"schema_version": 99', 1).encode(),
    "cut off": lambda text: text[: len(text) // 2].encode(),
}


# A byte order mark before a file is skipped wherever text is read; between rows there can be none.
@pytest.mark.parametrize("kind", [kind for kind in BROKEN if kind != "byte order mark"])
@pytest.mark.parametrize("file", [GOOD, SESSION])
def test_a_broken_file_is_found_and_neither_decided_from_nor_shown(decided: Workspace, file: str, kind: str) -> None:
    path = decided.root / file
    broken = BROKEN[kind](path.read_text())
    assert broken != path.read_bytes()
    path.write_bytes(broken)
    assert any(f.file == file for f in found(decided))
    assert any(refusal.file in (file, SESSION) for refusal in decide(decided, None).refusals)
    build(decided, None)  # whatever it still shows, it shows


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_row_is_found_by_its_line(decided: Workspace, kind: str) -> None:
    lines = decided.matrix.read_text().splitlines()
    first = BROKEN[kind](json.dumps(json.loads(lines[0])))
    decided.matrix.write_bytes(b"\n".join([first, *(line.encode() for line in lines[1:]), b""]))
    assert any(f.file == MATRIX and f.field.startswith("line 1") for f in found(decided))


def test_a_prompt_has_one_length(decided: Workspace) -> None:
    """A worker that counts more of it would make a slow prefill look fast."""
    edit(decided, GOOD, put(["runs", "variant", 1, "generations", 0, "prompt_tokens"], 1000), rehash=True)
    field = "runs.variant[1].generations[0].prompt_tokens"
    assert any((f.file, f.field) == (GOOD, field) for f in found(decided))


def test_line_ends_of_windows_change_nothing(decided: Workspace) -> None:
    for path in (decided.root / GOOD, decided.root / SESSION, decided.matrix, decided.notebook):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    for path in decided.variants.glob("*.toml"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert found(decided) == []
    assert len(matrix.read(decided.matrix)) == 8


@pytest.mark.parametrize(
    "text",
    ['a = 1\na = 2', "a = nan", "a = 1e400", "a = " + "[" * DEEP, "a = " + "1" * 10**6, "\ufeffa = 1",
     "schema_version = 99", "a" + ".a" * 2000 + " = 1"],
    ids=["duplicate", "nan", "1e400", "deep", "digits", "byte order mark", "newer", "deep keys"],
)  # fmt: skip
@pytest.mark.parametrize("model", [VariantFile, Policy])
def test_broken_toml_is_refused_in_one_line(tmp_path: Path, text: str, model: type[Any]) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(UnusableInput) as caught:
        files.read_toml(path, model)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 400


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b'{"schema_version": ')
        file.truncate(10**9)


@pytest.mark.parametrize("file", [GOOD, MATRIX])
def test_a_gigabyte_is_refused_before_it_is_read(decided: Workspace, file: str) -> None:
    """In a process of its own whose peak memory says that it was not read."""
    _sparse(decided.root / file)
    check = [sys.executable, "-c", "from zmlx_bench.cli.main import main; main()", "check", str(decided.root)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (1, 3), done.stderr
    assert file.rpartition("/")[2] in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "larger than" in done.stdout + done.stderr
    assert max(0, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before) < 400_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_worst_text_of_the_largest_size_takes_bounded_memory(tmp_path: Path) -> None:
    """Empty lists are what a parser makes most of: 25 times their text."""
    path = tmp_path / "x.json"
    path.write_text("[" + "[]," * (files.LARGEST_FILE // 12) + "[]]")  # a quarter of what is allowed
    code = (
        "import sys; from pathlib import Path; from zmlx_bench import files\n"
        "from zmlx_bench.errors import UnusableInput; from zmlx_bench.schema.prompts import PromptSet\n"
        "try: files.read_json(Path(sys.argv[1]), PromptSet)\n"
        # Not getrusage: on Linux a child's peak begins with its parent's.
        "except UnusableInput: print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 40 * path.stat().st_size


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _to(target: str) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        path.symlink_to(target or path.name)

    return replace


@pytest.mark.parametrize("spoil", [_fifo, _to("/dev/zero"), _to("/etc/passwd"), _to("")],
                         ids=["pipe", "endless", "elsewhere", "circle"])  # fmt: skip
@pytest.mark.parametrize("file", [GOOD, SESSION, MATRIX])
def test_what_is_no_file_of_the_workspace_is_not_read(
    decided: Workspace, file: str, spoil: Callable[[Path], None]
) -> None:
    spoil(decided.root / file)
    findings = found(decided)
    assert findings
    assert "root:" not in str(findings)
    used = {path for group in decide(decided, None).evidence.values() for loaded in group for path in loaded.capsules}
    assert file == MATRIX or not any(path.startswith(FIRST if file == SESSION else file) for path in used)


@pytest.mark.parametrize("name", ["../../etc", "..", "", "/etc", "a/b", "a\0b", "x" * 300, "\x1b[2J"])
def test_a_sessions_name_is_never_a_path(decided: Workspace, name: str) -> None:
    with pytest.raises(UnusableInput, match="unknown session"):
        store.load(decided, name)


def test_a_session_that_is_a_link_out_of_the_workspace_is_not_resumed(decided: Workspace, tmp_path: Path) -> None:
    (decided.capsules / FIRST).rename(tmp_path / "outside")
    (decided.capsules / FIRST).symlink_to(tmp_path / "outside")
    with pytest.raises(UnusableInput, match="leads outside"):
        store.load(decided, FIRST)
    assert any("leads outside" in f.message for f in found(decided))


@pytest.mark.parametrize("name", ["../x.json", "/etc/passwd", "a/b.json", "", "\0.json"])
def test_a_capsule_is_never_listed_by_a_path(decided: Workspace, name: str) -> None:
    edit(decided, SESSION, put(["capsules", 0, "file"], name))
    with pytest.raises(UnusableInput, match=r"capsules\.0\.file"):
        store.load(decided, FIRST)
    assert any(refusal.file == SESSION for refusal in decide(decided, None).refusals)
