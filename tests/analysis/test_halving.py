"""Halving finds the place of a change, never passes a wrong answer for one, and never guesses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.analysis.halving import PATIENCE, Answer, Between, between, next_version

Ask = Callable[[int], Answer]


def search(count: int, ask: Ask) -> tuple[Between, list[int]]:
    answers: dict[int, Answer] = {}
    asked: list[int] = []
    while (at := next_version(count, answers)) is not None:
        answers[at] = ask(at)
        asked.append(at)
    return between(count, answers), asked


@given(st.integers(2, 300), st.data())
def test_the_place_is_found_in_the_logarithm_of_the_versions(count: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(1, count - 1))
    found, asked = search(count, lambda at: "bad" if at >= place else "good")
    assert (found.last_good, found.first_bad, found.found) == (place - 1, place, True)
    assert len(asked) <= (count - 2).bit_length()


@given(st.integers(2, 60), st.data())
def test_versions_that_do_not_run_are_passed_over_and_named(count: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(1, count - 1))
    broken = data.draw(st.sets(st.integers(1, count - 2))) if count > 2 else set()
    found, asked = search(count, lambda at: "skipped" if at in broken else "bad" if at >= place else "good")
    assert found.found
    assert len(asked) == len(set(asked))
    assert found.last_good < place <= found.first_bad
    assert set(range(found.last_good + 1, found.first_bad)) == set(found.skipped) <= broken


@given(st.integers(3, 60), st.data())
def test_what_cannot_be_told_is_never_guessed(count: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(1, count - 1))
    unclear = data.draw(st.sets(st.integers(1, count - 2)))
    found, asked = search(count, lambda at: "undecided" if at in unclear else "bad" if at >= place else "good")
    assert found.last_good < place <= found.first_bad
    assert set(found.undecided) == unclear.intersection(asked, range(found.last_good + 1, found.first_bad))
    assert found.found == (found.first_bad == found.last_good + 1)
    assert len(found.undecided) <= PATIENCE + 1
    if not found.found and len(found.undecided) <= PATIENCE:
        assert set(range(found.last_good + 1, found.first_bad)) <= set(found.undecided)


@given(st.integers(2, 40), st.data())
def test_whatever_is_answered_it_ends_and_asks_nothing_twice(count: int, data: st.DataObject) -> None:
    answer = st.sampled_from(["good", "bad", "undecided", "skipped"])
    found, asked = search(count, lambda _: data.draw(answer))
    assert len(asked) == len(set(asked)) <= count - 2
    assert 0 <= found.last_good < found.first_bad < count


@pytest.mark.parametrize(("count", "answers"), [(1, {}), (3, {0: "good"}), (3, {2: "bad"})])
def test_ends_are_not_asked_about(count: int, answers: dict[int, Answer]) -> None:
    with pytest.raises(ValueError, match="versions have no answers"):
        between(count, answers)
