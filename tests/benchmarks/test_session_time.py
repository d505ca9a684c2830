"""What the benchmark of a session's time reads in an event log."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.scripts import load

HOST = {"boot": "1", "gpus": ""}
# In the place of zmlx: three processes of 0.2 s, of which a call that goes on runs those that are left.
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
    def write(kind, job):
        file.write(json.dumps({"kind": kind, "job": job, "time": datetime.now(UTC).isoformat()}) + chr(10))
        file.flush()
    file.seek(0)
    done = sum(json.loads(line)["kind"] == "end" for line in file)
    time.sleep(0.2)
    for job in range(done, 3):
        write("start", job)
        time.sleep(0.2)
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


def test_parts_are_gone_on_with_for_the_same_question_on_the_same_machine_only(
    parts: ModuleType, tmp_path: Path
) -> None:
    kept = parts.Parts(tmp_path, {"family": "a"}, HOST)
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
