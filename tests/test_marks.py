"""The order in which xdist is given the tests, and which of them it keeps together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests import marks


def item(place: str) -> Any:
    return SimpleNamespace(path=marks.TESTS / place)


def test_what_is_handed_out_first_exists() -> None:
    assert [name for name in marks.LONGEST if not (marks.TESTS / name).exists()] == []
    assert [name for name in marks.LONGEST if marks.group(name) != name] == [], "part of what is handed out whole"


def test_the_longest_come_first_and_the_others_keep_their_order() -> None:
    places = ["air/test_library.py", marks.LONGEST[3], "use/test_draft.py", "session/test_tally.py", "test_copies.py"]
    found = [places.index(each) for each in sorted(places, key=lambda place: marks.turn(item(place)))]
    assert found == [3, 1, 0, 2, 4]
