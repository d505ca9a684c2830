"""Escape sequences, markup and HTML in every string that is printed or rendered: shown as text, never obeyed."""

from __future__ import annotations

import json
import signal

import pytest

from tests.conftest import Zmlx
from tests.hostile.evil import EVIL
from tests.ledger.test_check import GOOD, edit
from zmlx_bench.cli.main import main
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.printable import markdown, printable
from zmlx_bench.workspace import Workspace

COMMANDS = [
    ("report",), ("report", "--format", "md"), ("report", "--format", "json"), ("promote", "--dry-run"),
    ("promote", "--dry-run", "--json"), ("check",), ("check", "--json"), ("variants",), ("variants", "--json"),
    ("kernels",), ("kernels", "--json"), ("capsule", "show", GOOD), ("capsule", "show", GOOD, "--json"),
    ("capsule", "verify", GOOD), ("run", "qwen3", "--variants", EVIL), ("run", "qwen3", "--resume", EVIL),
    ("run", "qwen3", "--checkpoint", EVIL), ("run", EVIL), ("report", EVIL), (EVIL,),
]  # fmt: skip


def test_nothing_that_is_printed_is_obeyed(evil: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    held = signal.getsignal(signal.SIGTERM)
    shown = 0
    for command in COMMANDS:
        place = () if command[-1] is EVIL and len(command) == 1 else ("--workspace", str(evil.root))
        arguments = [str(evil.root / part) if part == GOOD else part for part in command]
        if arguments[:2] == ["capsule", "show"]:
            place = ()
        with pytest.raises(SystemExit) as left:
            main([*arguments, *place])
        out, err = capsys.readouterr()
        said = out + err
        assert "Traceback" not in said, command
        assert all(c.isprintable() or c == "\n" for c in said), (command, said[:2000])
        assert left.value.code in (0, 1, 3), (command, said)
        shown += "script>" in said
        if "md" in command:
            assert "<script>" not in said
            assert "](http" not in said
        if "--json" in command or "json" in command:
            json.loads(out)
    signal.signal(signal.SIGTERM, held)
    assert shown >= 10, "the evil text was to be seen in most of them"


def test_the_notebook_holds_no_html_and_no_mark_of_others(evil: Workspace) -> None:
    evil.notebook.unlink()
    decided = decide(evil, None)
    assert not decided.refusals
    record(evil, decided)
    text = evil.notebook.read_text()
    assert "script>" in text
    assert "<script>" not in text
    assert all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("text", ["a", "日本語 é", "a|b", "x" * 5000])
def test_text_stays_text(text: str) -> None:
    assert printable(text) == text
    assert markdown(text) == text


def test_what_could_be_obeyed_is_escaped() -> None:
    assert printable("\x1b[2J\u202e\r\n\ud800") == "\\x1b[2J\\u202e\\r\\n\\ud800"
    assert markdown("<b>&[a](b)![c][d]") == "&lt;b>&amp;[a]\\(b)![c]\\[d]"


def test_an_edited_capsule_is_shown_as_edited(decided: Workspace, zmlx_inside: Zmlx) -> None:
    assert "EDITED" not in zmlx_inside("capsule", "show", str(decided.root / GOOD)).stdout
    edit(decided, GOOD, lambda content: content["machine"].update(device="another"))
    assert "EDITED" in zmlx_inside("capsule", "show", str(decided.root / GOOD)).stdout
