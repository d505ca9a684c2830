"""Token ids that were made before are taken where nothing that makes them has changed, and made anew elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from zmlx_bench.catalog import prompts
from zmlx_bench.checkpoints.resolve import TINY, Located, locate
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import facts
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.session import encode as encoding
from zmlx_bench.session import known_ids
from zmlx_bench.session.compiled import UNUSED_S

ASKED = prompts.load("great_wall,primes")
OTHER = prompts.load("great_wall,tcp_udp")
IDS = Encoded(chat_template=True, token_ids={prompt.id: (1, 2) for prompt in ASKED.prompt})


@pytest.fixture
def located(tmp_path: Path) -> Located:
    folder = Path(shutil.copytree(TINY / "tiny_qwen3", tmp_path / "checkpoint"))
    return locate("qwen3", str(folder), facts.read("cpu"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the process was asked for, which answers at once."""
    found: list[str] = []

    def encode(_: Located, of: PromptSet, **__: object) -> Encoded:
        found.append(",".join(prompt.id for prompt in of.prompt))
        return Encoded(chat_template=True, token_ids={prompt.id: (1, 2) for prompt in of.prompt})

    monkeypatch.setattr(known_ids, "encode", encode)
    return found


@pytest.mark.process
def test_a_second_session_starts_no_process(located: Located, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = ("The sea was calm.",)
    made = known_ids.encoded(located, ASKED, pieces, tmp_path / "kept")
    assert made.context_pieces
    monkeypatch.setattr(encoding, "MODULE", "a_module_that_is_not_there")
    assert known_ids.encoded(located, ASKED, pieces, tmp_path / "kept") == made
    with pytest.raises(CannotHere):
        known_ids.encoded(located, OTHER, pieces, tmp_path / "kept")


def change(name: str, content: str) -> Callable[[Path], int]:
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize(
    "changed",
    [change("tokenizer.json", "{}"), change("chat_template.jinja", "{{ messages }}"), change("special/one.txt", "x")],
    ids=["tokenizer", "template", "another file"],
)
def test_another_file_beside_the_weights_makes_others(
    located: Located, tmp_path: Path, asked: list[str], changed: Callable[[Path], int]
) -> None:
    (located.path / "special").mkdir()
    for _ in range(2):
        known_ids.encoded(located, ASKED, (), tmp_path / "kept")
    assert len(asked) == 1
    changed(located.path)
    known_ids.encoded(located, ASKED, (), tmp_path / "kept")
    assert len(asked) == 2


def test_another_version_or_text_makes_others(
    located: Located, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    known_ids.encoded(located, ASKED, (), kept)
    known_ids.encoded(located, ASKED, ("a piece",), kept)
    known_ids.encoded(located, OTHER, (), kept)
    monkeypatch.setattr(known_ids, "installed", lambda _: "9.9")
    known_ids.encoded(located, ASKED, (), kept)
    assert len(asked) == 4
    assert len(list(kept.iterdir())) == 4


def test_what_may_be_other_the_next_time_is_asked_every_time(
    located: Located, tmp_path: Path, asked: list[str]
) -> None:
    trusted = located.checkpoint.model_copy(update={"trust_remote_code": True})
    for _ in range(2):
        known_ids.encoded(replace(located, checkpoint=trusted), ASKED, (), tmp_path / "kept")
    config = located.path / "tokenizer_config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps({**told, "chat_template": "{{ strftime_now('%d') }}" + told["chat_template"]}))
    for _ in range(2):
        known_ids.encoded(located, ASKED, (), tmp_path / "kept")
    assert len(asked) == 4
    assert not (tmp_path / "kept").exists()


def test_a_reader_that_is_edited_in_place_is_asked_every_time(
    located: Located, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site" / "transformers-9.9.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(folder.parent)
    for installed_from, times in (('{"dir_info": {}, "url": "file:///x"}', 1), ('{"dir_info": {"editable": true}}', 2)):
        asked.clear()
        (folder / "direct_url.json").write_text(installed_from)
        for _ in range(2):
            known_ids.encoded(located, ASKED, (), tmp_path / "kept")
        assert len(asked) == times


def test_other_ids_than_were_kept_are_made_again(located: Located, tmp_path: Path, asked: list[str]) -> None:
    known_ids.encoded(located, ASKED, (), tmp_path / "kept")
    (path,) = (tmp_path / "kept").iterdir()
    told = json.loads(path.read_bytes())
    told["encoded"]["token_ids"]["primes"] = [7, 999999]
    path.write_text(json.dumps(told))
    assert known_ids.encoded(located, ASKED, (), tmp_path / "kept") == IDS
    assert len(asked) == 2


@pytest.mark.parametrize("content", ["", "{", '{"chat_template": true, "token_ids": {"primes": [1]}}'])
def test_what_is_damaged_or_of_other_prompts_is_made_again(
    located: Located, tmp_path: Path, asked: list[str], content: str
) -> None:
    known_ids.encoded(located, ASKED, (), tmp_path / "kept")
    (path,) = (tmp_path / "kept").iterdir()
    path.write_text(content)
    assert known_ids.encoded(located, ASKED, (), tmp_path / "kept") == IDS
    assert len(asked) == 2
    assert known_ids.encoded(located, ASKED, (), tmp_path / "kept") == IDS
    assert len(asked) == 2


def test_what_nobody_used_for_long_is_removed(located: Located, tmp_path: Path, asked: list[str]) -> None:
    old = tmp_path / "kept" / "old.json"
    old.parent.mkdir()
    old.write_text("{}")
    then = time.time() - UNUSED_S - 60
    os.utime(old, (then, then))
    known_ids.encoded(located, ASKED, (), tmp_path / "kept")
    assert asked == ["great_wall,primes"]
    assert not old.exists()


def test_where_nothing_can_be_kept_it_is_made_each_time(located: Located, tmp_path: Path, asked: list[str]) -> None:
    (tmp_path / "kept").write_text("a file in the folder's place")
    for _ in range(2):
        assert known_ids.encoded(located, ASKED, (), tmp_path / "kept") == IDS
    assert len(asked) == 2
