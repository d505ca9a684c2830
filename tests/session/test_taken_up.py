"""A session is named before it exists: what was killed in between begins anew, and nothing is measured twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from zmlx_bench import workspace as workspaces
from zmlx_bench.errors import UnusableInput
from zmlx_bench.session import store
from zmlx_bench.session.request import Request
from zmlx_bench.session.taken_up import taken_up_or_begun
from zmlx_bench.workspace import Workspace


def refused(place: Workspace, name: str | None) -> tuple[list[str], list[str]]:
    """Return the names noted before a session was refused that nobody could be asked for, and what was said."""
    noted: list[str] = []
    said: list[str] = []
    with pytest.raises(UnusableInput, match="--tokens 1: "):
        taken_up_or_begun(place, name, "the version", Request("qwen3", tokens=(1,)), noted.append, said.append)
    return noted, said


def test_a_name_without_a_session_is_none_and_no_word_of_it(tmp_path: Path) -> None:
    place = workspaces.create(tmp_path / "ws")
    name = store.new_name("qwen3")
    for known in (name, None):
        (fresh,), said = refused(place, known)
        assert "-qwen3-" in fresh
        assert fresh != name
        assert said == []


def test_a_session_that_cannot_be_read_is_said_and_measured_anew(tmp_path: Path) -> None:
    place = workspaces.create(tmp_path / "ws")
    name = store.new_name("qwen3")
    folder = place.session(name)
    folder.mkdir(parents=True)
    (folder / "session.json").write_text("{")
    (fresh,), (said,) = refused(place, name)
    assert fresh != name
    assert name in said
    assert said.endswith("; the version is measured anew")
