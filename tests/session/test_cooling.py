"""`--cooldown cool`: a session waits until the machine is as cool as when it began, says so and records it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.planted import plant
from zmlx_bench import workspace as workspaces
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.machine import heat, state
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.session import api, cooling, runner
from zmlx_bench.session.request import Request, cooldown_of
from zmlx_bench.workspace import Workspace


def at(celsius: float | None) -> MachineState:
    return MachineState(temperature_c=celsius)


def under(pressure: str) -> MachineState:
    return MachineState(thermal_pressure=pressure, temperature_c=99.0)


@pytest.mark.parametrize(
    ("now", "then", "warmer"),
    [
        (at(60.0), at(50.0), True),
        (at(52.0), at(50.0), False),
        (at(40.0), at(50.0), False),
        (at(None), at(50.0), False),
        (at(60.0), at(None), False),
        (under("moderate"), under("nominal"), True),
        (under("moderate"), under("moderate"), False),
        (under("nominal"), at(50.0), True),
    ],
)
def test_what_is_warmer(now: MachineState, then: MachineState, warmer: bool) -> None:
    assert heat.warmer(now, then) is warmer


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cooling, "LOOK_S", 0.01)


def readings(*celsius: float) -> Callable[[], MachineState]:
    left: Iterator[float] = iter(celsius)
    last = celsius[-1]
    return lambda: at(next(left, last))


@pytest.mark.usefixtures("quickly")
def test_it_waits_until_it_is_cool_and_says_so() -> None:
    said: list[str] = []
    waited = cooling.wait(at(50.0), 60.0, readings(71.0, 60.0, 51.0), said.append)
    assert 0.02 <= waited < 60
    assert said == [
        "waiting until the machine is as cool as when the session began: 71 °C now, 50 °C then; at most 60 s"
    ]


def test_nothing_is_said_where_there_is_nothing_to_wait_for() -> None:
    said: list[str] = []
    assert cooling.wait(at(50.0), 60.0, readings(51.0), said.append) == 0.0
    assert said == []


@pytest.mark.usefixtures("quickly")
def test_the_limit_ends_the_wait() -> None:
    said: list[str] = []
    assert cooling.wait(at(50.0), 0.05, readings(71.0), said.append) >= 0.05
    assert said[-1] == "still 71 °C after 0.05 s: going on as it is"


def test_what_the_option_takes() -> None:
    assert cooldown_of("cool") == (0.0, True)
    assert cooldown_of("2.5") == (2.5, False)
    with pytest.raises(UnusableInput, match="--cooldown cold: must be a number of seconds, or `cool`"):
        cooldown_of("cold")


class Told:
    """An observer that keeps what the session waits for."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def waiting(self, text: str) -> None:
        self.said.append(text)

    def job_started(self, *_: Any) -> None: ...

    def event(self, *_: Any) -> None: ...

    def job_ended(self, *_: Any) -> None: ...


REQUEST = Request(
    family="qwen3", tokens=(2,), runs=1, variants=("no_op",), checkpoint="tiny", backend="cpu", null_arm=False,
    prompts="great_wall", cool=True, share_device=True,
)  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = workspaces.create(tmp_path / "workspace")
    plant(made, "no_op")
    return made


@pytest.mark.usefixtures("quickly")
def test_a_session_waits_before_its_timed_processes(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = state.read, []

    def read(*args: Any) -> MachineState:
        # Cool when it begins, warm after the warm-up for a few looks, and cool again.
        asked.append(args)
        return real(*args).model_copy(update={"temperature_c": 70.0 if 2 < len(asked) < 8 else 50.0})

    monkeypatch.setattr(state, "read", read)
    monkeypatch.setattr(runner, "WORKER_MODULE", "tests.reliability.standin")
    told = Told()
    session, made = api.complete(api.prepare(workspace, REQUEST, lambda *_: None), told)
    assert session.plan.cool_at_most_s == cooling.AT_MOST_S
    assert len(told.said) == 1
    capsule = capsule_files.read(workspace.session(session.session) / session.capsules[0].file)
    assert capsule.protocol.cool_at_most_s == cooling.AT_MOST_S
    waits = [run.waited_s for run in (*capsule.runs.baseline, *capsule.runs.variant)]
    assert all(wait is not None for wait in waits)
    assert sum(wait > 0 for wait in waits if wait is not None) == 1
    assert len(made) == 1
    assert check_workspace(workspace).findings == ()


def test_a_machine_that_does_not_tell_its_heat_is_refused_before_anything_is_written(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "read", lambda *_: MachineState(load_average=0.1))
    with pytest.raises(CannotHere, match=r"--cooldown cool: this machine tells neither .* such as --cooldown 30"):
        api.prepare(workspace, REQUEST, lambda *_: None)
    assert list(workspace.capsules.iterdir()) == []
