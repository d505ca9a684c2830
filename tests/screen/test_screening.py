"""A screening as a whole with planted variants on a model: what it ranks, drops, names, prints and leaves."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.conftest import QUIET_ENV, ZMLX, Zmlx
from zmlx_bench.analysis.screen import Segment
from zmlx_bench.cli.artifacts import KINDS
from zmlx_bench.cli.screening import Progress
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import device
from zmlx_bench.protocol.order import block_orders
from zmlx_bench.screen import run, show
from zmlx_bench.screen.process import Ran
from zmlx_bench.screen.report import report
from zmlx_bench.screen.request import Request, screen_command, session_command
from zmlx_bench.screen.run import Process, Screen
from zmlx_bench.screen.schema import Dropped, ScreenedVariant, Screening
from zmlx_bench.workspace import Workspace

PLANTED = ("no_op", "doubles", "slow", "killed", "unavailable")
OTHER = '\n[variant.other]\nwhy = "planted"\nkernels = { combine = "no_op" }\nenv = { ZMLX_OTHER = "1" }\n'
PROMPT = '[[prompt]]\nid = "sea"\ndomain = "prose"\ntext = "The sea was calm that night."\n'
REQUEST = Request("qwen3", ("qwen_fused", *PLANTED, "other"), tokens=8, processes=1, checkpoint="tiny", backend="cpu")


@pytest.fixture(scope="module")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    made = make_workspace(*PLANTED, "sleeps")
    with (made.variants / "qwen3.toml").open("a") as file:
        file.write(OTHER)
    (made.root / "prompts.toml").write_text(PROMPT)
    return made


@pytest.fixture(scope="module")
def said(planted: Workspace, small: str) -> tuple[Screening, str, list[Path]]:
    """The answer of one screening, the lines of its progress, and the files of the workspace from before."""
    before = files(planted)
    screen = run.prepare(planted, replace(REQUEST, prompts=str(planted.root / "prompts.toml"), checkpoint=small))
    told = io.StringIO()
    console = Console(width=200, file=told)
    with Progress(screen, console) as progress:
        screen.complete(progress)
    return report(screen), told.getvalue(), before


def files(workspace: Workspace) -> list[Path]:
    return sorted(path for path in workspace.root.rglob("*") if "__pycache__" not in path.parts)


def row(found: Screening, name: str) -> ScreenedVariant:
    return next(each for each in found.variants if each.variant == name)


def test_each_planted_variant_is_told_apart(said: tuple[Screening, str, list[Path]]) -> None:
    found = said[0]
    # A busy machine may slow the last segments down; then a process does not count, and says so.
    counting = {name for one in found.ran if one.counts for name in one.order}
    kept = {name: "ok" if name in counting else "waiting" for name in ("no_op", "slow", "other")}
    assert {each.variant: each.status for each in found.variants} == {
        **kept, "doubles": "diverged", "killed": "crash",
        "unavailable": "unavailable", "qwen_fused": "unavailable",
    }  # fmt: skip
    assert row(found, "killed").reason == "killed by SIGKILL"
    assert row(found, "unavailable").reason == "needs a machine that is not here"
    assert "not on cpu" in str(row(found, "qwen_fused").reason)
    matched = row(found, "doubles").matched
    assert matched is not None
    assert matched < REQUEST.tokens
    assert {each.variant for each in found.variants[:3]} == {*kept}, "what may have a ratio comes first"


def test_the_process_is_the_unit_and_variables_have_processes_of_their_own(
    said: tuple[Screening, str, list[Path]],
) -> None:
    found = said[0]
    done = [one for one in found.ran if one.reason is None or "ended it" not in one.reason]
    assert [one.env for one in done] == [{}, {"ZMLX_OTHER": "1"}]
    assert [one.reason for one in found.ran if one not in done] == ["killed ended it"]
    assert done[1].order == ("baseline", "other", "null")
    for name in ("slow", "other"):
        ratio = row(found, name).ratio
        counting = [one.number for one in done if one.counts and name in one.order]
        assert (ratio is None and not counting) or (ratio is not None and list(ratio.blocks) == counting)
    assert [one.env for one in found.surroundings] == [{}, {"ZMLX_OTHER": "1"}]


def test_what_is_dropped_is_said_when_it_is(said: tuple[Screening, str, list[Path]]) -> None:
    lines = said[1].splitlines()
    at = {key: next(i for i, line in enumerate(lines) if key in line) for key in ("qwen_fused", "doubles", "killed")}
    ends = [i for i, line in enumerate(lines) if line.startswith("process") and "left" in line]
    assert at["qwen_fused"] < ends[0]
    assert at["killed"] < ends[0]
    assert at["doubles"] < ends[1]


def test_nothing_is_written(said: tuple[Screening, str, list[Path]], planted: Workspace) -> None:
    assert files(planted) == said[2]
    assert not planted.matrix.exists()


def test_the_answer_is_what_its_schema_says(said: tuple[Screening, str, list[Path]]) -> None:
    found = said[0]
    assert KINDS["screen"].model_validate_json(found.model_dump_json()) == found
    assert (found.state, found.prompt, found.tokens) == ("finished", "sea", 8)


def made(planted: Workspace, **changes: object) -> Screen:
    """A screening of no_op, slow and other whose processes a test makes up."""
    screen = run.prepare(planted, replace(REQUEST, variants=("qwen_fused",)))
    catalog = screen.catalog
    names = ("no_op", "slow", "other")
    asked = replace(REQUEST, variants=names, processes=3, **changes)  # type: ignore[arg-type]
    variants = {name: catalog.resolve(name) for name in names}
    return Screen(asked, screen.timeouts, catalog, screen.located, screen.machine, screen.policy, variants, {})


def test_orders_are_reversed_in_every_second_process(planted: Workspace) -> None:
    found = [*made(planted).sequence()]
    other = (("ZMLX_OTHER", "1"),)
    assert [env for env, _ in found] == [(), other, other, (), (), other]
    orders = [order for env, order in found if not env]
    assert {*orders[0]} == {"no_op", "slow"}
    assert orders[1] == orders[0][::-1]


def ran(
    screen: Screen,
    gains: dict[str, float],
    *,
    env: run.Variables = (),
    last: float = 0.0,
    ids: int = 1,
    all_of_it: float = 0.0,
) -> Process:
    """Add an ended process: the arms' gains, that of its last stock segment, a token of that one, that of all."""
    times = {"baseline": 0.0, **gains, "null": 0.0}
    order = [*times, *reversed(times)]
    found = Process(len(screen.processes) + 1, env, tuple(gains))
    for place, arm in enumerate(order):
        step = 1e7 / (1 + all_of_it) / (1 + times[arm] + (last if place == len(order) - 1 else 0.0))
        found.ran.segments.append(Segment(arm, tuple(round(step * at) for at in range(30))))
        if arm in ("baseline", "null"):
            tokens = (7, ids if place == len(order) - 1 else 1)
            found.ran.answers.setdefault(arm, []).append(tokens)
    found.ran.done = True
    screen.processes.append(found)
    screen.judge(found)
    return found


def test_a_process_whose_stock_segments_differ_is_dropped_and_named(planted: Workspace) -> None:
    screen = made(planted)
    ran(screen, {"no_op": 0.05, "slow": -0.1})
    drifted = ran(screen, {"no_op": 0.9, "slow": -0.1}, last=0.03)
    other_tokens = ran(screen, {"no_op": 0.9, "slow": -0.1}, ids=2)
    assert (drifted.counts, other_tokens.counts) == (False, False)
    strange = ran(screen, {"no_op": 0.9, "slow": -0.1})
    strange.ran.answers = {"baseline": [(7, 3), (7, 3)], "null": [(7, 3), (7, 3)]}
    screen.judge(strange)
    found = report(screen)
    ratio = row(found, "no_op").ratio
    assert ratio is not None
    assert ratio.blocks == (1,)
    told = io.StringIO()
    Console(width=100, file=told).print(show.view(found))
    assert show.QUIETER in " ".join(told.getvalue().split())
    shown = [show.dropped_line(one) for one in found.ran if one.reason]
    assert shown[0].startswith("process 2 does not count: its last stock segment ran at 1.030x [1.030, 1.030]")
    assert shown[1:] == [
        "process 3 does not count: its stock segments have different tokens",
        "process 4 does not count: its stock segments have other tokens than those of a process before",
    ]


def test_a_divergence_where_stock_is_not_itself_is_not_held_against_the_variant(planted: Workspace) -> None:
    screen = made(planted)
    dropped = Dropped(arm="slow", status="diverged", message="token 2 is not the stock model's", matched=1)
    found = Process(1, (), ("no_op", "slow"), Ran(dropped={"slow": dropped}, done=True))
    found.ran.answers = {"baseline": [(1, 2), (1, 3)]}
    screen.processes.append(found)
    screen.judge(found)
    assert "slow" not in screen.fallen
    found.ran.answers = {"baseline": [(1, 2), (1, 2)]}
    screen.judge(found)
    assert screen.fallen["slow"].status == "diverged"


def test_what_deserves_a_session_gets_its_command_and_the_undecided_theirs(planted: Workspace) -> None:
    screen = made(planted, layers=2)
    for gain in (-0.04, 0.1, 0.05):
        ran(screen, {"no_op": 0.06, "slow": gain})
    for _ in range(3):
        ran(screen, {"other": -0.2}, env=(("ZMLX_OTHER", "1"),))
    found = report(screen)
    assert {each.variant: each.advice for each in found.variants} == {"no_op": "session", "slow": "more", "other": "no"}
    command = "zmlx run qwen3 --variants no_op --checkpoint tiny --tokens 200 --tokens 1024"
    assert found.session == f"{command} --until-decided --at-most 40 --backend cpu --layers 2"
    asked = replace(REQUEST, batch=2, context=9)
    assert session_command(asked, "tiny", ["no_op"], [8], 40).endswith("--backend cpu --context 9 --batch 2")
    assert screen_command(asked, "tiny", ["no_op"], 2).endswith("--backend cpu --context 9 --batch 2")
    needed = row(found, "slow").needed
    assert needed is not None
    assert f"zmlx screen qwen3 --variants slow --checkpoint tiny --tokens 8 --processes {needed}" in str(found.again)
    shown = io.StringIO()
    Console(width=100, file=shown).print(show.view(found))
    text = shown.getvalue()
    assert "no_op" in text
    assert "1.060x [1.060, 1.060]" in text
    assert "no evidence" in text
    assert "stock under ZMLX_OTHER=1: 100.0 tok/s" in text


def test_the_session_may_take_as_many_blocks_as_the_noise_of_stock_asks_for(planted: Workspace) -> None:
    screen = made(planted)
    for slower in (0.0, 0.05, -0.04):
        ran(screen, {"no_op": 0.06, "slow": -0.3}, all_of_it=slower)
    command = report(screen).session
    assert command is not None
    at_most = int(command.split("--at-most ")[1].split()[0])
    assert 40 < at_most <= screen.policy.max_blocks


def test_variables_under_which_stock_says_something_else_make_their_variants_diverge(planted: Workspace) -> None:
    screen = made(planted)
    ran(screen, {"no_op": 0.0})
    found = Process(2, (("ZMLX_OTHER", "1"),), ("other",), Ran(done=True, answers={"baseline": [(7, 9), (7, 9)]}))
    screen.processes.append(found)
    screen.judge(found)
    assert screen.fallen["other"].matched == 1
    assert "under ZMLX_OTHER=1 the stock model's own tokens" in screen.fallen["other"].reason


def test_a_stock_model_that_does_not_run_is_told_from_a_variant_that_does_not(planted: Workspace) -> None:
    screen = made(planted)
    alone = Process(1, (("ZMLX_OTHER", "1"),), ("other",), Ran(at="baseline", message="planted"))
    screen.processes.append(alone)
    assert screen.judge(alone) is False
    assert screen.fallen["other"].reason == "under ZMLX_OTHER=1 the stock model does not run: planted"
    later = ran(screen, {"no_op": 0.0, "slow": 0.0})
    later.ran.done, later.ran.at = False, "null"
    assert screen.judge(later) is False
    assert str(later.reason).startswith("the stock model failed in it (crash)")
    last = Process(3, (), ("no_op", "slow"), Ran(at="slow", status="oom", message="[malloc] no memory"))
    assert screen.judge(last) is True, "again, without slow"
    assert screen.fallen["slow"].status == "oom"
    with pytest.raises(CannotHere, match=r"the stock model does not run here \(crash\): planted"):
        screen.judge(Process(4, (), ("no_op",), Ran(message="planted")))


def test_it_waits_for_nobody_and_leaves_the_device_free(zmlx_inside: Zmlx, planted: Workspace) -> None:
    command = ["screen", "qwen3", "--variants", "no_op", "--checkpoint", "tiny", "--backend", "cpu"]
    command += ["--workspace", str(planted.root)]
    with device.hold("cpu"):
        done = zmlx_inside(*command)
        assert (done.returncode, "measures on this device (cpu)" in done.stderr) == (4, True)
    done = zmlx_inside(*command, "--tokens", "1000000", "--prompts", str(planted.root / "prompts.toml"))
    assert (done.returncode, "exceed the context" in done.stderr) == (3, True)
    assert device.holder("cpu") is None


def test_while_it_runs_a_terminal_shows_the_table_so_far(planted: Workspace) -> None:
    screen = made(planted)
    told = io.StringIO()
    with Progress(screen, Console(file=told, width=100, force_terminal=True)) as progress:
        first = ran(screen, {"no_op": 0.06, "slow": -0.2})
        progress.started(first)
        progress.ended(first)
        second = Process(2, (("ZMLX_OTHER", "1"),), ("other",), Ran(at="other"))
        second.ran.segments = [
            Segment(arm, tuple(range(0, 30 * ns, ns))) for arm, ns in (("baseline", 11), ("null", 11))
        ]
        second.ran.segments.append(Segment("other", tuple(range(0, 300, 10))))
        screen.processes.append(second)
        progress.started(second)
        shown = io.StringIO()
        Console(file=shown, width=100).print(progress.view())
    text = shown.getvalue()
    assert "process 2 of 6  other  about" in text
    assert re.search(r"no_op +1\.060x +1 +- +undecided", text)
    assert re.search(r"other +1\.100x +0 +- +unfinished process", text)
    assert "process 1 ended" not in told.getvalue(), "what is drawn is not said as well"


def test_bad_input_is_one_line(zmlx_inside: Zmlx, planted: Workspace) -> None:
    place = ("--workspace", str(planted.root), "--checkpoint", "tiny", "--backend", "cpu")
    for wrong, named in (
        (("--processes", "0"), "--processes 0: must be from 1 to 200"),
        (("--tokens", "1"), "--tokens 1: must be at least 2"),
        (("--timeout", "0"), "--timeout 0: must be above 0"),
        (("--variants", "no_such"), "unknown qwen3 variant 'no_such'"),
        (("--variants", ","), "--variants: names no variant"),
    ):
        done = zmlx_inside("screen", "qwen3", *wrong, *place)
        assert done.returncode == 3
        assert named in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_where_nothing_runs_the_machine_cannot_do_it(zmlx_inside: Zmlx, planted: Workspace) -> None:
    place = ("--workspace", str(planted.root), "--checkpoint", "tiny", "--backend", "cpu")
    done = zmlx_inside("screen", "qwen3", "--variants", "qwen_fused", "--json", *place)
    assert done.returncode == 4
    found = Screening.model_validate_json(done.stdout)
    assert [each.status for each in found.variants] == ["unavailable"]
    assert "unavailable: moe_router.stock runs on metal, cuda, not on cpu:  qwen_fused" in done.stderr


def test_an_interrupt_leaves_what_is_known(planted: Workspace, tmp_path: Path, small: str) -> None:
    names = ("doubles", "sleeps")
    seed = next(s for s in range(20) if block_orders(names, 1, f"{s}:()")[0] == names)
    command = [
        *ZMLX, "screen", "qwen3", "--variants", ",".join(names), "--checkpoint", small, "--backend", "cpu",
        "--tokens", "8", "--processes", "1", "--prompts", str(planted.root / "prompts.toml"), "--seed", str(seed),
        "--json", "--workspace", str(planted.root),
    ]  # fmt: skip
    told = (tmp_path / "told").open("w+")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=told, text=True, env=QUIET_ENV) as process:
        deadline = time.monotonic() + 120
        while "the stock model's: doubles" not in (tmp_path / "told").read_text():
            assert time.monotonic() < deadline
            assert process.poll() is None, (tmp_path / "told").read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    told.close()
    assert process.returncode == 130
    found = json.loads(out)
    assert found["state"] == "interrupted"
    assert {each["variant"]: each["status"] for each in found["variants"]} == dict.fromkeys(names, "waiting")
    assert found["ran"][0]["reason"] == "it did not come to its end"
    assert "not measured: " in (tmp_path / "told").read_text()
