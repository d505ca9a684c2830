"""`zmlx check` and `zmlx capsule`: output and exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from zmlx_bench.workspace import Workspace

Zmlx = Callable[..., "subprocess.CompletedProcess[str]"]
FIXTURES = Path(__file__).resolve().parents[1] / "data" / "legacy"
CAPSULE = "capsules/20300101T100000Z-qwen3-0002/qwen3_tiny_cpu_t20_r3_combine_one.json"


@pytest.fixture
def edited(decided: Workspace) -> Workspace:
    path = decided.root / CAPSULE
    path.write_text(path.read_text().replace('"status": "ok"', '"status": "oom"', 1))
    return decided


def test_check_of_sound_evidence(zmlx: Zmlx, decided: Workspace) -> None:
    done = zmlx("check", cwd=decided.root)
    assert (done.returncode, done.stdout) == (0, "")
    assert "checked 8 capsules, 2 sessions, 8 matrix rows: everything holds" in done.stderr


def test_check_names_file_and_field_one_line_each(zmlx_inside: Zmlx, edited: Workspace) -> None:
    done = zmlx_inside("check", str(edited.root))
    assert done.returncode == 1
    assert f"{CAPSULE}: status: says oom, the worst of its processes is ok" in done.stdout.splitlines()


def test_check_as_json_is_one_object(zmlx_inside: Zmlx, edited: Workspace) -> None:
    done = zmlx_inside("check", "--workspace", str(edited.root), "--json")
    assert done.returncode == 1
    assert {"file": CAPSULE, "field": "status"}.items() <= next(
        finding for finding in json.loads(done.stdout)["findings"] if finding["field"] == "status"
    ).items()


@pytest.mark.parametrize("arguments", [("check", "absent"), ("check", "."), ("check", "--no-such-option")])
def test_check_of_what_cannot_be_checked(zmlx_inside: Zmlx, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = zmlx_inside(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in done.stderr


def test_verify_of_one_capsule(zmlx_inside: Zmlx, decided: Workspace, tmp_path: Path) -> None:
    assert zmlx_inside("capsule", "verify", str(decided.root / CAPSULE)).returncode == 0
    sent = tmp_path / Path(CAPSULE).name
    shutil.copy(decided.root / CAPSULE, sent)
    assert zmlx_inside("capsule", "verify", str(sent)).returncode == 0
    sent.write_text(sent.read_text().replace('"speedup": {"value": 1.', '"speedup": {"value": 2.', 1))
    done = zmlx_inside("capsule", "verify", str(sent))
    assert done.returncode == 1
    assert "figures.speedup.value" in done.stdout


def test_show_says_what_was_measured(zmlx_inside: Zmlx, decided: Workspace) -> None:
    done = zmlx_inside("capsule", "show", str(decided.root / CAPSULE))
    assert done.returncode == 0
    for part in ("combine_one", "90% interval (unadjusted)", "fidelity: identical", "tok/s", "Made CPU"):
        assert part in done.stdout
    whole = json.loads(zmlx_inside("capsule", "show", str(decided.root / CAPSULE), "--json").stdout)
    assert whole == json.loads((decided.root / CAPSULE).read_text())


@pytest.mark.parametrize("content", ["", "{}", '{"kind": "legacy"}', "[" * 10000])
@pytest.mark.parametrize("command", ["show", "replay"])
def test_what_is_no_capsule_is_refused_in_one_line(
    zmlx_inside: Zmlx, decided: Workspace, command: str, content: str
) -> None:
    path = decided.root / "no_capsule.json"
    path.write_text(content)
    done = zmlx_inside("capsule", command, str(path), cwd=decided.root)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"zmlx: {path}: ")
    assert done.stderr.count("\n") == 1


def test_import_prints_what_was_taken_over_and_what_does_not_add_up(zmlx_inside: Zmlx, decided: Workspace) -> None:
    done = zmlx_inside("capsule", "import", str(FIXTURES), cwd=decided.root)
    assert done.returncode == 0
    assert "fixture_probe.json: no evidence: a probe of one launch option" in done.stdout
    assert "fixture_skip_20300101.json: never_ran: not measured: SKIPPED: fixture" in done.stdout
    again = zmlx_inside("capsule", "import", str(FIXTURES), "--json", cwd=decided.root)
    assert not any(item["changed"] for item in json.loads(again.stdout)["imported"])
    assert zmlx_inside("check", cwd=decided.root).returncode == 0
    shown = zmlx_inside("capsule", "show", str(decided.capsules / "legacy" / "fixture_wrong_kv4_20300101.json"))
    assert "wrong: REJECT (fidelity)" in shown.stdout


def test_import_of_what_cannot_be_used_writes_nothing(zmlx_inside: Zmlx, decided: Workspace, tmp_path: Path) -> None:
    given = tmp_path / "given"
    shutil.copytree(FIXTURES, given)
    (given / "zzz.json").write_text('{"a": ')
    done = zmlx_inside("capsule", "import", str(given), cwd=decided.root)
    assert done.returncode == 3
    assert "zzz.json" in done.stderr
    assert not (decided.capsules / "legacy").exists()


def test_replay_of_an_edited_capsule_is_refused(zmlx_inside: Zmlx, edited: Workspace) -> None:
    done = zmlx_inside("capsule", "replay", CAPSULE, cwd=edited.root)
    assert done.returncode == 3
    assert "zmlx capsule verify" in done.stderr


def test_an_import_cannot_be_replayed(zmlx_inside: Zmlx, decided: Workspace) -> None:
    assert zmlx_inside("capsule", "import", str(FIXTURES), cwd=decided.root).returncode == 0
    done = zmlx_inside("capsule", "replay", "capsules/legacy/fixture_probe.json", cwd=decided.root)
    assert done.returncode == 3
    assert "names no kernel" in done.stderr
