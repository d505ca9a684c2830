"""A time of day that is set while a session runs is recorded, as far as the clock that nobody sets can tell."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.session.conftest import Finished
from zmlx_bench.machine.clock import since_boot_s
from zmlx_bench.report import words
from zmlx_bench.session.clock import Reading, set_by
from zmlx_bench.session.recorded import recorded

BEGAN = datetime(2030, 1, 1, 12, tzinfo=UTC)


def told(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reading(after_s: float, off_s: float = 0.0, *, resumed: int = 0, booted_s: float | None = 500.0) -> Reading:
    """What both clocks say so long after the beginning, where the time of day is off by `off_s`."""
    since = None if booted_s is None else booted_s + after_s
    return Reading(resumed, told(BEGAN + timedelta(seconds=after_s + off_s)), since)


def test_the_clock_that_nobody_sets_goes_on() -> None:
    before = since_boot_s()
    assert 0 < before <= since_boot_s()


@pytest.mark.parametrize(
    ("offs", "expected"),
    [
        ((0, 0, 0), 0.0),
        ((0, -7200, -7200), -7200.0),
        ((0, 3600, 0), 3600.0),
        ((0, 30, -90, 10), -90.0),
        ((12, 12, 12), 0.0),
        ((0, 90, -90), 90.0),
        ((0, 0.1), 0.1),
    ],
)
def test_what_is_furthest_from_where_it_began(offs: tuple[float, ...], expected: float) -> None:
    assert set_by(reading(60.0 * at, off) for at, off in enumerate(offs)) == expected


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=8), st.floats(-1e5, 1e5))
def test_one_step_is_found_whenever_it_comes(times: list[float], step: float) -> None:
    readings = [reading(0.0), *(reading(at, step) for at in sorted(times))]
    assert set_by(readings) == pytest.approx(step, abs=0.003)


def test_logs_from_before_tell_nothing() -> None:
    assert set_by([reading(at, -at, booted_s=None) for at in range(3)]) is None
    assert set_by([]) is None
    assert set_by([reading(0, booted_s=None), reading(60), reading(120, 50)]) == 50.0


def test_a_machine_that_was_started_anew_has_another_count_and_time_that_goes_back_is_seen() -> None:
    begun = [reading(0), reading(600)]
    assert set_by([*begun, reading(9000, resumed=1, booted_s=-8990), reading(9060, resumed=1, booted_s=-8990)]) == 0.0
    assert set_by([*begun, reading(700, -1000, resumed=1, booted_s=-690)]) == -900.0


def test_what_is_taken_up_is_held_to_where_it_began_and_to_the_last_time_before() -> None:
    anew = [reading(9000, resumed=1, booted_s=-8990), reading(9060, 50, resumed=1, booted_s=-8990)]
    assert set_by([reading(0), reading(600), *anew]) == 50.0
    begun = [reading(0), reading(60, 100), reading(61, -90)]
    assert set_by([*begun, reading(62, -90, resumed=1, booted_s=-52)]) == 100.0


def test_a_session_records_it(undisturbed: Finished, tmp_path: Path) -> None:
    session, events = undisturbed.session, undisturbed.folder / "events.jsonl"
    assert session.since_boot_s is not None
    assert session.clock_set_s == recorded(session, events).clock_set_s
    assert session.clock_set_s is not None
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    half = len(session.plan.jobs) // 2
    for line in lines:
        if line["kind"] != "event" and line["job"] >= half:
            line["time"] = told(datetime.fromisoformat(line["time"]) - timedelta(hours=2))
    moved = tmp_path / "events.jsonl"
    moved.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = recorded(session, moved).clock_set_s
    assert found == pytest.approx(session.clock_set_s - 7200, abs=1)
    assert words.clock_set(found) == "the time of day was set by -7200 s while it ran"
    assert words.clock_set(None) == words.clock_set(0.4) == ""
