from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import Made, add_session, make_workspace
from zmlx_bench import exit_codes
from zmlx_bench.cli.main import main
from zmlx_bench.workspace import Workspace

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path / "workspace")
    for hour in (0, 2):
        add_session(made, hour, [Made("fast", 0.08), Made("wrong", 0.2, wrong_at=7)])
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([*arguments, "--workspace", str(workspace.root)])
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return run


def tree(workspace: Workspace) -> dict[str, bytes]:
    return {str(p.relative_to(workspace.root)): p.read_bytes() for p in workspace.root.rglob("*") if p.is_file()}


def test_a_dry_run_decides_and_writes_nothing(run: Run, workspace: Workspace) -> None:
    before = tree(workspace)
    code, out, err = run("promote", "--dry-run")
    assert code == exit_codes.DONE
    assert "PROMOTE (faster)" in out
    assert "would change" in err
    assert tree(workspace) == before


def test_promote_writes_once(run: Run, workspace: Workspace) -> None:
    code, out, err = run("promote")
    assert code == exit_codes.DONE
    assert "recommended: fast" in out
    assert "EXP-20300101T121000Z-QWEN3-TINY-CPU" in err
    after = tree(workspace)
    assert "variants/promoted.toml" in after
    code, _, err = run("promote")
    assert (code, tree(workspace)) == (exit_codes.DONE, after)
    assert "unchanged" in err
    assert "EXP-" not in err


def test_promote_prints_one_json_object(run: Run) -> None:
    code, out, err = run("promote", "qwen3", "--json")
    value = json.loads(out)
    assert (code, err) == (exit_codes.DONE, "")
    assert value["promotions_changed"] is True
    assert value["promotions"][0]["variant"] == "fast"
    assert value["groups"][0]["rejected"] == ["wrong"]
    assert run("report", "--format", "json")[0] == exit_codes.DONE


def test_promote_says_of_a_default_that_stays_what_the_report_says(run: Run) -> None:
    """The rule as it is now decides both, whatever rule made the default."""
    (before,) = json.loads(run("promote", "--dry-run", "--json")[1])["groups"]
    assert "makes it the default" in before["recommendation"]
    assert run("promote")[0] == exit_codes.DONE
    groups = json.loads(run("promote", "--dry-run", "--json")[1])["groups"]
    assert groups == json.loads(run("report", "--json")[1])["groups"]
    assert "nothing has beaten it" in groups[0]["recommendation"]


@pytest.mark.parametrize("form", ["table", "md", "json"])
def test_report_in_every_format(run: Run, form: str, tmp_path: Path) -> None:
    code, out, _ = run("report", "qwen3", "--format", form)
    assert code == exit_codes.DONE
    assert "fast" in out
    assert "token 7" in out
    target = tmp_path / "report.txt"
    code, silent, err = run("report", "qwen3", "--format", form, "--out", str(target))
    assert (code, silent) == (exit_codes.DONE, "")
    assert target.read_text() == out
    assert "wrote" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("promote", "qwen33"), "qwen3"),
        (("report", "qwen33"), "qwen3"),
        (("report", "--format", "pdf"), "pdf"),
    ],
)
def test_wrong_usage_is_named(run: Run, arguments: tuple[str, ...], told: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (exit_codes.UNUSABLE, "")
    assert told in err


def test_a_missing_policy_is_named(run: Run, workspace: Workspace) -> None:
    (workspace.variants / "policy.toml").unlink()
    code, _, err = run("promote")
    assert code == exit_codes.UNUSABLE
    assert "policy.toml" in err
