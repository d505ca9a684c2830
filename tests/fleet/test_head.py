"""The head with scripted nodes: everything is collected once, whatever it was killed at, and the reasons are told."""

from __future__ import annotations

import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fleet.scripted import START, Clock, Collected, Scripted, device, head_of, place_of, question, work_off
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.fleet import journal
from zmlx_bench.fleet.items import Terms
from zmlx_bench.fleet.journal import Place
from zmlx_bench.fleet.nodes import Report
from zmlx_bench.fleet.parcel import hash_of
from zmlx_bench.fleet.show import lines, standing
from zmlx_bench.schema.fleet import Collected as CollectedEvent
from zmlx_bench.schema.fleet import Lost
from zmlx_bench.workspace import Workspace


def collected_in(place: Place) -> list[str]:
    return [one.session for one in journal.read(place.journal) if isinstance(one, CollectedEvent)]


def test_two_kinds_of_devices_and_two_families_are_eight_sessions(tmp_path: Path) -> None:
    nodes, collected = Scripted(Clock()), Collected()
    nodes.add(device("a"), device("b"), device("c", kind="Other"))
    place = place_of(tmp_path, "qwen3", "glm47")
    head = head_of(place, nodes, collected)
    work_off(head, nodes)
    head.close()
    assert len(collected.sessions) == len(set(collected.sessions)) == 8
    assert collected_in(place) == collected.sessions
    assert len(nodes.started) == 8
    # Nothing waits for the hour that another could use: two times 10 minutes and an hour, and the steps' delay.
    assert nodes.clock.now - START < 600 * 4 + 3600 + 1200
    head = head_of(place, nodes, collected)
    head.step()
    head.close()
    assert nodes.held == {}, "a node keeps nothing that is collected"


def test_a_head_killed_at_any_byte_of_its_journal_goes_on(tmp_path: Path) -> None:
    place = place_of(tmp_path / "whole", "qwen3", "glm47")
    nodes = Scripted(Clock())
    nodes.add(device("a"), device("b", kind="Other"))
    head = head_of(place, nodes, Collected())
    work_off(head, nodes)
    head.close()
    whole = place.journal.read_bytes()
    seeded = random.Random(7)
    for cut in [0, 1, len(whole) - 1, *(seeded.randrange(len(whole)) for _ in range(25))]:
        copy = place_of(tmp_path / str(cut), "qwen3", "glm47")
        copy.journal.write_bytes(whole[:cut])
        collected = Collected()
        collected.sessions += collected_in(copy)
        nodes = Scripted(Clock(START + 100_000))
        nodes.add(device("a"), device("b", kind="Other"))
        head = head_of(copy, nodes, collected)
        work_off(head, nodes)
        head.close()
        assert len(collected.sessions) == len(set(collected.sessions)) == 8, f"cut at byte {cut}"
        assert sorted(collected_in(copy)) == sorted(collected.sessions)


def test_heads_that_are_killed_again_and_again_lose_nothing_of_what_runs(tmp_path: Path) -> None:
    """Each head lives for a few steps; what its nodes run goes on meanwhile."""
    nodes, collected = Scripted(Clock()), Collected()
    nodes.add(device("a"), device("b"), device("c", kind="Other"))
    place = place_of(tmp_path, "qwen3", "glm47")
    seeded = random.Random(3)
    for _ in range(300):
        head = head_of(place, nodes, collected)
        for _ in range(seeded.randrange(1, 5)):
            head.step()
            nodes.clock.now += 50
        done = head.scheduler.left == 0
        head.close()
        if done:
            break
    assert len(collected.sessions) == len(set(collected.sessions)) == 8
    assert len(nodes.started) == 8, "no session was begun again for want of a head"


@pytest.mark.parametrize("seed", range(4))
def test_nodes_that_come_and_go_lose_nothing(tmp_path: Path, seed: int) -> None:
    nodes, collected = Scripted(Clock(), takes_s=200), Collected()
    every = [device("a"), device("b"), device("c", kind="Other"), device("d", kind="Other")]
    nodes.add(*every)
    seeded = random.Random(seed)
    nodes.ends = lambda _work, _time: seeded.choice(["finished"] * 6 + ["interrupted", "taken", "changed"])
    place = place_of(tmp_path, "qwen3", "glm47", gap_s=100.0)
    head = head_of(place, nodes, collected, Terms(starts=100, patience_s=2000))
    for _ in range(2000):
        head.step()
        nodes.clock.now += 20
        if head.scheduler.left == 0:
            break
        one = seeded.choice(every)
        if one.device in nodes.there and len(nodes.there) > 2 and seeded.random() < 0.05:
            nodes.lose(one.device)
        elif one.device not in nodes.there and seeded.random() < 0.3:
            nodes.add(one)
    head.close()
    assert head.scheduler.left == 0
    assert [item.state for item in head.scheduler.items.values()] == ["collected"] * 8
    assert len(collected.sessions) == len(set(collected.sessions)) == 8


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"zmlx": "9.9"}, "zmlx 9.9 is there and"),
        ({"code": "d" * 64}, "its zmlx measures by other code"),
        ({"problems": ("memory: 0.1 GB free",)}, "memory: 0.1 GB free"),
    ],
)
def test_a_node_that_cannot_measure_for_this_head_is_told_why(
    tmp_path: Path, other: dict[str, object], why: str
) -> None:
    nodes = Scripted(Clock())
    nodes.add(device("a", **other), device("b"))
    place = place_of(tmp_path)
    head = head_of(place, nodes, Collected())
    work_off(head, nodes)
    head.close()
    assert {name for _, name in nodes.started} == {"b/cpu-0"}
    shown = "\n".join(lines(place.run(), standing(place), nodes.clock.now, headed=False, over=True))
    assert f"a/cpu-0: not used: {why}" in shown


def test_that_other_processes_go_before_a_devices_sessions_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    nodes = Scripted(Clock())
    nodes.add(device("a", nice=15), device("b"))
    head = head_of(place_of(tmp_path), nodes, Collected())
    head.say = said.append
    head.step()
    head.close()
    assert [line for line in said if "nice" in line] == [
        "a/cpu-0: Made GPU (cpu), 2 cores, mlx 0.0.1, mlx-lm 0.0.2; its sessions run at nice 15: start them "
        "at nice 0 (with Ray: RAY_worker_niceness=0), or measure with nothing else on the machine"
    ]


def test_another_mlx_is_a_group_of_its_own(tmp_path: Path) -> None:
    nodes, collected = Scripted(Clock()), Collected()
    nodes.add(device("a"), device("b", mlx="0.0.9"))
    head = head_of(place_of(tmp_path), nodes, collected)
    work_off(head, nodes)
    head.close()
    assert len(collected.sessions) == 4
    assert {item.group for item in head.scheduler.items.values()} == {
        "Made GPU (cpu), 2 cores, mlx 0.0.1, mlx-lm 0.0.2", "Made GPU (cpu), 2 cores, mlx 0.0.9, mlx-lm 0.0.2",
    }  # fmt: skip


def test_only_the_devices_of_the_filter_are_used(tmp_path: Path) -> None:
    nodes, collected = Scripted(Clock()), Collected()
    nodes.add(device("a"), device("b", kind="Other"))
    head = head_of(place_of(tmp_path, devices="Other"), nodes, collected)
    work_off(head, nodes)
    head.close()
    assert {name for _, name in nodes.started} == {"b/cpu-0"}


def test_the_status_says_what_runs_what_waits_and_what_was_given_up(tmp_path: Path) -> None:
    nodes = Scripted(Clock())
    nodes.add(device("a"), device("b", kind="Other"))
    nodes.ends = lambda work, _time: "refused" if "Other" in work.device.group else "finished"
    place = place_of(tmp_path)
    head = head_of(place, nodes, Collected())
    for _ in range(12):
        head.step()
        nodes.clock.now += 60
    shown = "\n".join(lines(place.run(), standing(place), nodes.clock.now, headed=True, over=False))
    assert "1 of 4 sessions collected, 0 running, 0 arriving, 1 waiting, 2 given up; a head is at it" in shown
    assert "in 58 min: the policy wants time between two sessions" in shown
    assert "given up: session 1 of qwen3 on Other" in shown
    assert "as the script says: refused" in shown
    nodes.clock.now += 3600
    head.step()
    nodes.clock.now += 300
    head.close()
    shown = "\n".join(lines(place.run(), standing(place), nodes.clock.now, headed=True, over=False))
    assert "a/cpu-0: session 2 of qwen3 for 5 min" in shown
    killed = "\n".join(lines(place.run(), standing(place), nodes.clock.now, headed=False, over=False))
    assert "1 cut short, 0 arriving" in killed, "a Ray of its own ends with its head"
    assert "a/cpu-0: session 2 of qwen3 cut short" in killed
    place.reached_at("10.0.0.1:6379")
    left = "\n".join(lines(place.run(), standing(place), nodes.clock.now, headed=False, over=False))
    assert "1 running" in left
    assert len(shown.splitlines()) < 24


def test_what_the_head_stops_goes_on_with_the_next(tmp_path: Path) -> None:
    nodes, collected = Scripted(Clock()), Collected()
    nodes.add(device("a"))
    place = place_of(tmp_path)
    head = head_of(place, nodes, collected)
    head.step()
    (session,) = head.scheduler.running
    nodes.clock.now += 30
    head.step()
    head.stop()
    head.close()
    assert nodes.running == {}
    assert nodes.held == {session: "a/cpu-0"}
    head = head_of(place, nodes, collected)
    work_off(head, nodes)
    head.close()
    assert nodes.started[:2] == [(session, "a/cpu-0")] * 2
    assert collected.sessions[0] == session


def test_collecting_starts_nothing(tmp_path: Path) -> None:
    nodes, collected = Scripted(Clock()), Collected()
    nodes.add(device("a"), device("b"))
    place = place_of(tmp_path, "qwen3", "glm47")
    head = head_of(place, nodes, collected)
    head.step()
    head.close()
    first, second = (session for session, _ in nodes.started)
    del nodes.running[first]
    nodes.finished.add(first)
    head = head_of(place, nodes, collected)
    head.until_done(only_collect=True)
    head.close()
    assert collected.sessions == [first]
    assert list(head.scheduler.running) == [second]
    assert len(nodes.started) == 2


def test_what_a_lost_node_had_finished_is_collected_when_it_is_back(tmp_path: Path) -> None:
    nodes, collected = Scripted(Clock()), Collected()
    one = device("a")
    nodes.add(one)
    place = place_of(tmp_path, sessions=1)
    head = head_of(place, nodes, collected)
    head.step()
    (session,) = head.scheduler.running
    head.scheduler.apply(Lost(at=nodes.clock.now, device=one.device))
    nodes.lose(one.device)
    nodes.finished.add(session)
    head.step()
    nodes.add(one)
    nodes.said[session] = Report(session, begun=True, outcome="finished", files={"session.json": 1})
    work_off(head, nodes)
    head.close()
    assert collected.sessions == [session]


def test_the_same_question_is_the_same_run_until_it_has_ended(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    again = place_of(tmp_path)
    other = place_of(tmp_path, "glm47")
    assert again.folder == place.folder
    assert other.folder != place.folder
    place.end()
    shutil.rmtree(other.folder)
    assert journal.runs(place.workspace)[-1].over
    with pytest.raises(UnusableInput, match="no fleet run has begun here"):
        journal.newest(type(place.workspace)(tmp_path / "elsewhere"))


def test_a_run_has_one_head(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    assert not place.headed()
    with place.alone():
        assert place.headed()
        with pytest.raises(CannotHere, match="another process is at fleet run"), place.alone():
            pass


def test_an_edited_journal_is_refused_with_its_line(tmp_path: Path) -> None:
    place = place_of(tmp_path)
    place.journal.write_text('{"event":"lost","at":1,"device":"a"}\n{"event":"flown","at":2}\n')
    with pytest.raises(UnusableInput, match=r"journal.jsonl: line 2: .*remove the run's folder"):
        list(journal.read(place.journal))


def test_commands_that_begin_at_once_are_one_run(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    asked = question("qwen3", parcel=hash_of(b"parcel"))
    with ThreadPoolExecutor(4) as pool:
        begun = list(pool.map(lambda at: journal.begin(workspace, asked, b"parcel", START + at), range(4)))
    assert len(journal.runs(workspace)) == 1
    assert sorted(goes_on for _, goes_on in begun) == [False, True, True, True]
