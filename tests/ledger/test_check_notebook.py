"""Every figure and verdict of a notebook entry comes from the capsules that the entry names; its words are sealed."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zmlx_bench.ledger import notebook
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.schema.entry import prose_hash
from zmlx_bench.workspace import Workspace

SHOWN = "LAB_NOTEBOOK.md"
OLD, NEW = "20300101T100000Z-qwen3-0002", "20300102T100000Z-qwen3-0002"
Json = dict[str, Any]


def found(decided: Workspace) -> list[str]:
    findings = check_workspace(decided, processes=1).findings
    return [str(f) for f in findings if f.file == SHOWN or f.file.startswith("notebook/")]


def entry_path(decided: Workspace) -> Path:
    (path,) = decided.entries.glob("*.json")
    return path


def edit(decided: Workspace, change: Callable[[Json], object], *, rehash: bool = False) -> None:
    """Change an entry and show it as it is now; with `rehash` its words are sealed again."""
    path = entry_path(decided)
    content: Json = json.loads(path.read_text())
    change(content)
    if rehash:
        content["prose_sha256"] = prose_hash(content["prose"])
    path.write_text(json.dumps(content))
    decided.notebook.write_text(notebook.render(decided))


def edit_shown(decided: Workspace, change: Callable[[str], str]) -> None:
    text = decided.notebook.read_text()
    changed = change(text)
    assert changed != text
    decided.notebook.write_text(changed)


def numbers(value: object, *path: str | int) -> list[tuple[str | int, ...]]:
    """Return the paths of all numbers in plain data."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in numbers(inner, *path, key)]
    if isinstance(value, list):
        return [leaf for index, inner in enumerate(value) for leaf in numbers(inner, *path, index)]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_an_entry_of_the_project_s_own_making_passes(decided: Workspace) -> None:
    assert "PROMOTE" in decided.notebook.read_text()
    assert found(decided) == []


@pytest.mark.parametrize("seed", range(12))
def test_any_edited_figure_is_named_with_its_field(decided: Workspace, seed: int) -> None:
    data = json.loads(entry_path(decided).read_text())
    places = [path for path in numbers(data) if path[0] in ("cited", "decision")]
    assert len(places) > 60
    path = random.Random(seed).choice(places)

    def change(content: Json) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] += 1

    edit(decided, change)
    assert any(
        line.startswith(f"{entry_path(decided).relative_to(decided.root)}: {path[0]}") for line in found(decided)
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda entry: entry["decision"].update(recommended="other_one"), "decision.recommended"),
        (lambda entry: entry["decision"]["verdicts"].pop(), "decision.verdicts"),
        (lambda entry: entry["decision"]["verdicts"][0].update(verdict="HOLD"), "decision.verdicts[0].verdict"),
        (lambda entry: entry["decision"]["verdicts"][0]["gates"][0].update(outcome="fail"), "decision.verdicts[0].g"),
        (lambda entry: entry["decision"]["verdicts"][0]["gates"].pop(), "decision.verdicts[0].gates"),
        (lambda entry: entry["decision"].update(rule=99), "decision.rule"),
        (lambda entry: entry.update(decision=None), "decision"),
        (lambda entry: entry["cited"].pop(), "cited"),
        (lambda entry: entry["sessions"].reverse(), "sessions"),
        (lambda entry: entry.update(sessions=[]), "sessions"),
        (lambda entry: entry.update(title="EXP-20310101T000000Z-QWEN3-TINY-CPU"), "file"),
        (lambda entry: entry.update(evidence_sha256="0" * 64), "evidence_sha256"),
        (lambda entry: entry.update(schema_version=99), "schema_version"),
        (lambda entry: entry.update(invented=1), "invented"),
    ],
)
def test_an_edited_entry_is_named(decided: Workspace, change: Callable[[Json], object], named: str) -> None:
    path = entry_path(decided)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    assert any(line.startswith(f"notebook/{path.name}: {named}") for line in found(decided)), found(decided)


def test_words_are_sealed(decided: Workspace) -> None:
    edit(decided, lambda entry: entry["prose"].insert(2, "It is 1.9x on my machine."))
    assert any("prose_sha256" in line and "edited after they were written" in line for line in found(decided))


def test_a_ratio_in_a_table_is_a_figure_whoever_sealed_it(decided: Workspace) -> None:
    def change(entry: Json) -> None:
        entry["prose"] = [line.replace("| 1.106x", "| 1.305x") for line in entry["prose"]]

    edit(decided, change, rehash=True)
    assert any("says 1.305x, which is no figure of its capsules" in line for line in found(decided))


def test_an_edit_of_what_is_shown_is_named_with_its_line(decided: Workspace) -> None:
    edit_shown(decided, lambda text: text.replace("1.106x", "1.305x", 1))
    title = decided.notebook.read_text().splitlines().index(f"## {decided_title(decided)}") + 1
    assert any(line.startswith(f"{SHOWN}: line {title}: is not what notebook/") for line in found(decided))


def decided_title(decided: Workspace) -> str:
    return str(json.loads(entry_path(decided).read_text())["title"])


def test_an_experiment_without_capsules(decided: Workspace) -> None:
    text = "## EXP-20300105T000000Z-INVENTED\n\n1.30x at 20 tokens.\n"
    edit_shown(decided, lambda shown: shown + "\n" + text)
    assert any("EXP-20300105T000000Z-INVENTED: an experiment without capsules" in line for line in found(decided))
    record(decided, decide(decided, None))
    assert any(line.startswith("notebook/") and "without capsules" in line for line in found(decided))


def test_an_entry_whose_session_is_gone(decided: Workspace) -> None:
    shutil.rmtree(decided.session(OLD))
    assert any(f"figures without capsules: session {OLD}" in line for line in found(decided))


def test_an_entry_whose_capsule_was_edited(decided: Workspace) -> None:
    path = next(decided.session(NEW).glob("*t20*combine_one.json"))
    path.write_text(path.read_text().replace('"decode_tok_s": 1', '"decode_tok_s": 2', 1))
    assert found(decided)


def test_a_second_entry_of_the_same_evidence(decided: Workspace) -> None:
    path = entry_path(decided)
    shutil.copy(path, path.with_name("20300103T000000Z-copy.json"))
    lines = found(decided)
    assert any("a second entry of the same evidence" in line for line in lines)
    assert any(line.startswith("notebook/20300103T000000Z-copy.json: file: its content belongs to") for line in lines)


def test_a_deleted_entry_is_missed_by_what_is_shown_and_by_the_promotion(decided: Workspace) -> None:
    name = entry_path(decided).name
    entry_path(decided).unlink()
    lines = found(decided)
    assert any(f"shows notebook/{name}, which is missing: deleted" in line for line in lines)
    assert any("none tells of the promotion of combine_one" in line for line in lines)


def test_an_entry_that_is_not_shown(decided: Workspace) -> None:
    edit_shown(decided, lambda text: text[: text.index("## EXP-")])
    assert any(
        "does not show notebook/" in line and "`zmlx promote` writes it again" in line for line in found(decided)
    )
    record(decided, decide(decided, None))
    assert found(decided) == []


@pytest.mark.parametrize("left", [b"", b"schema_version = 1\n"])
def test_a_deleted_promotion_is_missed_by_the_last_entry(decided: Workspace, left: bytes) -> None:
    (decided.variants / "promoted.toml").write_bytes(left)
    assert any("decided for combine_one, promoted.toml has none" in line for line in found(decided))


def test_words_outside_the_entries_are_free_and_move_to_a_note(decided: Workspace) -> None:
    edit_shown(decided, lambda text: text + "\n## What I think\n\nNext: 2.0x.\n")
    assert found(decided) == []
    assert len(record(decided, decide(decided, None)).taken_over) == 1
    (note,) = decided.entries.glob("*.md")
    assert note.read_text() == "## What I think\n\nNext: 2.0x.\n"
    assert found(decided) == []
    note.write_text("## What I thought\n\nNext: 3.0x.\n")
    assert record(decided, decide(decided, None)).taken_over == ()
    assert "2.0x" not in decided.notebook.read_text()
    assert "## What I thought" in decided.notebook.read_text()
    assert found(decided) == []


def test_another_policy_rewrites_verdicts_but_no_figure(decided: Workspace) -> None:
    policy = decided.variants / "policy.toml"
    policy.write_text(policy.read_text().replace("memory_tolerance = 0.02", "memory_tolerance = 0.01"))
    assert found(decided) == []
    edit(decided, lambda entry: entry["cited"][0].update(peak_mem_gb=1.15))
    assert any("cited[0].peak_mem_gb: says 1.15, the capsules give 1.25" in line for line in found(decided))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"## EXP-1\n<!-- zmlx evidence: {} -->\n",
        b"## EXP-1\n<!-- zmlx evidence: {[[[ -->\n",
        b"## EXP-1\n<!-- zmlx evidence: " + b'{"a":' * 5000 + b"} -->\n",
        b'## \x1b[2J\n<!-- zmlx evidence: {"sha256": "0", "sessions": ["../..", "\\u0000"], "incumbent": null,'
        b' "policy_sha256": "0"} -->\n',
        b'## EXP-2\n<!-- zmlx evidence: {"sha256": "0", "sessions": [], "incumbent": null, "policy_sha256": "0"} -->\n',
        b"## EXP-3\n\n<!-- notebook/../../etc/passwd -->\n",
        b"<<<<<<< HEAD\n=======\n>>>>>>> theirs\n",
    ],
)
def test_hostile_notebooks_are_findings_on_one_line(decided: Workspace, content: bytes) -> None:
    decided.notebook.write_bytes(content)
    lines = found(decided)
    assert lines
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("name", ["entry", "note.md", "0000-opening.md"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"{", b"[" * 50_000, b"null", b'{"a": 1, "a": 2}', b"\x1b[2J", b"<<<<<<< HEAD\n",
     b"## a\n\n## EXP-1\n"],
)  # fmt: skip
def test_hostile_files_of_the_notebook_are_findings_on_one_line(decided: Workspace, name: str, content: bytes) -> None:
    path = entry_path(decided) if name == "entry" else decided.entries / name
    path.write_bytes(content)
    lines = found(decided)
    assert bool(lines) or name == "0000-opening.md"
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("name", ["entry", "note.md"])
def test_a_link_out_of_the_workspace_is_not_followed(decided: Workspace, tmp_path: Path, name: str) -> None:
    path = entry_path(decided) if name == "entry" else decided.entries / name
    outside = tmp_path / "outside"
    outside.write_bytes(path.read_bytes() if path.exists() else b"## note\n")
    path.unlink(missing_ok=True)
    path.symlink_to(outside)
    assert any("leads outside" in line for line in found(decided))
