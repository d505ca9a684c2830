"""Kernels are compiled once for the processes that are alike, and what fails there changes nothing for them."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import QUIET_ENV
from tests.instructions import instructions
from tests.protocol.test_plan import CHECKPOINT
from tests.schema.strategies import example
from tests.variants import variant
from zmlx_bench.measured.messages import Conditions as Told
from zmlx_bench.measured.messages import Instructions, Prompt
from zmlx_bench.protocol.plan import arms_of, draw_up
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.plan import DEFAULT, Arm, Conditions, Job, Plan, Timeouts
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.schema.prompts import Prompt as Asked
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.session.ahead import REFUSED, Ahead, compile_ahead, gpu, mark
from zmlx_bench.session.ahead import wanted as compiles_ahead
from zmlx_bench.session.compiled import Compiled

# In the place of Python: does what the process does with files, and writes down that it was asked.
STANDIN = """#!{python}
import json, os, sys, pathlib
told = json.loads(sys.stdin.buffer.read())
folder = pathlib.Path(os.environ["TMPDIR"]) / "mlx"
(folder / "1" / "ptx").mkdir(parents=True, exist_ok=True)
(folder / "ahead").mkdir(exist_ok=True)
print("asked for", *sorted(told["marks"]), flush=True)
for name, marked in told["marks"].items():
    files = []
    for end in (".read", ".txt", ".ptx"):
        files.append(f"mlx/1/ptx/{{name}}{{end}}")
        (folder.parent / files[-1]).write_text("" if end == ".read" else name)
    (folder / "ahead" / marked).write_text(json.dumps(files))
(folder / "1" / "ptx" / "of_mlx_itself.ptx").write_text("half of it")
{end}
"""


def known(name: str, digit: str = "1", **env: str) -> ResolvedVariant:
    identity = Identity.model_validate({**example(Identity), "digest": digit * 64})
    made = variant("qwen3", "qkv=qkv_joined")
    return made.model_copy(update={"name": name, "identity": identity, "env": env})


def standin(folder: Path, end: str = "") -> str:
    path = folder / "python"
    path.write_text(STANDIN.format(python=sys.executable, end=end))
    path.chmod(0o755)
    return str(path)


def job(name: str = "made") -> Instructions:
    return instructions("qwen3", resolved=known(name))


def asked(
    python: str, compiled: Compiled, folder: Path, *marks: str, silent_s: float = 60.0, **env: str
) -> tuple[float | None, str]:
    log = folder / "logs" / "ahead.log"
    log.unlink(missing_ok=True)
    told = {name: job(f"of_{name}") for name in marks}
    variables = {**QUIET_ENV, **compiled.environment, **env}
    timeouts = Timeouts(load_s=silent_s, prefill_s=silent_s, decode_s=silent_s)
    seconds = compile_ahead(told, python, variables, compiled, log, timeouts, lambda: None)
    return seconds, log.read_text() if log.exists() else ""


def plan(*variants: ResolvedVariant, conditions: Conditions = DEFAULT) -> Plan:
    texts = PromptSet(prompt=tuple(Asked(id=f"p{i}", domain="x", text="x") for i in range(2)))
    pieces = () if conditions.context is None else ((1, 2, 3),)
    encoded = Encoded(chat_template=True, token_ids={"p0": (1, 2), "p1": (1, 2, 3)}, context_pieces=pieces)
    return draw_up(
        family="qwen3", checkpoint=CHECKPOINT, conditions=conditions, backend="cuda", tokens=[2, 4], blocks=1, seed=0,
        cooldown_s=0.0, timeouts=Timeouts(), prompts=texts, encoded=encoded,
        arms=arms_of(variants, None, null_arm=True),
    )  # fmt: skip


def test_variants_of_processes_that_are_alike_are_compiled_together_and_once() -> None:
    bare = variant("qwen3").model_copy(update={"name": "bare"})
    drawn = plan(known("a", "1"), known("b", "2"), known("c", "3", ZMLX_X="1"), bare)

    def told(job: Job, arm: Arm) -> Instructions:
        assert arm.variant is not None
        conditions = Told(batches=(("p0", "p1"),))
        return instructions("qwen3", resolved=arm.variant, conditions=conditions, margins=True, tokens=job.tokens)

    ahead = Ahead(drawn, told)
    first = {
        name: next(each for each in drawn.jobs if each.arm == name) for name in ("baseline", "a", "b", "c", "bare")
    }
    assert ahead.due(first["baseline"]) == {}
    due = ahead.due(first["b"])
    assert [each.variant and each.variant.name for each in due.values()] == ["a", "b"]
    for each in due.values():
        assert each.prompts == (Prompt("p0", drawn.token_ids("p0")), Prompt("p1", drawn.token_ids("p1")))
        assert (each.conditions, each.margins) == (None, False)
    assert ahead.due(first["a"]) == {}
    assert [each.variant and each.variant.name for each in ahead.due(first["c"]).values()] == ["c"]
    assert ahead.due(first["bare"]) == {}


@pytest.mark.parametrize(
    ("asked_for", "alike"),
    [
        (Conditions(context=9), True),
        (Conditions(batch=2), False),
        (Conditions(kv_bits=8), False),
        (Conditions(max_kv_size=64), False),
    ],
)
def test_nothing_is_compiled_ahead_for_conditions_that_call_kernels_otherwise(
    asked_for: Conditions, alike: bool
) -> None:
    drawn = plan(known("a"), conditions=asked_for)
    ahead = Ahead(drawn, lambda job, arm: instructions("qwen3", resolved=arm.variant, tokens=job.tokens))
    due = ahead.due(next(each for each in drawn.jobs if each.arm == "a"))
    assert [each.variant and each.variant.name for each in due.values()] == (["a"] if alike else [])


def test_it_is_done_unless_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REFUSED, "0")
    assert not compiles_ahead()
    monkeypatch.delenv(REFUSED)
    assert compiles_ahead()


def test_a_mark_is_of_one_identity_checkpoint_environment_and_lengths_of_prompts() -> None:
    other = CHECKPOINT.model_copy(update={"digest": "sha256:" + "5" * 64})
    marks = {
        mark(known("a"), CHECKPOINT, [2, 3]),
        mark(known("a", "2"), CHECKPOINT, [2, 3]),
        mark(known("a", ZMLX_X="1"), CHECKPOINT, [2, 3]),
        mark(known("a"), CHECKPOINT, [2, 4]),
        mark(known("a"), other, [2, 3]),
    }
    assert len(marks) == 5
    assert None not in marks
    assert mark(known("named otherwise"), CHECKPOINT, [3, 2]) == mark(known("a"), CHECKPOINT, [2, 3])
    assert mark(variant("qwen3"), CHECKPOINT, [2]) is None
    assert mark(variant("qwen3", "qkv=qkv_joined"), CHECKPOINT, [2]) is None


@pytest.mark.process
def test_a_second_session_compiles_only_what_no_session_has(tmp_path: Path) -> None:
    python = standin(tmp_path)
    with Compiled(tmp_path / "store") as compiled:
        seconds, printed = asked(python, compiled, tmp_path, "one")
        assert seconds is not None
        assert seconds > 0
        assert printed == "asked for of_one\n"
        assert asked(python, compiled, tmp_path, "one") == (None, "")
    with Compiled(tmp_path / "store") as compiled:
        assert asked(python, compiled, tmp_path, "one", "two")[1] == "asked for of_two\n"
        assert compiled.holds("one")
        assert compiled.holds("two")
    (damaged,) = (tmp_path / "store").rglob("of_one.ptx")
    damaged.write_text("other")
    with Compiled(tmp_path / "store") as compiled:
        assert asked(python, compiled, tmp_path, "one", "two")[1] == "asked for of_one\n"


@pytest.mark.process
@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "import time; time.sleep(600)"])
def test_of_a_process_that_does_not_end_well_only_what_it_marked_is_kept(tmp_path: Path, end: str) -> None:
    with Compiled(tmp_path / "store") as compiled:
        seconds, printed = asked(standin(tmp_path, end), compiled, tmp_path, "one", silent_s=1.0)
        assert seconds is not None
        assert printed == "asked for of_one\n"
        assert compiled.holds("one")
        there = sorted(path.name for path in compiled.folder.rglob("*") if path.is_file())
    assert there == ["of_one.ptx", "of_one.read", "of_one.txt", "one"]
    assert sorted(path.name for path in (tmp_path / "store").rglob("*") if path.is_file()) == there


def test_a_mark_that_names_what_is_not_there_keeps_nothing(tmp_path: Path) -> None:
    with Compiled(tmp_path / "store") as compiled:
        assert compiled.empty
        made = compiled.folder / "mlx" / "ahead" / "one"
        made.parent.mkdir(parents=True)
        made.write_text('["mlx/1/ptx/none.ptx"]')
        (made.parent / "torn").write_text('["mlx/1/pt')
        assert not compiled.empty
        compiled.ended(well=False)
        assert compiled.empty


@pytest.mark.process
def test_two_sessions_at_once_compile_each_for_itself_and_keep_it_once(tmp_path: Path) -> None:
    python = standin(tmp_path)
    held: list[bool] = []

    def session(name: str) -> None:
        with Compiled(tmp_path / "store") as compiled:
            asked(python, compiled, tmp_path / name, "one")
            held.append(compiled.holds("one"))

    threads = [threading.Thread(target=session, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert held == [True, True]
    kept = sorted(path.name for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert kept == ["of_one.ptx", "of_one.read", "of_one.txt", "one"]


@pytest.mark.process
def test_where_mlx_is_told_to_look_elsewhere_nothing_is_done(tmp_path: Path) -> None:
    with Compiled(tmp_path / "store") as compiled:
        found = asked(standin(tmp_path), compiled, tmp_path, "one", MLX_PTX_CACHE_DIR=str(tmp_path))
        assert found == (None, "")


@pytest.mark.process
def test_where_mlx_has_no_gpu_the_process_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with Compiled(tmp_path / "store") as compiled:
        seconds, printed = asked(sys.executable, compiled, tmp_path, "one")
        assert seconds is not None
        assert "compute_capability_major" in printed
        assert not compiled.holds("one")
    assert not list((tmp_path / "store").rglob("*.ptx"))


def test_the_gpu_is_known_by_its_architecture_and_what_compiles_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu("cpu") is None
    assert gpu("metal") is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 9.0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpu("cuda", versions=("13.0.88", "13.0.96")) == "cc-9.0-13.0.88-13.0.96"
    assert gpu("cuda", versions=()) == "cc-9.0"
    assert gpu("cuda", versions=("13.0.88", None)) is None
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert gpu("cuda", versions=()) is None
