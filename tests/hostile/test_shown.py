"""Escape sequences, markup and HTML in every string that is printed or rendered: shown as text, never obeyed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Zmlx
from tests.ledger.test_check import GOOD, edit
from zmlx_bench.cli.main import main
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.ledger.legacy.store import import_into
from zmlx_bench.printable import markdown, printable
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.session import Session, session_hash
from zmlx_bench.workspace import Workspace

EVIL = "\x1b[2J\x1b]0;t\x07\u202e\x9b31m<script>alert(1)</script>[red]:smile:[/nothing] ![x](http://x) |`\r"
FREE = ("device", "os", "arch", "cpu", "why", "mlx", "mlx_lm", "python", "zmlx", "message", "text", "source", "id")
"""Fields that may hold any text."""


def spoiled(value: Any, *, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: spoiled(part, key=name) for name, part in value.items()}
    if isinstance(value, list):
        return [spoiled(part, key=key) for part in value]
    if isinstance(value, str) and (key in FREE or key == "command") and " " not in key:
        return value if value.startswith("p") and len(value) == 2 else value + EVIL
    return value


@pytest.fixture
def evil(decided: Workspace, tmp_path: Path) -> Workspace:
    """Every capsule and session with evil text in each field that may hold text, sealed and listed again."""
    rows = []
    for folder in sorted(path for path in decided.capsules.iterdir() if path.is_dir()):
        session = f"capsules/{folder.name}/session.json"
        hashes = {}
        for path in sorted(folder.glob("qwen3*.json")):
            file = f"capsules/{folder.name}/{path.name}"
            edit(decided, file, lambda content: content.update(spoiled(content)), rehash=True)
            hashes[path.name] = json.loads(path.read_text())["content_sha256"]
        path = decided.root / session
        content = spoiled(json.loads(path.read_text()))
        for reference in content["capsules"]:
            reference["content_sha256"] = hashes[reference["file"]]
        path.write_text(json.dumps({**content, "content_sha256": session_hash(Session.model_validate(content))}))
    for line in decided.matrix.read_text().splitlines():
        row = json.loads(line)
        capsule = Capsule.model_validate(json.loads((decided.root / row["capsule"]).read_text()))
        row.update(device=row["device"] + EVIL, mlx=row["mlx"] + EVIL, checkpoint_id=capsule.checkpoint.id)
        rows.append(json.dumps({**row, "capsule_sha256": capsule.content_sha256}) + "\n")
    decided.matrix.write_text("".join(rows))
    (decided.variants / "promoted.toml").unlink()
    (decided.variants / "qwen3.toml").write_text(
        f'family = "qwen3"\n[variant.evil]\nwhy = {json.dumps(EVIL)}\nkernels = {{ combine = "k" }}\n'
    )
    kernel = decided.kernels / "k"
    kernel.mkdir()
    (kernel / "kernel.py").write_text("def bind(module, request): ...\n")
    (kernel / "kernel.toml").write_text(
        f'schema_version = 1\nsummary = {json.dumps(EVIL, ensure_ascii=True)}\nsites = ["combine"]\n'
        'families = ["qwen3"]\nmax_tokens = "any"\n[mode.stock]\nnumerics = "stock"\nbackends = ["cpu"]\n'
    )
    source = tmp_path / "legacy \x1b[2J<b>.json"
    fixture = Path(__file__).resolve().parents[1] / "data" / "legacy" / "fixture_capsule_20300101.json"
    source.write_bytes(fixture.read_bytes())
    import_into(decided, [source])
    return decided


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


def test_an_edited_capsule_is_shown_as_edited(decided: Workspace, zmlx: Zmlx) -> None:
    assert "EDITED" not in zmlx("capsule", "show", str(decided.root / GOOD)).stdout
    edit(decided, GOOD, lambda content: content["machine"].update(device="another"))
    assert "EDITED" in zmlx("capsule", "show", str(decided.root / GOOD)).stdout
