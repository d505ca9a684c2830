"""What a screening does around its processes: kernels compiled before them, and what it says where few count."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.screen.test_screening import OTHER, made, ran
from zmlx_bench.measured.messages import Instructions, Prompt
from zmlx_bench.schema.figures import Ratio
from zmlx_bench.screen import process, run, show
from zmlx_bench.screen.process import Ran
from zmlx_bench.screen.report import report
from zmlx_bench.screen.run import Process
from zmlx_bench.session.ahead import REFUSED
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="module")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    found = make_workspace("no_op", "slow")
    with (found.variants / "qwen3.toml").open("a") as file:
        file.write(OTHER)
    return found


DRIFTED = Ratio(value=0.9, low=0.9, high=0.9, logs=(-0.105, -0.105), blocks=(1, 2))


class Watched:
    """An observer that notes what it is told, by the number of the process."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def started(self, one: Process) -> None:
        self.told.append(("started", one.number))

    def compiling(self, one: Process) -> None:
        self.told.append(("compiling", one.number))

    def changed(self, one: Process) -> None:
        pass

    def ended(self, one: Process) -> None:
        pass


@pytest.mark.parametrize(("batch", "compiled"), [(1, [("no_op", "slow"), ("other",)]), (2, [])])
def test_kernels_are_compiled_once_for_each_set_of_variables_and_not_before_mlx_has_its_own(
    planted: Workspace, monkeypatch: pytest.MonkeyPatch, batch: int, compiled: list[tuple[str, ...]]
) -> None:
    screen = made(planted, batch=batch)
    screen.prompts = (Prompt("sea", (1, 2, 3)),)
    asked: list[tuple[tuple[str, ...], str | None]] = []

    def compile_ahead(told: dict[str, Instructions], _: str, env: dict[str, str], *rest: Any) -> float | None:
        if not told:
            return None
        names = sorted(each.variant.name for each in told.values() if each.variant is not None)
        asked.append((tuple(names), env.get("ZMLX_OTHER")))
        begins: Callable[[], None] = rest[-1]
        begins()
        return 1.0

    def ended(told: list[Instructions], env: dict[str, str], *_: object) -> Ran:
        made_by_mlx = Path(env["TMPDIR"], "mlx", "1", "one.so")
        made_by_mlx.parent.mkdir(parents=True, exist_ok=True)
        made_by_mlx.write_text("code")
        return Ran(answers={"baseline": [(1,), (1,)], "null": [(1,), (1,)]}, done=True)

    monkeypatch.delenv(REFUSED, raising=False)
    monkeypatch.setattr(run, "gpu", lambda _: "cc-9.0")
    monkeypatch.setattr(run, "place", lambda **_: planted.root / "none" / "store")
    monkeypatch.setattr(run, "compile_ahead", compile_ahead)
    monkeypatch.setattr(process, "run", ended)
    watched = Watched()
    screen.complete(watched)
    assert {names for names, _ in asked} == {*compiled}
    assert len(asked) == len(compiled)
    assert dict(asked) == ({("no_op", "slow"): None, ("other",): "1"} if compiled else {})
    numbers = [number for what, number in watched.told if what == "compiling"]
    assert 1 not in numbers
    assert all(watched.told.index(("compiling", n)) < watched.told.index(("started", n)) for n in numbers)
    assert len([what for what, _ in watched.told if what == "started"]) == len(screen.processes) == 6
    shutil.rmtree(planted.root / "none")


@pytest.mark.parametrize(
    ("counted", "processes", "said_so"),
    [
        (2, 3, "--processes 14 leave about 3 of each set of variables that count, at the 2 of 9 of now"),
        (0, 3, "a session of the few variants that matter drops no process"),
        (8, 4, "screen again."),
    ],
)
def test_how_many_processes_leave_enough_that_count(
    planted: Workspace, counted: int, processes: int, said_so: str
) -> None:
    screen = made(planted)
    ran(screen, {"no_op": 0.05, "slow": -0.1})
    found = report(screen)
    one = found.ran[0]
    of_nine = [one.model_copy(update={"number": n, "counts": n <= counted, "drift": DRIFTED}) for n in range(1, 10)]
    told = show.quieter(found.model_copy(update={"ran": tuple(of_nine), "processes": processes}))
    assert told.startswith(show.QUIETER)
    assert said_so in told
    assert ("--processes" in told) is ("--processes" in said_so)
    # Neither a set of variables that fared better nor what was dropped for another reason changes it.
    others = [one.model_copy(update={"env": {"ZMLX_OTHER": "1"}, "counts": True})] * 6
    others += [one.model_copy(update={"counts": False, "reason": "slow ended it", "drift": None})] * 4
    assert show.quieter(found.model_copy(update={"ran": (*of_nine, *others), "processes": processes})) == told
