"""What `--help` says: a sentence for every command, every summary whole, lists and defaults as the code has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from zmlx_bench.cli.artifacts import KINDS
from zmlx_bench.cli.main import app
from zmlx_bench.schema.plan import Timeouts


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, (*words, name))


COMMANDS = dict(_commands(get_command(app)))


def shown(words: tuple[str, ...]) -> str:
    command = COMMANDS[words]
    context = command.make_context(" ".join(("zmlx", *words)), ["--help"], resilient_parsing=True)
    return str(command.get_help(context))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "zmlx")
def test_a_command_says_what_it_does_and_cuts_nothing(words: tuple[str, ...]) -> None:
    _, _, below = shown(words).partition("\n\n")
    assert below.startswith("  "), "no sentence stands under the usage"
    assert not re.search(r"\.\.\.$", below, re.MULTILINE), "a summary that does not fit needs a short one"


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "zmlx")
def test_every_argument_and_option_is_explained(words: tuple[str, ...]) -> None:
    assert [one.name for one in COMMANDS[words].params if not getattr(one, "help", None)] == []


def test_every_artifact_is_named() -> None:
    text = shown(("schema",))
    assert [kind for kind in KINDS if not re.search(rf"\b{kind}\b", text)] == []


@pytest.mark.parametrize("words", [("run",), ("screen",)])
def test_the_silence_allowed_is_what_a_session_allows(words: tuple[str, ...]) -> None:
    limits = Timeouts()
    text = " ".join(shown(words).split())
    assert f"{limits.load_s:g} to load, {limits.prefill_s:g} to prefill, {limits.decode_s:g} a token" in text
