"""Which device measures what: exclusive devices, one session a host, an hour between two, and what faults lead to."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.fleet.play import Play, assigned, given_up
from tests.fleet.scripted import device
from zmlx_bench.fleet.items import Terms
from zmlx_bench.schema.fleet import Abandoned, Assigned, Lost, Outcome, Rejected


def test_the_hour_between_two_sessions_is_used_for_another_family() -> None:
    play = Play("qwen3", "glm47")
    assert assigned(play.sees(device("a"))) == [("s1-qwen3", "qwen3", 1, "a/cpu-0")]
    play.begins("s1-qwen3")
    play.at += 600
    assert assigned(play.ends("s1-qwen3")) == [("s2-glm47", "glm47", 1, "a/cpu-0")]
    assert play.collects("s1-qwen3") == []
    play.at += 600
    play.ends("s2-glm47")
    play.collects("s2-glm47")
    assert play.later(2999) == []
    assert assigned(play.later(2)) == [("s3-qwen3", "qwen3", 2, "a/cpu-0")]
    play.at += 601
    play.ends("s3-qwen3")
    assert assigned(play.collects("s3-qwen3")) == []
    assert assigned(play.decides()) == []
    assert play.scheduler.left == 1


def test_a_kind_of_device_is_asked_once_whichever_of_its_devices_answers() -> None:
    play = Play("qwen3", "glm47")
    first = play.sees(device("a"), device("b"))
    assert [one[1:] for one in assigned(first)] == [("qwen3", 1, "a/cpu-0"), ("glm47", 1, "b/cpu-0")]
    assert assigned(play.sees(device("c"))) == []
    assert assigned(play.sees(device("d", kind="Another"))) == [("s3-qwen3", "qwen3", 1, "d/cpu-0")]
    assert play.scheduler.left == 8


@pytest.mark.parametrize("per_host", [1, 2])
def test_so_many_sessions_run_on_a_host(per_host: int) -> None:
    play = Play("qwen3", "glm47", "other", per_host=per_host)
    play.sees(*(device("a", number) for number in range(3)))
    assert len(play.scheduler.running) == per_host
    first = next(iter(play.scheduler.running))
    play.ends(first)
    assert len(play.scheduler.running) == per_host
    assert first not in play.scheduler.running


def test_a_session_that_was_interrupted_goes_on_on_its_device() -> None:
    play = Play("qwen3", "glm47", terms=Terms(again_s=5))
    play.sees(device("a"))
    play.begins("s1-qwen3")
    assert play.ends("s1-qwen3", "interrupted", "killed") == []
    assert play.later(4) == []
    assert assigned(play.later(2)) == [("s1-qwen3", "qwen3", 1, "a/cpu-0")]


def test_a_node_that_is_gone_is_waited_for_then_the_session_is_done_anew_on_another() -> None:
    play = Play("qwen3", terms=Terms(patience_s=100))
    play.sees(device("a"))
    play.sees(device("b"))
    play.begins("s1-qwen3")
    assert play.happens(Lost(at=play.at, device="a/cpu-0")) == []
    assert play.later(99) == []
    abandoned, again = play.later(2)
    assert isinstance(abandoned, Abandoned)
    assert "a/cpu-0 is gone, for 1.6" in abandoned.why
    assert assigned([again]) == [("s2-qwen3", "qwen3", 1, "b/cpu-0")]
    assert not play.scheduler.has("s1-qwen3")
    # What the old node finishes is nobody's any more.
    play.sees(device("a"))
    play.ends("s1-qwen3")
    assert list(play.scheduler.arriving) == []


def test_a_node_that_comes_back_goes_on_with_what_it_has() -> None:
    play = Play("qwen3")
    play.sees(device("a"), device("b"))
    play.begins("s1-qwen3")
    play.happens(Lost(at=play.at, device="a/cpu-0"))
    play.at += 60
    assert assigned(play.sees(device("a"))) == [("s1-qwen3", "qwen3", 1, "a/cpu-0")]


def test_a_node_that_comes_back_with_another_mlx_begins_anew() -> None:
    play = Play("qwen3")
    play.sees(device("a"), device("b"))
    play.begins("s1-qwen3")
    play.happens(Lost(at=play.at, device="a/cpu-0"))
    found = assigned(play.sees(device("a", mlx="0.0.9")))
    # The session of before is done by the other device of its kind, and the new kind has sessions of its own.
    assert sorted(one[1:] for one in found) == [("qwen3", 1, "a/cpu-0"), ("qwen3", 1, "b/cpu-0")]
    assert not play.scheduler.has("s1-qwen3")


def test_a_device_that_is_another_kind_now_gets_nothing_of_the_one_it_was() -> None:
    """Without having been gone: a head that comes later finds it so."""
    play = Play("qwen3", "glm47", sessions=1)
    play.sees(device("a"), device("b"))
    found = assigned(play.sees(device("a", mlx="0.0.9")))
    assert [one[1:] for one in found] == [("qwen3", 1, "a/cpu-0")]
    assert assigned(play.ends("s2-glm47")) == [("s4-qwen3", "qwen3", 1, "b/cpu-0")]


def test_a_device_that_is_refused_where_it_measures_gets_nothing() -> None:
    play = Play("qwen3", sessions=1)
    play.sees(device("a"))
    assert assigned(play.sees(device("a"), refused="memory: 0.1 GB free")) == []
    assert [one[1:] for one in assigned(play.sees(device("a")))] == [("qwen3", 1, "a/cpu-0")]


def test_when_the_last_device_of_a_kind_is_gone_its_sessions_are_given_up() -> None:
    play = Play("qwen3", terms=Terms(patience_s=100))
    play.sees(device("a"))
    play.happens(Lost(at=play.at, device="a/cpu-0"))
    events = play.later(101)
    assert [(family, number) for family, number, _ in given_up(events)] == [("qwen3", 1), ("qwen3", 2)]
    first, second = (why for _, _, why in given_up(events))
    assert "no such device answers" in first
    assert "session 1 was given up: no such device answers" in second
    assert play.scheduler.left == 0


def test_a_device_that_somebody_else_has_is_tried_again_and_others_are_used_meanwhile() -> None:
    play = Play("qwen3", terms=Terms(taken_s=60))
    play.sees(device("a"))
    assert play.ends("s1-qwen3", "taken", "process 7 measures") == []
    assert assigned(play.sees(device("b"))) == [("s2-qwen3", "qwen3", 1, "b/cpu-0")]


def test_a_device_that_stays_taken_is_given_up_with_the_reason() -> None:
    play = Play("qwen3", terms=Terms(taken_s=60, patience_s=150))
    play.sees(device("a"))
    session, seen = "s1-qwen3", 0
    while play.scheduler.left:
        assert seen < 10
        for name, *_ in assigned(play.later(61) if seen else play.events):
            session = name
        if session in play.scheduler.running:
            play.ends(session, "taken", "process 7 measures on it")
        seen += 1
    assert given_up(play.events)[0][2] == "process 7 measures on it, for 2.5 minutes"


def test_a_device_that_was_half_at_it_and_is_taken_goes_on_later() -> None:
    play = Play("qwen3", terms=Terms(taken_s=60, again_s=5))
    play.sees(device("a"), device("b"))
    play.begins("s1-qwen3")
    play.ends("s1-qwen3", "interrupted", "killed")
    assert assigned(play.later(6)) == [("s1-qwen3", "qwen3", 1, "a/cpu-0")]
    assert play.ends("s1-qwen3", "taken", "process 7 measures") == []
    assert assigned(play.later(61)) == [("s1-qwen3", "qwen3", 1, "a/cpu-0")]


def test_what_cannot_be_done_on_a_device_is_tried_on_another_then_given_up() -> None:
    play = Play("qwen3")
    play.sees(device("a"), device("b"))
    assert assigned(play.ends("s1-qwen3", "refused", "no memory")) == [("s2-qwen3", "qwen3", 1, "b/cpu-0")]
    events = play.ends("s2-qwen3", "refused", "no memory either")
    assert given_up(events) == [
        ("qwen3", 1, "no memory either"), ("qwen3", 2, "session 1 was given up: no memory either"),
    ]  # fmt: skip


def test_what_failed_twice_on_a_device_is_tried_on_another_of_the_kind() -> None:
    play = Play("qwen3", "glm47")
    play.sees(device("a"), device("b"))
    assert assigned(play.ends("s1-qwen3", "failed", "killed")) == [("s3-qwen3", "qwen3", 1, "a/cpu-0")]
    assert play.ends("s3-qwen3", "failed", "killed") == []
    assert assigned(play.ends("s2-glm47")) == [("s4-qwen3", "qwen3", 1, "b/cpu-0")]
    assert assigned(play.ends("s4-qwen3", "failed", "killed")) == [("s5-qwen3", "qwen3", 1, "b/cpu-0")]
    assert given_up(play.ends("s5-qwen3", "failed", "no memory")) == [
        ("qwen3", 1, "no memory"), ("qwen3", 2, "session 1 was given up: no memory"),
    ]  # fmt: skip


def test_where_only_a_device_comes_back_that_cannot_do_it_nobody_waits_for_the_others() -> None:
    play = Play("qwen3", "glm47", sessions=1)
    play.sees(device("a"), device("b"))
    assert play.ends("s1-qwen3", "refused", "no memory") == []
    for one in ("a/cpu-0", "b/cpu-0"):
        play.happens(Lost(at=play.at, device=one))
    assert given_up(play.events) == []
    assert given_up(play.sees(device("a"))) == [("qwen3", 1, "no memory")]


def test_what_failed_once_is_tried_again_where_there_is_one_device() -> None:
    play = Play("qwen3")
    play.sees(device("a"))
    assert assigned(play.ends("s1-qwen3", "failed", "killed by SIGKILL")) == [("s2-qwen3", "qwen3", 1, "a/cpu-0")]
    assert given_up(play.ends("s2-qwen3", "failed", "killed again")) == [
        ("qwen3", 1, "killed again"), ("qwen3", 2, "session 1 was given up: killed again"),
    ]  # fmt: skip


def test_what_was_not_taken_from_a_node_is_measured_by_another() -> None:
    play = Play("qwen3")
    play.sees(device("a"), device("b"))
    play.ends("s1-qwen3")
    events = play.happens(Rejected(at=play.at, session="s1-qwen3", why="forged"))
    assert assigned(events) == [("s2-qwen3", "qwen3", 1, "b/cpu-0")]


def test_what_changed_under_a_session_makes_it_a_new_one() -> None:
    play = Play("qwen3")
    play.sees(device("a"))
    play.begins("s1-qwen3")
    assert assigned(play.ends("s1-qwen3", "changed", "mlx was 1")) == [("s2-qwen3", "qwen3", 1, "a/cpu-0")]


def test_it_is_not_started_for_ever() -> None:
    play = Play("qwen3", terms=Terms(again_s=1, starts=3, patience_s=10_000))
    play.sees(device("a"))
    for _ in range(3):
        play.ends("s1-qwen3", "interrupted", "killed by SIGSEGV")
        play.later(100)
    assert given_up(play.events)[0] == ("qwen3", 1, "started 3 times; last: killed by SIGSEGV")


def test_that_its_device_says_something_else_of_itself_is_no_start_of_what_runs_there() -> None:
    """As each head that comes back while a session takes the device's memory finds another amount of it free."""
    play = Play("qwen3", sessions=1, terms=Terms(starts=2))
    play.sees(device("a"), device("b"))
    for left in range(4):
        play.begins("s1-qwen3")
        play.later(60)
        play.sees(device("a").model_copy(update={"problems": (f"memory: 0.{left} GB free",)}))
    assert {one[0] for one in assigned(play.events)} == {"s1-qwen3"}
    play.ends("s1-qwen3", "interrupted", "killed")
    play.later(60)
    assert assigned(play.events)[-1] == ("s1-qwen3", "qwen3", 1, "a/cpu-0"), "its second start"


def test_what_one_device_cannot_bring_to_an_end_another_begins_anew() -> None:
    play = Play("qwen3", sessions=1, terms=Terms(again_s=1, starts=3, patience_s=10_000))
    play.sees(device("a"), device("b"))
    for _ in range(3):
        play.begins("s1-qwen3")
        play.ends("s1-qwen3", "interrupted", "no space left")
        play.later(100)
    (why,) = (one.why for one in play.events if isinstance(one, Abandoned))
    assert why == "started 3 times; last: no space left"
    assert assigned(play.events)[2:] == [("s1-qwen3", "qwen3", 1, "a/cpu-0"), ("s2-qwen3", "qwen3", 1, "b/cpu-0")]
    for _ in range(3):
        play.ends("s2-qwen3", "interrupted", "no space there either")
        play.later(100)
    assert given_up(play.events) == [("qwen3", 1, "started 3 times; last: no space there either")]


@pytest.mark.parametrize("last", ["failed", "changed", "refused", "rejected"])
def test_whatever_the_last_start_on_a_device_came_to_another_begins_anew(last: Outcome | Literal["rejected"]) -> None:
    play = Play("qwen3", sessions=1, terms=Terms(again_s=1, starts=2, patience_s=10_000))
    play.sees(device("a"), device("b"))
    play.ends("s1-qwen3", "interrupted", "killed")
    play.later(100)
    if last == "rejected":
        play.ends("s1-qwen3")
        play.happens(Rejected(at=play.at, session="s1-qwen3", why="forged"))
    else:
        play.ends("s1-qwen3", last, "no")
    assert assigned(play.events)[2:] == [("s2-qwen3", "qwen3", 1, "b/cpu-0")]
    play.ends("s2-qwen3", "interrupted", "killed there too")
    play.later(100)
    assert assigned(play.events)[3:] == [("s2-qwen3", "qwen3", 1, "b/cpu-0")], "its starts count anew there"


def test_a_node_that_loses_what_it_had_finished_does_it_again() -> None:
    play = Play("qwen3", terms=Terms(patience_s=100))
    play.sees(device("a"), device("b"))
    play.ends("s1-qwen3")
    play.happens(Lost(at=play.at, device="a/cpu-0"))
    events = play.later(101)
    assert [type(one) for one in events] == [Abandoned, Assigned]
    assert assigned(events) == [("s2-qwen3", "qwen3", 1, "b/cpu-0")]


def test_a_refused_device_gets_nothing() -> None:
    play = Play("qwen3")
    assert play.sees(device("a"), refused="zmlx 9 is there") == []
    assert play.scheduler.items == {}
