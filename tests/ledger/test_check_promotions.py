"""A promotion must be what the policy makes of the evidence that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import Workspace

FILE = "variants/promoted.toml"
OLD, NEW = "20300101-qwen3-0001", "20300102-qwen3-0002"


def found(workspace: Workspace, file: str = FILE) -> list[str]:
    findings = check_workspace(workspace, processes=1).findings
    return [f"{f.field}: {f.message}" for f in findings if f.file == file]


def edit(workspace: Workspace, change: Callable[[Any], object]) -> None:
    path = workspace.root / FILE
    document = tomlkit.parse(path.read_text())
    change(document["promotion"])
    path.write_text(tomlkit.dumps(document))


def test_a_promotion_of_the_project_s_own_making_passes(workspace: Workspace) -> None:
    assert "combine_one" in (workspace.root / FILE).read_text()
    assert found(workspace) == []


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("variant", "other_one", "promotion[0].variant: the policy would not promote other_one: it is REJECT"),
        ("variant", "unheard_of", "promotion[0].variant: the policy would not promote unheard_of: it has no evidence"),
        ("identity", "0" * 64, "promotion[0].identity"),
        ("since", "2030-01-01T10:00:00.000Z", "promotion[0].variant: the policy would not promote combine_one"),
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
def test_an_edited_promotion_is_named(workspace: Workspace, field: str, value: object, named: str) -> None:
    edit(workspace, lambda promotion: promotion[0].update({field: value}))
    assert any(line.startswith(named) for line in found(workspace)), found(workspace)


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
def test_an_edited_figure_of_a_promotion_is_named(workspace: Workspace, field: str, value: object) -> None:
    edit(workspace, lambda promotion: promotion[0]["capsules"][1].update({field: value}))
    assert any(line.startswith(f"promotion[0].capsules[1].{field}") for line in found(workspace)), found(workspace)


def test_a_promotion_without_its_evidence(workspace: Workspace) -> None:
    for path in (workspace.capsules / OLD).iterdir():
        path.unlink()
    lines = found(workspace)
    assert any(OLD in line and "is missing" in line for line in lines)
    assert any("would not promote combine_one" in line for line in lines)


def test_a_promotion_twice_for_one_group(workspace: Workspace) -> None:
    edit(workspace, lambda promotion: promotion.append(promotion[0].copy()))
    assert any("a second promotion" in line for line in found(workspace))


def test_a_promotion_that_leaves_out_a_session_in_between(workspace: Workspace, add: Callable[..., Session]) -> None:
    workspace.matrix.unlink()
    add(workspace, "20300101-qwen3-000f", "2030-01-01T20:00:00.000Z", ["combine_one"], seed=9, slow="combine_one")
    assert any("would not promote combine_one" in line for line in found(workspace)), found(workspace)


def test_a_later_session_does_not_undo_what_was_right_then(workspace: Workspace, add: Callable[..., Session]) -> None:
    add(workspace, "20300103-qwen3-0003", "2030-01-03T10:00:00.000Z", ["combine_one"], seed=9, slow="combine_one")
    assert found(workspace) == []


def test_a_promotion_that_a_stricter_policy_would_not_make(workspace: Workspace) -> None:
    policy = workspace.variants / "policy.toml"
    text = policy.read_text()
    policy.write_text(text.replace("min_gain = 0.01", "min_gain = 0.5").replace("effect = 0.03", "effect = 0.6"))
    assert any("the policy has changed since" in line for line in found(workspace))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"promotion = 1", b"[[promotion]]", b"schema_version = 99", b"a = nan", b"[" * 5000, b"\x1b[2J = 1"],
)
def test_hostile_promotions_are_findings_on_one_line(workspace: Workspace, content: bytes) -> None:
    (workspace.root / FILE).write_bytes(content)
    lines = found(workspace)
    assert all(line.isprintable() for line in lines)
    assert bool(lines) == bool(content)


def test_a_broken_policy_is_a_finding(workspace: Workspace) -> None:
    (workspace.variants / "policy.toml").write_text("min_gain = 2")
    assert found(workspace, "variants/policy.toml")


def test_a_missing_policy_is_a_finding(workspace: Workspace, tmp_path: Path) -> None:
    (workspace.variants / "policy.toml").unlink()
    assert found(workspace, "variants/policy.toml") == ["file: no such file"]
