"""A process that gives one answer: taken whatever its Python prints at its start, or one line says what it said."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench.errors import CannotHere
from zmlx_bench.session.asking import answer_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One of modules, in an environment whose every Python says hello."""
    (tmp_path / "sitecustomize.py").write_text("print('hello')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_what_a_python_prints_at_its_start_is_no_answer(folder: Path) -> None:
    (folder / "answers.py").write_text("import sys; print('{\"said\": ' + sys.stdin.read() + '}')")
    assert answer_of("answers", b"[1]", "here", "it", 60.0) == {"said": [1]}


@pytest.mark.parametrize("text", ["", "print('[]')", "print('{')", "print('[' * 10_000)"])
def test_what_is_no_answer_is_one_line(folder: Path, text: str) -> None:
    (folder / "answers.py").write_text(f"import sys\n{text}\nsys.stderr.write('why not\\n')")
    with pytest.raises(CannotHere, match="here: it exited with code 0; it printed last: why not") as refused:
        answer_of("answers", b"", "here", "it", 60.0)
    assert "\n" not in str(refused.value)
