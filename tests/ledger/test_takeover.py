"""A notebook of before there were files: read and checked as it is, and moved by `zmlx promote` without a loss."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.builders import Made, add_session
from zmlx_bench.ledger import notebook
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.workspace import Workspace

BY_HAND = """# Lab notebook

Mine, since 2029.

## Before

Some words.

```sh
## no heading
```

## Before

Other words under the same heading.
"""
AFTERWARDS = "## Next\n\nWhat I will try.\n"


@pytest.fixture
def old(decided: Workspace) -> Workspace:
    """The decided workspace as a release before this one wrote it: no file of rows, none of the notebook."""
    (path,) = decided.entries.glob("*.json")
    entry = notebook.read_entry(decided, path.name)
    mark = {
        "sha256": entry.evidence_sha256, "sessions": list(entry.sessions), "incumbent": entry.incumbent,
        "policy_sha256": entry.policy_sha256,
    }  # fmt: skip
    title = entry.title.rpartition("-")[0]
    text = f"## {title}\n\n<!-- zmlx evidence: {json.dumps(mark)} -->\n\n" + "\n".join(entry.prose) + "\n"
    shutil.rmtree(decided.entries)
    for rows in decided.capsules.glob("*/rows.jsonl"):
        rows.unlink()
    decided.notebook.write_text("\n".join((BY_HAND, text, AFTERWARDS)))
    return decided


def faults(workspace: Workspace) -> list[str]:
    return [str(f) for f in check_workspace(workspace, processes=1).findings]


def test_it_holds_as_it_is(old: Workspace) -> None:
    before = {path: path.read_bytes() for path in old.root.rglob("*") if path.is_file()}
    assert faults(old) == []
    assert {path: path.read_bytes() for path in old.root.rglob("*") if path.is_file()} == before


def test_it_moves_without_a_loss(old: Workspace) -> None:
    text, rows = old.notebook.read_text(), old.matrix.read_bytes()
    recorded = record(old, decide(old, None))
    assert recorded.entries == (), "the evidence was told of already"
    assert [name.partition("Z-")[0] for name in recorded.taken_over] == [
        "0000-opening.md", "0001-before.md", "0002-before.md", "20300102T101000", "20300102T101000",
    ]  # fmt: skip
    shown = old.notebook.read_text()
    kept = [line for line in text.splitlines() if line and not line.startswith("<!-- zmlx evidence")]
    assert [line for line in shown.splitlines() if line and not line.startswith("<!-- notebook/")] == kept
    assert old.matrix.read_bytes() == rows
    assert faults(old) == []
    again = record(old, decide(old, None))
    assert (again.promotions, again.entries, again.taken_over) == (False, (), ())
    assert old.notebook.read_text() == shown


def test_new_evidence_is_told_of_in_a_file(old: Workspace) -> None:
    add_session(old, 48, [Made("combine_one", 0.1)], blocks=3)
    recorded = record(old, decide(old, None))
    assert len(recorded.entries) == 1
    assert len(recorded.taken_over) == 5
    assert faults(old) == []


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("| 1.106x", "| 1.305x", "says 1.305x, which is no figure of its capsules"),
        ('"sha256": "', '"sha256": "00', "the evidence mark cannot be read"),
        ("20300101T100000Z-qwen3-0002", "20300101T100000Z-qwen3-0003", "figures without capsules"),
        ("## EXP-20300102", "## EXP-20310102", "the capsules give EXP-20300102"),
    ],
)
def test_an_edit_is_found_in_the_old_form_too(old: Workspace, before: str, after: str, named: str) -> None:
    text = old.notebook.read_text()
    assert before in text
    old.notebook.write_text(text.replace(before, after))
    assert any(line.startswith("LAB_NOTEBOOK.md: ") and "line " in line and named in line for line in faults(old)), (
        faults(old)
    )


def test_an_entry_under_another_policy_keeps_its_figures(old: Workspace) -> None:
    policy = old.variants / "policy.toml"
    policy.write_text(policy.read_text().replace("memory_tolerance = 0.02", "memory_tolerance = 0.01"))
    assert faults(old) == []
    record(old, decide(old, None))
    (path,) = old.entries.glob("*.json")
    entry = notebook.read_entry(old, path.name)
    assert entry.decision is None
    assert len(entry.cited) == 8
    assert faults(old) == []
