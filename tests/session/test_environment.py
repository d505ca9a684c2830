"""What workers inherit, what is recorded of it, and the commit that numbers belong to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.variants import variant
from zmlx_bench.schema.plan import Arm
from zmlx_bench.session.environment import secrets, shared_variables, software, without_secrets, worker_environment


def test_only_mlx_and_zmlx_variables_are_recorded() -> None:
    environ = {"MLX_B": "1", "ZMLX_A": "2", "HOME": "/x", "SECRET_MLX_X": "3", "MLX_lower": "4"}
    assert shared_variables(environ) == {"MLX_B": "1", "ZMLX_A": "2"}


@pytest.mark.parametrize(
    "value",
    [
        "https://me:word@proxy:1", "me:word@proxy:1", "https://ghp_token@index/simple", "https://:word@index",
        "https://index/simple?token=abcdef", "https://index/?page=1&api-key=abcdef",
    ],
)  # fmt: skip
def test_a_url_with_a_secret_in_it_is_one(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert shared_variables({"MLX_HUB": value, "MLX_A": "1"}) == {"MLX_A": "1"}
    monkeypatch.setenv("MINE", value)
    assert without_secrets(f"cannot reach {value}") == "cannot reach [MINE]"


@pytest.mark.parametrize(
    "value", ["https://index/a@b", "/home/me@corp/x:/lib@2", "http://proxy:3128", "https://index/?page=1", "a=b:c"]
)
def test_what_only_looks_alike_is_none(value: str) -> None:
    assert secrets({"MINE": value}) == {}


def test_a_variants_variables_stand_on_top_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_ONE", "user")
    monkeypatch.setenv("MLX_TWO", "user")
    made = variant("qwen3", "combine=moe_combine").model_copy(update={"env": {"MLX_TWO": "variant"}})
    found = worker_environment(Arm(name="made", role="variant", variant=made))
    assert (found["MLX_ONE"], found["MLX_TWO"]) == ("user", "variant")
    assert worker_environment(Arm(name="baseline", role="baseline"))["MLX_TWO"] == "user"


def test_no_locale_decides_what_a_worker_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    found = worker_environment(Arm(name="baseline", role="baseline"))
    assert (found["PYTHONUTF8"], found["PYTHONIOENCODING"]) == ("1", "utf-8")


def test_the_commit_and_whether_anything_but_evidence_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    assert (software(tmp_path).commit, software(tmp_path).dirty) == (None, None)
    git("init", "-q")
    for name in ("code.py", "matrix.jsonl"):
        (tmp_path / name).write_text("1\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert software(tmp_path).dirty is False
    assert len(software(tmp_path).commit or "") == 40
    (tmp_path / "matrix.jsonl").write_text("2\n")
    (tmp_path / "untracked").write_text("2\n")
    assert software(tmp_path).dirty is False
    (tmp_path / "code.py").write_text("2\n")
    assert software(tmp_path).dirty is True
