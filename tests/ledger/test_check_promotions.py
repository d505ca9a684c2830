"""A promotion must be what the policy makes of the evidence that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from tests.builders import ROOT, Made, add_session
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.workspace import Workspace

FILE = "variants/promoted.toml"
OLD, NEW = "20300101T100000Z-qwen3-0002", "20300102T100000Z-qwen3-0002"


def found(decided: Workspace, file: str = FILE) -> list[str]:
    findings = check_workspace(decided, processes=1).findings
    return [f"{f.field}: {f.message}" for f in findings if f.file == file]


def edit(decided: Workspace, change: Callable[[Any], object]) -> None:
    path = decided.root / FILE
    document = tomlkit.parse(path.read_text())
    change(document["promotion"])
    path.write_text(tomlkit.dumps(document))


def test_a_promotion_of_the_project_s_own_making_passes(decided: Workspace) -> None:
    assert "combine_one" in (decided.root / FILE).read_text()
    assert found(decided) == []


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("variant", "other_one", "promotion[0].variant: the policy would not promote other_one: it is REJECT"),
        ("variant", "unheard_of", "promotion[0].variant: the policy would not promote unheard_of: it has no evidence"),
        ("identity", "0" * 64, "promotion[0].identity"),
        ("since", "2030-01-01T10:10:00.000Z", "promotion[0].variant: the policy would not promote combine_one"),
        ("since", "2029-01-01T10:00:00.000Z", "promotion[0].since"),
        ("sessions", [OLD, NEW], "promotion[0].sessions[0]"),
        ("sessions", [NEW, "20300103-qwen3-0003"], "promotion[0].sessions[1]: 20300103-qwen3-0003 is missing"),
        ("device", "Another CPU", "promotion[0].sessions[0]"),
        ("mlx", "9.9", "promotion[0].sessions[0]"),
        ("checkpoint", "full", "promotion[0].checkpoint"),
        ("family", "glm47", "promotion[0].sessions[0]"),
        ("invented", 1, "promotion.0.invented"),
        ("sessions", [NEW], "promotion.0.sessions"),
    ],
)
def test_an_edited_promotion_is_named(decided: Workspace, field: str, value: object, named: str) -> None:
    edit(decided, lambda promotion: promotion[0].update({field: value}))
    assert any(line.startswith(named) for line in found(decided)), found(decided)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speedup", 1.5),
        ("speedup_low", 1.4),
        ("null_speedup", 1.0),
        ("matched_tokens", 79),
        ("peak_mem_gb", 0.5),
        ("tokens", 21),
        ("capsule_sha256", "0" * 64),
        ("capsule", "capsules/nowhere/absent.json"),
    ],
)
def test_an_edited_figure_of_a_promotion_is_named(decided: Workspace, field: str, value: object) -> None:
    edit(decided, lambda promotion: promotion[0]["capsules"][1].update({field: value}))
    assert any(line.startswith(f"promotion[0].capsules[1].{field}") for line in found(decided)), found(decided)


def test_a_promotion_without_its_evidence(decided: Workspace) -> None:
    for path in (decided.capsules / OLD).iterdir():
        path.unlink()
    lines = found(decided)
    assert any(OLD in line and "is missing" in line for line in lines)
    assert any("would not promote combine_one" in line for line in lines)


def test_a_promotion_twice_for_one_group(decided: Workspace) -> None:
    edit(decided, lambda promotion: promotion.append(promotion[0].copy()))
    assert any("a second promotion" in line for line in found(decided))


def test_a_promotion_that_leaves_out_a_session_in_between(decided: Workspace) -> None:
    add_session(decided, 10, [Made("combine_one", -0.2)], blocks=3)
    assert any("would not promote combine_one" in line for line in found(decided)), found(decided)


def test_a_later_session_does_not_undo_what_was_right_then(decided: Workspace) -> None:
    add_session(decided, 48, [Made("combine_one", -0.2)], blocks=3)
    assert found(decided) == []


def test_a_promotion_that_a_stricter_policy_would_not_make(decided: Workspace) -> None:
    policy = decided.variants / "policy.toml"
    text = policy.read_text()
    policy.write_text(text.replace("min_gain = 0.01", "min_gain = 0.5").replace("effect = 0.03", "effect = 0.6"))
    assert any("the policy has changed since" in line for line in found(decided))


def test_a_looser_policy_is_told_threshold_by_threshold(decided: Workspace) -> None:
    policy = decided.variants / "policy.toml"
    policy.write_text(policy.read_text().replace("session_gap_s = 3600", "session_gap_s = 60"))
    note, *_ = check_workspace(decided, processes=1).notes
    assert note.startswith("policy.toml: not zmlx's own, whose error rates the docs give")
    assert "min_blocks {20: 3, 50: 2} ({200: 3, 1024: 2}), session_gap_s 60.0 (3600.0)" in note
    policy.write_bytes((ROOT / "variants" / "policy.toml").read_bytes())
    assert not any(note.startswith("policy.toml") for note in check_workspace(decided, processes=1).notes)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"promotion = 1", b"[[promotion]]", b"schema_version = 99", b"a = nan", b"[" * 5000, b"\x1b[2J = 1"],
)
def test_hostile_promotions_are_findings_on_one_line(decided: Workspace, content: bytes) -> None:
    (decided.root / FILE).write_bytes(content)
    lines = found(decided)
    assert all(line.isprintable() for line in lines)
    assert bool(lines) == bool(content)


def test_a_broken_policy_is_a_finding(decided: Workspace) -> None:
    (decided.variants / "policy.toml").write_text("min_gain = 2")
    assert found(decided, "variants/policy.toml")


def test_a_missing_policy_is_a_finding(decided: Workspace, tmp_path: Path) -> None:
    (decided.variants / "policy.toml").unlink()
    assert found(decided, "variants/policy.toml") == ["file: no such file"]
