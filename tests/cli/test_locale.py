"""No command depends on the locale: arguments, paths and what is printed are UTF-8 in any shell."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV, Zmlx
from zmlx_bench.checkpoints.resolve import TINY

NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
PROMPT = ("--prompt", "请用中文介绍一下", "--max-tokens", "8")
ANSWER = "长城的历史"


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        (NOT_UTF8, ANSWER),
        ({**NOT_UTF8, "PYTHONUTF8": ""}, ANSWER),
        ({"PYTHONIOENCODING": "ascii"}, ANSWER.encode("unicode_escape").decode()),
    ],
    ids=["locale C", "locale C coerced", "a terminal of ASCII"],
)
def test_a_prompt_and_a_path_are_read_and_an_answer_is_shown(
    zmlx: Zmlx, tmp_path: Path, environment: dict[str, str], answer: str
) -> None:
    env = {**QUIET_ENV, **environment}
    checkpoint, place = shutil.copytree(TINY / "tiny_qwen3", tmp_path / "模型"), tmp_path / "日本" / "ws"
    place.parent.mkdir()
    assert zmlx("init", str(place), env=env).returncode == 0
    done = zmlx(
        "generate", "qwen3", "--checkpoint", str(checkpoint), "--variant", "none", *PROMPT, cwd=place, env=env
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout
    assert "Prompt: 14 tokens" in done.stdout


def test_the_command_starts_again_once(zmlx: Zmlx) -> None:
    done = zmlx("--version", env={**QUIET_ENV, **NOT_UTF8, "PYTHONUTF8": "1", "PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stderr) == (0, "")


def test_a_prompt_that_is_not_utf_8_is_refused(zmlx: Zmlx, tmp_path: Path) -> None:
    done = zmlx("generate", "qwen3", "--checkpoint", "tiny", "--prompt", "caf\udce9", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "zmlx: caf\\udce9: is not UTF-8; mlx-lm cannot read it"
