"""Whatever happens in whichever order: the scheduler's state is sound, follows from its events, and comes to an end."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fleet.play import Play
from tests.fleet.scripted import device
from zmlx_bench.fleet.items import Terms
from zmlx_bench.fleet.scheduler import Scheduler
from zmlx_bench.schema.fleet import Collected, Lost, Outcome, Rejected

HAPPENS = st.lists(
    st.tuples(
        st.sampled_from(["finish", "interrupt", "taken", "refuse", "fail", "change", "collect", "reject", "lose", "see",
                         "begin", "wait", "move", "bar"]),
        st.integers(0, 5),
    ),
    max_size=60,
)  # fmt: skip
OUTCOMES: dict[str, Outcome] = {
    "finish": "finished", "interrupt": "interrupted", "taken": "taken", "refuse": "refused", "fail": "failed",
    "change": "changed",
}  # fmt: skip
FLEET = [device("a", 0), device("a", 1), device("b"), device("c", kind="Other"), device("d", kind="Other")]

MOVED = [one.model_copy(update={"mlx": "0.0.9"}) for one in FLEET]
"""The same devices after MLX was installed anew."""


def played(script: list[tuple[str, int]], per_host: int, after: Callable[[Play], None] = lambda _: None) -> Play:
    """Return the play at the end of the script; `after` looks at it after each step."""
    play = Play("qwen3", "glm47", terms=Terms(starts=3), per_host=per_host, gap_s=300.0)
    play.sees(*FLEET)
    for what, which in script:
        running, arriving = list(play.scheduler.running), list(play.scheduler.arriving)
        play.at += 7
        if what in OUTCOMES and running:
            play.ends(running[which % len(running)], OUTCOMES[what], what)
        elif what == "begin" and running:
            play.begins(running[which % len(running)])
        elif what == "collect" and arriving:
            play.collects(arriving[which % len(arriving)])
        elif what == "reject" and arriving:
            play.happens(Rejected(at=play.at, session=arriving[which % len(arriving)], why="bad"))
        elif what == "lose":
            play.happens(Lost(at=play.at, device=FLEET[which % len(FLEET)].device))
        elif what == "see":
            play.sees(FLEET[which % len(FLEET)])
        elif what == "move":
            play.sees(MOVED[which % len(FLEET)])
        elif what == "bar":
            play.sees(FLEET[which % len(FLEET)], refused="memory: 0.1 GB free")
        elif what == "wait":
            play.later(200.0 * which)
        after(play)
    return play


def assert_sound(play: Play) -> None:
    scheduler = play.scheduler
    busy = [slot for slot in scheduler.slots.values() if slot.item is not None]
    assert all(slot.alive and slot.refused is None for slot in busy)
    assert all(slot.item.group == slot.about.group for slot in busy if slot.item)
    assert len({id(slot.item) for slot in busy}) == len(busy)
    assert {slot.item.session for slot in busy if slot.item} == set(scheduler.running)
    for host in "abcd":
        assert sum(slot.about.host == host for slot in busy) <= scheduler.question.per_host
    for item in scheduler.items.values():
        assert (item.state == "running") == (item.session in scheduler.running)
        assert (item.state == "arriving") == (item.session in scheduler.arriving)
        assert item.device not in item.not_on
    assert scheduler.left == sum(not item.over for item in scheduler.items.values())
    collected = [one.session for one in play.events if isinstance(one, Collected)]
    assert len(collected) == len(set(collected))


@given(HAPPENS, st.integers(1, 2))
@settings(max_examples=150, deadline=None)
def test_whatever_happens_the_state_is_sound(script: list[tuple[str, int]], per_host: int) -> None:
    played(script, per_host, assert_sound)


@given(HAPPENS)
@settings(max_examples=50, deadline=None)
def test_whatever_happens_it_comes_to_an_end(script: list[tuple[str, int]]) -> None:
    play = played(script, 1)
    for _ in range(400):
        if play.scheduler.left == 0:
            break
        play.sees(*FLEET[:1])
        for session in list(play.scheduler.running):
            play.ends(session)
        for session in list(play.scheduler.arriving):
            play.collects(session)
        play.later(300)
    assert play.scheduler.left == 0
    # Sessions of one group keep their distance.
    for item in play.scheduler.items.values():
        before = play.scheduler.items.get((item.family, item.group, item.number - 1))
        if item.state == "collected":
            assert before is None or before.state == "collected"


@given(HAPPENS)
@settings(max_examples=50, deadline=None)
def test_the_events_are_the_whole_state(script: list[tuple[str, int]]) -> None:
    play = played(script, 1)
    play.decides()
    again = Scheduler(play.scheduler.question, play.scheduler.terms)
    for event in play.events:
        again.apply(event)
    assert again.items == play.scheduler.items
    assert again.slots == play.scheduler.slots
    assert again.decide(play.at, lambda family: f"new-{family}") == []
