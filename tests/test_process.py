"""A child that reports on a pipe: lines in parts, silence, forks that hold the pipe, and its end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zmlx_bench.process import Child, ending, last_line

pytestmark = pytest.mark.process
PIPE = "import os, sys, time; fd = int(sys.argv[1]); told = sys.stdin.buffer.read(); "
Start = Callable[[str], Child]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[Child] = []

    def run(code: str) -> Child:
        made.append(Child([sys.executable, "-c", PIPE + code], b"told", subprocess.DEVNULL, None))
        return made[-1]

    yield run
    for child in made:
        child.kill(0)


def everything(child: Child) -> list[bytes]:
    lines: list[bytes] = []
    while (came := child.read(30)) is not None:
        assert came[1], "silent for 30 s"
        lines += came[1]
    return lines


def test_what_it_was_told_comes_back(start: Start) -> None:
    assert everything(start("os.write(fd, told + b'\\n' + b'more\\n')")) == [b"told", b"more"]


def test_a_line_longer_than_the_pipe_is_no_silence(start: Start) -> None:
    assert [len(line) for line in everything(start("os.write(fd, b'x' * 300_000 + b'\\n')"))] == [300_000]


def test_a_line_in_two_parts(start: Start) -> None:
    assert everything(start("os.write(fd, b'ab'); time.sleep(0.3); os.write(fd, b'cd\\n')")) == [b"abcd"]


def test_a_line_without_an_end(start: Start) -> None:
    child = start("[os.write(fd, b'x' * 65536) for _ in range(20)]")
    with pytest.raises(ValueError, match="without an end"):
        everything(child)


def test_silence_is_told_from_the_end(start: Start) -> None:
    child = start("time.sleep(60)")
    began = time.perf_counter()
    assert child.read(0.2) is not None
    assert 0.2 <= time.perf_counter() - began < 30
    child.kill(0)
    assert ending(child.process.returncode) == "killed by SIGKILL"


def test_a_fork_that_holds_the_pipe_does_not_hold_the_reader(start: Start) -> None:
    child = start("os.write(fd, b'first\\n'); os.fork() or time.sleep(60)")
    assert child.read(30) == (pytest.approx(time.perf_counter(), abs=30), [b"first"])
    child.process.wait(30)
    assert child.read(0.1) is None


def test_the_answer_is_the_last_line() -> None:
    assert [last_line(printed) for printed in (b"", b"one", b"hello\r\none\n", b"\xff\n one ")] == ["", *["one"] * 3]
    # JSON of pydantic holds such characters as they are.
    assert last_line('hello\n"a\u2028b\x85c"\n'.encode()) == '"a\u2028b\x85c"'


def test_how_it_ended_in_words() -> None:
    assert (ending(0), ending(3), ending(-15)) == ("exited with code 0", "exited with code 3", "killed by SIGTERM")
    assert ending(-99) == "killed by signal 99"


CHILD = (
    "import json, pathlib, sys; path = json.load(sys.stdin); print(json.dumps([path, pathlib.Path(path).read_text()]))"
)
PARENT = """
import json, subprocess, sys
from pathlib import Path
from zmlx_bench.process import UTF8, heard_path, told_path
(path,) = Path(sys.argv[1]).iterdir()
told = json.dumps(told_path(path)).encode()
done = subprocess.run([sys.executable, "-c", sys.argv[2]], input=told, stdout=subprocess.PIPE, env=UTF8, check=True)
heard, text = json.loads(done.stdout)
print(heard_path(heard) == path, ascii(text))
"""


@pytest.mark.parametrize("environment", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_a_child_with_utf8_has_the_same_paths_and_texts_in_every_locale(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "Prüfling").write_text("长城", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path), CHILD],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "True '\\u957f\\u57ce'\n", done.stderr
