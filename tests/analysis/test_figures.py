"""All figures of a capsule together: which runs each rests on."""

from __future__ import annotations

import math

import pytest

from tests.analysis.runs import OUTPUTS, at_speed, failed, generation, run
from zmlx_bench.analysis.figures import clock_disagreement, derive, worst_status
from zmlx_bench.schema.figures import Figures
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.schema.run import RunSet


def derived(runs: RunSet, *, null_arm: bool = True) -> Figures:
    return derive(runs, RunSet(), OUTPUTS, 11, ["p"], null_arm)


def test_every_arm_has_its_own_figure() -> None:
    runs = RunSet(
        baseline=(at_speed(10, 1, "baseline"), at_speed(12, 2, "baseline")),
        null=(at_speed(11, 1, "null"), at_speed(13, 2, "null")),
        incumbent=(at_speed(15, 1, "incumbent"), at_speed(15, 2, "incumbent")),
        variant=(at_speed(20, 1), at_speed(30, 2)),
    )
    found = derived(runs)
    assert found.decode_tok_s == pytest.approx(25)
    assert found.baseline_decode_tok_s == pytest.approx(11)
    assert found.null_decode_tok_s == pytest.approx(12)
    assert found.incumbent_decode_tok_s == pytest.approx(15)
    assert found.speedup is not None
    assert found.speedup.logs == pytest.approx([math.log(20 / math.sqrt(110)), math.log(30 / math.sqrt(156))])
    assert found.null is not None
    assert found.null.logs == pytest.approx([math.log(1.1), math.log(13 / 12)])
    assert found.incumbent is not None
    assert found.incumbent.logs == pytest.approx([math.log(20 / 15), math.log(2)])
    assert found.fidelity is not None
    assert found.fidelity.verdict == "identical"


def test_without_a_null_arm_the_baseline_alone_is_the_reference() -> None:
    found = derived(RunSet(baseline=(at_speed(10, 1),), variant=(at_speed(20, 1),)), null_arm=False)
    assert found.speedup is not None
    assert found.speedup.value == pytest.approx(2)
    assert found.null is None
    assert found.fidelity is not None
    assert found.fidelity.null_identical is None


def test_nothing_measured_is_null_and_never_zero() -> None:
    found = derived(RunSet(baseline=(at_speed(10, 1),), variant=(failed(),)))
    empty = {"decode_tok_s", "speedup", "null", "incumbent", "prefill", "latency", "fidelity", "ttft_ms"}
    assert {name for name in empty if getattr(found, name) is None} == empty
    assert found.calls_per_token == {}


def test_the_clocks_largest_disagreement_counts() -> None:
    runs = [run(generation(decode_s=1.0, supervisor_decode_s=s)) for s in (1.0, 0.8, 1.1)]
    assert clock_disagreement(runs) == pytest.approx(0.25)
    assert clock_disagreement([failed(), run(generation((1,)))]) is None


@pytest.mark.parametrize(
    ("states", "throttled", "busy"),
    [
        ([], None, None),
        ([MachineState()], None, None),
        ([MachineState(throttled=False, cpu_busy_by_others=0.5), MachineState(cpu_busy_by_others=0.25)], False, 0.5),
        ([MachineState(throttled=False), MachineState(throttled=True)], True, None),
    ],
)
def test_the_machines_state_around_any_run_counts(
    states: list[MachineState], throttled: bool | None, busy: float | None
) -> None:
    found = derived(RunSet(variant=tuple(run(block=i, after=state) for i, state in enumerate(states, 1))))
    assert (found.throttled, found.busy_by_others) == (throttled, busy)


def test_calls_come_from_a_run_that_worked() -> None:
    found = derived(RunSet(variant=(failed(1), run(block=2, calls_per_token={"combine": 4}))))
    assert found.calls_per_token == {"combine": 4}


def test_the_gravest_status_is_the_capsules() -> None:
    assert worst_status([]) == "ok"
    assert worst_status([run(), failed()]) == "crash"
    oom = run(generations=(), status="oom", message="no memory")
    assert worst_status([failed(), oom, run()]) == "oom"


def test_energy_is_a_tokens_after_the_first_and_unknown_without_a_counter() -> None:
    counted = tuple(run(block=block, energy_j=joules) for block, joules in ((1, 20.0), (2, 30.0), (3, 90.0)))
    stock = (run(block=1, role="baseline", energy_j=None), run(block=2, role="baseline", energy_j=50.0))
    found = derived(RunSet(variant=(*counted, failed(4)), baseline=stock), null_arm=False)
    assert (found.energy_j_per_token, found.baseline_energy_j_per_token) == (3.0, 5.0)
    assert derived(RunSet(variant=(run(),), baseline=(run(role="baseline"),))).energy_j_per_token is None
