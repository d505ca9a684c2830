"""Every figure of a notebook entry comes from the capsules that the entry names."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

import pytest

from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.workspace import Workspace

FILE = "LAB_NOTEBOOK.md"
OLD, NEW = "20300101T100000Z-qwen3-0002", "20300102T100000Z-qwen3-0002"


def found(decided: Workspace) -> list[str]:
    findings = check_workspace(decided, processes=1).findings
    return [f"{f.field}: {f.message}" for f in findings if f.file == FILE]


def edit(decided: Workspace, change: Callable[[str], str]) -> None:
    text = decided.notebook.read_text()
    changed = change(text)
    assert changed != text
    decided.notebook.write_text(changed)


def numbers(text: str) -> list[re.Match[str]]:
    """Every number of the entry, but not those of its heading and mark."""
    start = text.index("**Question.**")
    return [m for m in re.finditer(r"\d+(\.\d+)?", text) if m.start() > start]


def test_an_entry_of_the_project_s_own_making_passes(decided: Workspace) -> None:
    assert "PROMOTE" in decided.notebook.read_text()
    assert found(decided) == []


@pytest.mark.parametrize("share", [i / 12 for i in range(12)])
def test_any_edited_figure_is_named_with_its_line(decided: Workspace, share: float) -> None:
    text = decided.notebook.read_text()
    places = numbers(text)
    match = places[int(share * len(places))]
    digit = "8" if match.group()[-1] != "8" else "7"
    edit(decided, lambda text: text[: match.end() - 1] + digit + text[match.end() :])
    line = text.count("\n", 0, match.start()) + 1
    assert any(finding.startswith(f"line {line}: EXP-") for finding in found(decided)), found(decided)


def test_a_figure_added_to_an_entry(decided: Workspace) -> None:
    edit(decided, lambda text: text.replace("**Memory notes.**", "It is 1.9x on my machine.\n\n**Memory notes.**"))
    assert any("says 'It is 1.9x on my machine.'" in line for line in found(decided))


def test_a_line_removed_from_an_entry(decided: Workspace) -> None:
    edit(decided, lambda text: re.sub(r"- `other_one`: REJECT.*\n", "", text))
    assert any("says nothing, the capsules give '- `other_one`: REJECT" in line for line in found(decided))


def test_an_experiment_without_capsules(decided: Workspace) -> None:
    edit(decided, lambda text: text + "\n## EXP-20300105T000000Z-INVENTED\n\n1.30x at 20 tokens.\n")
    assert any("EXP-20300105T000000Z-INVENTED: an experiment without capsules" in line for line in found(decided))


def test_an_entry_whose_session_is_gone(decided: Workspace) -> None:
    shutil.rmtree(decided.session(OLD))
    assert any(f"figures without capsules: session {OLD}" in line for line in found(decided))


def test_an_entry_whose_capsule_was_edited(decided: Workspace) -> None:
    path = next(decided.session(NEW).glob("*t20*combine_one.json"))
    path.write_text(path.read_text().replace('"decode_tok_s": 1', '"decode_tok_s": 2', 1))
    assert found(decided)


def test_a_second_entry_of_the_same_evidence(decided: Workspace) -> None:
    edit(decided, lambda text: text + "\n" + text[text.index("## EXP-") :])
    assert any("a second entry of the same evidence" in line for line in found(decided))


def test_a_deleted_entry_leaves_a_promotion_untold(decided: Workspace) -> None:
    edit(decided, lambda text: text[: text.index("## EXP-")])
    assert any("none tells of the promotion of combine_one" in line for line in found(decided))


@pytest.mark.parametrize("left", [b"", b"schema_version = 1\n"])
def test_a_deleted_promotion_is_missed_by_the_last_entry(decided: Workspace, left: bytes) -> None:
    (decided.variants / "promoted.toml").write_bytes(left)
    assert any("decided for combine_one, promoted.toml has none" in line for line in found(decided))


def test_words_outside_the_entries_are_free(decided: Workspace) -> None:
    edit(decided, lambda text: text + "\n## What I think\n\nNext: 2.0x.\n")
    assert found(decided) == []


def test_another_policy_rewrites_verdicts_but_no_figure(decided: Workspace) -> None:
    policy = decided.variants / "policy.toml"
    policy.write_text(policy.read_text().replace("memory_tolerance = 0.02", "memory_tolerance = 0.01"))
    assert found(decided) == []
    edit(decided, lambda text: text.replace("peak 1.2500 GB", "peak 1.1500 GB"))
    assert any("peak 1.1500 GB" in line for line in found(decided))


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
    ],
)
def test_hostile_notebooks_are_findings_on_one_line(decided: Workspace, content: bytes) -> None:
    decided.notebook.write_bytes(content)
    lines = found(decided)
    assert lines
    assert all(line.isprintable() for line in lines)
