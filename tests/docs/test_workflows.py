"""The workflows and the action: valid by GitHub's schemas, pinned, harmless with anybody's pull request, working."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import QUIET_ENV
from tests.docs.blocks import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTION = GITHUB / "actions" / "check" / "action.yml"
FORMS = GITHUB / "ISSUE_TEMPLATE"
SCHEMAS = {
    "workflows": "vendor.github-workflows",
    "actions": "vendor.github-actions",
    "forms": "vendor.github-issue-forms",
    "chooser": "vendor.github-issue-config",
    "citation": "vendor.citation-file-format",
}


def _examples() -> list[str]:
    """Return the workflows that the page on CI shows."""
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    return re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _valid(kind: str, *files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[kind], *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_they_are_valid_by_githubs_schemas(tmp_path: Path) -> None:
    shown = _examples()
    assert len(shown) == 3
    for number, text in enumerate(shown):
        (tmp_path / f"{number}.yml").write_text(text)
    workflows = _valid("workflows", *WORKFLOWS, *tmp_path.iterdir())
    assert workflows.returncode == 0, workflows.stdout
    action = _valid("actions", ACTION)
    assert action.returncode == 0, action.stdout


def test_forms_and_citation_are_valid() -> None:
    forms = [path for path in FORMS.glob("*.yml") if path.name != "config.yml"]
    assert forms
    for kind, files in (("forms", forms), ("chooser", [FORMS / "config.yml"]), ("citation", [ROOT / "CITATION.cff"])):
        done = _valid(kind, *files)
        assert done.returncode == 0, done.stdout


def test_the_linter_sees_a_fault(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    text = (GITHUB / "workflows" / "evidence.yml").read_text()
    broken.write_text(text.replace("runs-on: ubuntu-latest", "runs_on: ubuntu-latest"))
    assert _valid("workflows", broken).returncode == 1


def _zizmor(path: Path) -> subprocess.CompletedProcess[str]:
    # Below medium it only wants `$/` for `./`, which means the same there.
    options = ["--offline", "--no-config", "--quiet", "--min-severity=medium"]
    program = Path(sys.executable).with_name("zizmor")
    return subprocess.run([program, *options, path], capture_output=True, text=True, check=False)


def test_an_auditor_finds_no_way_in() -> None:
    done = _zizmor(GITHUB)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_auditor_sees_a_way_in(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    text = (GITHUB / "workflows" / "evidence.yml").read_text()
    assert _zizmor(GITHUB / "workflows" / "evidence.yml").returncode == 0
    broken.write_text(text.replace("pull_request:", "pull_request_target:"))
    assert "dangerous-triggers" in _zizmor(broken).stdout


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed; the schemas are checked")
def test_actionlint_has_nothing_to_say(tmp_path: Path) -> None:
    for number, text in enumerate(_examples()):
        (tmp_path / f"{number}.yml").write_text(text)
    done = subprocess.run(
        # `$/` is younger than many an actionlint.
        [
            "actionlint",
            "-no-color",
            "-ignore",
            r'action "\$/.+ ref is missing',
            *map(str, WORKFLOWS),
            *map(str, tmp_path.iterdir()),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def _steps() -> list[dict[str, Any]]:
    return list(yaml.safe_load(ACTION.read_text())["runs"]["steps"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_can_only_read(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    # YAML 1.1 reads the key `on` as true.
    assert set(workflow[True]) <= {"pull_request", "push", "workflow_call"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job


def test_other_peoples_actions_are_pinned_to_a_commit() -> None:
    text = "".join(path.read_text() for path in (*WORKFLOWS, ACTION))
    used = re.findall(r"uses: (\S+)", text)
    others = [name for name in used if not name.startswith(("./", "$/", "zmlx-bench/zmlx-bench/"))]
    assert others
    assert [name for name in others if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", name)] == []


def test_the_tests_run_on_both_systems_from_the_oldest_python_on() -> None:
    jobs = yaml.safe_load((GITHUB / "workflows" / "tests.yml").read_text())["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos"}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">={matrix['python'][0]}" == wanted
    assert jobs["test"]["steps"][-1] == {"run": ".ci/run"}
    assert jobs["quick"]["steps"][-1] == {"run": "make quick"}


@pytest.mark.parametrize("apt", ["works", "refuses", "is not there"])
def test_what_ci_runs_is_the_test_command_whether_a_browser_can_be_had_or_not(tmp_path: Path, apt: str) -> None:
    tools = {"make": 'echo "make $*"', "id": "echo 0", "timeout": 'shift; "$@"'}
    if apt != "is not there":
        tools["apt-get"] = f'echo "$*" >> "{tmp_path}/asked"; exit {0 if apt == "works" else 100}'
    for name, body in tools.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = subprocess.run(
        [ROOT / ".ci" / "run"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "make test\n")
    asked = (tmp_path / "asked").read_text() if apt != "is not there" else ""
    assert ("install --yes --no-install-recommends chromium" in asked) == (apt == "works")
    assert ("could not be installed: the tests that need them are skipped" in done.stderr) == (apt == "refuses")


def test_no_script_has_an_expression_in_it() -> None:
    jobs = [job for path in WORKFLOWS for job in yaml.safe_load(path.read_text())["jobs"].values()]
    scripts = [step["run"] for steps in (_steps(), *(job["steps"] for job in jobs)) for step in steps if "run" in step]
    assert len(scripts) > len(WORKFLOWS)
    assert [script for script in scripts if "${{" in script] == []


def test_the_workflow_runs_where_evidence_is_touched(repository: Any) -> None:
    on = yaml.safe_load((GITHUB / "workflows" / "evidence.yml").read_text())[True]
    paths = {path.removesuffix("/**") for path in on["pull_request"]["paths"]}
    assert {"capsules", "matrix.jsonl", "LAB_NOTEBOOK.md", "variants", "kernels"} <= paths
    assert [path for path in paths if not (repository.root / path).exists()] == []


def test_promotions_are_never_measured_for_a_pull_request() -> None:
    (step,) = (step for step in _steps() if step.get("id") == "upgrade")
    assert "!startsWith(github.event_name, 'pull_request')" in step["if"]


def _upgrade(tmp_path: Path, told: dict[str, Any], what: str, *more: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "told.json"
    file.write_text(json.dumps(told))
    names = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "GITHUB_OUTPUT": str(tmp_path / "outputs")}
    command = [sys.executable, str(ACTION.parent / "upgrade.py"), what, str(file), *more]
    return subprocess.run(command, env={**QUIET_ENV, **names}, capture_output=True, text=True, check=False)


def test_an_environment_is_checked_where_its_mlx_is_another_than_here(tmp_path: Path) -> None:
    here = {name: {"version": version(name)} for name in ("mlx", "mlx_lm")}
    same = _upgrade(tmp_path, {"packages": here}, "newer")
    assert (same.returncode, same.stdout) == (1, "no other MLX or mlx-lm than here: nothing to check \n")
    other = _upgrade(tmp_path, {"packages": {**here, "mlx": {"version": "99"}}}, "newer")
    assert (other.returncode, other.stdout) == (0, f"to be checked: mlx {version('mlx')} -> 99\n")


def test_the_summary_names_every_promotion_and_shows_words_as_text(tmp_path: Path) -> None:
    one = {
        "family": "qwen3",
        "checkpoint": "tiny",
        "backend": "cpu",
        "variant": "fast",
        "said": "fails",
        "why": "a | b",
    }
    done = _upgrade(tmp_path, {"environment": "mlx==9", "promotions": [one]}, "told", "1")
    assert done.returncode == 0, done.stderr
    summary = (tmp_path / "summary.md").read_text()
    assert "| qwen3 | tiny | cpu | fast | **does not hold** | a &#124; b |" in summary
    assert (tmp_path / "outputs").read_text() == "exit-code=1\n"


def _run_step(tmp_path: Path, workspace: str, where: Path) -> tuple[int, str, str, dict[str, str]]:
    """Run the action's own script as a runner does; return exit code, log, summary and outputs."""
    (script,) = (step["run"] for step in _steps() if step.get("id") == "check")
    summary, outputs = tmp_path / "summary.md", tmp_path / "outputs"
    (tmp_path / "zmlx").symlink_to(sys.prefix)
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=where,
        env={
            **QUIET_ENV,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(tmp_path),
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_OUTPUT": str(outputs),
            "WORKSPACE": workspace,
            "ACTION": str(ACTION.parent),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    told = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    return done.returncode, done.stdout + done.stderr, summary.read_text(), told


def test_evidence_that_holds_passes_and_shows_the_report(tmp_path: Path) -> None:
    code, _, summary, outputs = _run_step(tmp_path, ".", ROOT)
    assert (code, outputs) == (0, {"exit-code": "0", "faults": "0"})
    assert summary.startswith("## zmlx check: everything holds\n")
    assert "| # | variant |" in summary


def test_an_edited_figure_fails_and_is_annotated(tmp_path: Path, make_workspace: Any) -> None:
    made = make_workspace()
    session = sorted((ROOT / "capsules").iterdir())[0]
    shutil.copytree(session, made.root / "capsules" / session.name)
    rows = [line for line in (ROOT / "matrix.jsonl").read_text().splitlines() if session.name in line]
    row = json.loads(rows[0])
    rows[0] = json.dumps({**row, "speedup": row["speedup"] * 2})
    (made.root / "matrix.jsonl").write_text("\n".join(rows) + "\n")

    code, log, summary, outputs = _run_step(tmp_path, made.root.name, made.root.parent)
    assert code == 1
    assert outputs["exit-code"] == "1"
    assert int(outputs["faults"]) >= 1
    assert re.search(rf"^::error file={made.root.name}/matrix.jsonl::.*speedup", log, re.MULTILINE)
    assert "| matrix.jsonl |" in summary
    assert "| # | variant |" not in summary


def test_a_workspace_that_is_not_there_fails_as_unusable(tmp_path: Path) -> None:
    code, log, summary, outputs = _run_step(tmp_path, "no-such-folder", tmp_path)
    assert (code, outputs) == (3, {"exit-code": "3", "faults": ""})
    assert "not checked" in summary
    assert "no-such-folder" in log


def test_what_a_fault_says_is_shown_as_text(tmp_path: Path) -> None:
    message = "<img src=x> | `b` [c](d)\n::warning::e %"
    found = tmp_path / "found.json"
    fault = {"file": "a,b.json", "field": "x", "message": message}
    found.write_text(json.dumps({"findings": [fault], "capsules": 1, "sessions": 0, "rows": 0}))
    summary, outputs = tmp_path / "summary.md", tmp_path / "outputs"
    told = subprocess.run(
        [sys.executable, str(ACTION.parent / "summary.py"), str(found), "1", "."],
        env={"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (row,) = [line for line in summary.read_text().splitlines() if "a,b" in line]
    assert re.findall(r"(?<!\\)[`\[\]<>]", row) == []
    assert row.count("|") == 4
    commands = [line for line in told.splitlines() if line.startswith("::")]
    assert [line.partition("::x")[0] for line in commands] == ["::error file=a%2Cb.json"]
