"""What the benchmark of a session's time reads in an event log."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import ROOT, load

HOST = {"boot": "1", "gpus": ""}
# In the place of zmlx: three processes of 0.2 s with 0.1 s of decode by their clocks, of which a call that goes on runs
# those that are left.
STANDIN = """
import json, sys, time
from datetime import datetime, UTC
from pathlib import Path
workspace = Path(sys.argv[-1])
if sys.argv[1] == "init":
    workspace.mkdir()
    sys.exit()
log = workspace / "capsules" / "one" / "events.jsonl"
log.parent.mkdir(parents=True, exist_ok=True)
if "--resume" in sys.argv:
    assert sys.argv[1:-2] == ["run", "qwen3", "--resume", "one"], sys.argv
with log.open("a+") as file:
    def write(kind, job, **event):
        at = {"event": event} if event else {"time": datetime.now(UTC).isoformat()}
        file.write(json.dumps({"kind": kind, "job": job, **at}) + chr(10))
        file.flush()
    file.seek(0)
    done = sum(json.loads(line)["kind"] == "end" for line in file)
    time.sleep(0.2)
    for job in range(done, 3):
        write("start", job)
        for prompt in range(2):
            write("event", job, event="token", t_ns=time.monotonic_ns())
            time.sleep(0.1)
            write("event", job, event="token", t_ns=time.monotonic_ns())
            write("event", job, event="prompt_end")
        write("end", job)
"""


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    sys.modules["session_parts"] = load("benchmarks/session_parts.py")
    return load("benchmarks/session_time.py")


@pytest.fixture
def parts(benchmark: ModuleType) -> ModuleType:
    found: ModuleType = benchmark.session_parts
    return found


def at(kind: str, second: float) -> str:
    return json.dumps({"kind": kind, "job": 0, "time": f"2030-01-01T00:00:{second:06.3f}Z"}) + "\n"


def line(kind: str, **event: Any) -> str:
    return json.dumps({"kind": kind, "job": 0, **({"event": event} if event else {})})


def test_decode_is_from_the_first_token_of_each_prompt_to_its_last(benchmark: ModuleType) -> None:
    prompt = [line("event", event="token", id=1, t_ns=round(at * 1e9)) for at in (1.0, 1.5, 3.0)]
    other = [line("event", event="token", id=1, t_ns=round(at * 1e9)) for at in (7.0, 7.25)]
    end = line("event", event="prompt_end", prompt="p")
    assert benchmark.decode_of([line("start"), *prompt, end, *other, end, line("end")]) == (1, 2.25, 5)
    took = benchmark.Took(1, 10.0, 2.25, 5)
    assert took.rest_s == 7.75


def test_a_process_that_failed_counts_and_its_last_prompt_does_not(benchmark: ModuleType) -> None:
    cut = [line("start"), line("event", event="token", id=1, t_ns=5), line("end")]
    assert benchmark.decode_of([*cut, *cut]) == (2, 0.0, 2)


def test_of_a_process_that_was_cut_off_and_run_again_only_the_second_counts(benchmark: ModuleType) -> None:
    def token(second: float) -> str:
        return line("event", event="token", id=1, t_ns=round(second * 1e9))

    end = line("event", event="prompt_end", prompt="p")
    cut = [line("start"), token(1), token(2), end, token(5)]
    again = [line("start"), token(100), token(100.5), end, line("end")]
    assert benchmark.decode_of([*cut, *again]) == (1, 0.5, 2)


BEGAN = 1893456000.0
"""2030-01-01T00:00:00Z, seconds of the epoch."""


def test_what_a_cut_off_process_did_is_not_counted_nor_what_prepares_going_on(parts: ModuleType) -> None:
    first = [at("start", 2), at("end", 10), at("start", 11)]
    assert parts.seconds_of(BEGAN, BEGAN + 15, first, again=False, done=False) == 10
    second = [*first, at("start", 24), at("end", 31), at("start", 32), at("end", 40), '{"kind": "st']
    assert parts.seconds_of(BEGAN + 20, BEGAN + 43, second, again=True, done=True) == 19
    assert parts.seconds_of(BEGAN + 20, BEGAN + 43, second, again=True, done=False) == 16
    assert parts.seconds_of(BEGAN + 50, BEGAN + 60, second, again=True, done=False) == 0
    assert parts.seconds_of(BEGAN, BEGAN + 43, second, again=False, done=True) == 43
    assert parts.seconds_of(BEGAN, BEGAN + 5, first[:1], again=False, done=False) == 2, "the session was prepared"


def test_parts_are_gone_on_with_for_the_same_question_on_the_same_machine_only(
    parts: ModuleType, tmp_path: Path
) -> None:
    kept = parts.Parts(tmp_path, {"family": "a"}, HOST)
    with pytest.raises(SystemExit, match=r"question: was .*; name another folder"):
        parts.Parts(tmp_path, {"family": "b"}, HOST)  # before there is a part
    one, other = parts.Part("now", 0, 1.5, False, 0.1), parts.Part("now", 1, 2.5, True, 0.2)
    kept.add(one)
    kept.add(other)
    again = parts.Parts(tmp_path, {"family": "a"}, HOST)
    assert again.of("now", 0) == [one]
    assert again.of("now", 1) == [other]
    assert again.of("then", 0) == []
    with pytest.raises(SystemExit, match=r"question: was .*; name another folder"):
        parts.Parts(tmp_path, {"family": "b"}, HOST)
    with pytest.raises(SystemExit, match=r"host: was .*; name another folder"):
        parts.Parts(tmp_path, {"family": "a"}, {**HOST, "boot": "2"})


@pytest.mark.process
def test_a_session_is_cut_off_and_gone_on_with_by_the_next_call(
    benchmark: ModuleType, parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(parts, "COMMAND", STANDIN)
    then, state = tmp_path / "then", tmp_path / "state"
    (then / "zmlx_bench").mkdir(parents=True)
    command = ["session_time.py", "--then", str(then), "--state", str(state)]
    monkeypatch.setattr(sys, "argv", [*command, "--most-s", "0.75"])
    with pytest.raises(SystemExit) as left:
        benchmark.main()
    assert left.value.code == benchmark.NOT_YET
    monkeypatch.setattr(sys, "argv", command)
    benchmark.main()
    kept = [json.loads(line) for line in (state / "parts.jsonl").read_text().splitlines()][1:]
    assert [(each["which"], each["done"]) for each in kept] == [("159cd2d", False), ("159cd2d", True), ("now", True)]
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [row[1].strip() for row in rows] == ["159cd2d", "now"]
    assert all(row[2].strip() == "3" for row in rows)
    for which, row in zip(("159cd2d", "now"), rows, strict=True):
        seconds = sum(each["seconds"] for each in kept if each["which"] == which)
        assert float(row[4]) == pytest.approx(seconds, abs=0.06)
        assert seconds >= 0.6
        assert row[3].strip() == "12"


def test_what_a_killed_call_had_begun_is_counted_by_the_next(parts: ModuleType, tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    log = workspace / "capsules" / "one" / "events.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("".join([at("start", 2), at("end", 10), at("start", 11)]))
    begun = parts.Begun("now", 0, BEGAN, False)
    kept = parts.Parts(tmp_path, {}, HOST)
    kept.begin(begun)
    again = parts.Parts(tmp_path, {}, HOST)
    assert (again.begun, again.known) == (begun, [])
    again.add(parts.left(begun, workspace))
    last = parts.Parts(tmp_path, {}, HOST)
    assert (last.begun, last.known) == (None, [parts.Part("now", 0, 10.0, False, None)])


@pytest.mark.process
def test_what_a_killed_call_had_begun_is_not_counted_while_it_runs(parts: ModuleType, tmp_path: Path) -> None:
    sleeps = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)", str(tmp_path)]
    with subprocess.Popen(sleeps, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        with pytest.raises(SystemExit, match=f"process {running.pid}, which an earlier call began"):
            parts.left(parts.Begun("now", 0, BEGAN, False), tmp_path)
        running.kill()


@pytest.mark.process
def test_sigterm_ends_the_session_and_the_next_call_counts_what_it_did(
    benchmark: ModuleType, parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    then, state, script = tmp_path / "then", tmp_path / "state", tmp_path / "script.py"
    (then / "zmlx_bench").mkdir(parents=True)
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r})\n"
        f"import session_parts, session_time; session_parts.COMMAND = {STANDIN!r}; session_time.main()\n"
    )
    arguments = ["--then", str(then), "--state", str(state)]
    ran = state / "ws-159cd2d-0" / "capsules" / "one" / "events.jsonl"
    with subprocess.Popen([sys.executable, str(script), *arguments]) as called:
        while not (ran.exists() and '"kind": "end"' in ran.read_text()):
            assert called.poll() is None
            time.sleep(0.02)
        called.terminate()
    assert called.returncode == parts.TERMINATED
    assert len(ran.read_text().splitlines()) < 18, "the session went on by itself"

    monkeypatch.setattr(parts, "COMMAND", STANDIN)
    monkeypatch.setattr(sys, "argv", ["session_time.py", *arguments])
    benchmark.main()
    first, *others = [json.loads(line) for line in (state / "parts.jsonl").read_text().splitlines()][1:]
    assert (first["which"], first["done"], first["load"]) == ("159cd2d", False, None)
    assert 0.4 <= first["seconds"] < 5
    assert [(each["which"], each["done"]) for each in others] == [("159cd2d", True), ("now", True)]


@pytest.mark.process
def test_a_worktree_that_a_killed_call_left_is_made_anew(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, folder = tmp_path / "root", tmp_path / "state" / "then"
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    root.mkdir()
    (root / "code").write_text("code")
    for words in (["init", "-q"], ["add", "code"], ["commit", "-qm", "one"], ["worktree", "add", "-q", str(folder)]):
        subprocess.run([*git, *words], check=True, capture_output=True)
    (folder / "code").write_text("half")
    subprocess.run([*git, "worktree", "lock", str(folder)], check=True)
    monkeypatch.setattr(benchmark, "ROOT", root)
    with benchmark.checked_out("HEAD", None, folder) as code:
        assert (code / "code").read_text() == "code"
        shutil.rmtree(folder)
        with benchmark.checked_out("HEAD", None, folder) as again:
            assert (again / "code").exists()
        subprocess.run([*git, "worktree", "add", "-q", "--detach", str(folder)], check=True)
    assert not folder.exists()
    with (
        pytest.raises(SystemExit, match="--commit none: cannot be checked out"),
        benchmark.checked_out("none", None, folder),
    ):
        pass
