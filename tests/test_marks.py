"""The order in which xdist is given the tests, and which of them it keeps together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests import marks
from tests.conftest import pytest_xdist_auto_num_workers


def item(place: str) -> Any:
    return SimpleNamespace(path=marks.TESTS / place)


def test_what_is_handed_out_first_exists() -> None:
    assert [name for name in marks.LONGEST if not (marks.TESTS / name).exists()] == []
    assert [name for name in marks.LONGEST if marks.group(name) != name] == [], "part of what is handed out whole"


def test_the_longest_come_first_and_the_others_keep_their_order() -> None:
    places = ["air/test_library.py", marks.LONGEST[3], "use/test_draft.py", "session/test_tally.py", "test_copies.py"]
    found = [places.index(each) for each in sorted(places, key=lambda place: marks.turn(item(place)))]
    assert found == [3, 1, 0, 2, 4]


def test_how_many_workers_is_xdists_to_say_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def workers(asked: str) -> int | None:
        config: Any = SimpleNamespace(option=SimpleNamespace(numprocesses=asked))
        return pytest_xdist_auto_num_workers(config)

    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    assert workers("logical") is None
    assert (workers("auto") or 0) >= 2
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "4")
    assert workers("auto") is None
