"""A session is named before it exists: what was killed in between begins anew, and nothing is measured twice."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench import workspace as workspaces
from zmlx_bench.session.request import Request
from zmlx_bench.session.taken_up import named, taken_up


def test_a_name_without_a_session_is_none_and_no_word_of_it(tmp_path: Path) -> None:
    place = workspaces.create(tmp_path / "ws")
    name, request = named(Request(family="qwen3"))
    assert request.session == name
    said: list[str] = []
    assert taken_up(place, name, "the version", share_device=False, say=said.append) is None
    assert taken_up(place, None, "the version", share_device=False, say=said.append) is None
    assert said == []


def test_a_session_that_cannot_be_read_is_said_and_measured_anew(tmp_path: Path) -> None:
    place = workspaces.create(tmp_path / "ws")
    name, _ = named(Request(family="qwen3"))
    folder = place.session(name)
    folder.mkdir(parents=True)
    (folder / "session.json").write_text("{")
    said: list[str] = []
    assert taken_up(place, name, "the version", share_device=False, say=said.append) is None
    assert len(said) == 1
    assert name in said[0]
    assert said[0].endswith("; the version is measured anew")
