"""The project's own evidence, which is older than identities: what it is carried over to, and what it leads to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from zmlx_bench.analysis.decision import RULE_OF_BYTES, RULE_OF_MEANS
from zmlx_bench.analysis.decision.adapter import bytes_identity, identity_of
from zmlx_bench.catalog.identity import FORMULA
from zmlx_bench.files import read_toml
from zmlx_bench.ledger import carried
from zmlx_bench.ledger.check.workspace import Checked, check_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.schema.capsule import Software
from zmlx_bench.schema.carried import Carried
from zmlx_bench.schema.promotion import Promotion
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.process

FIRST_WITH = "20261129T094355Z-qwen3-f787"
"""The first session whose capsules record identities."""
OLD = "20261122T124523Z-glm47-fedb"
NEWER, LATEST = "20261122T135507Z-glm47-6b43", "20261122T224223Z-glm47-de11"


@pytest.fixture(scope="module")
def evidence(repository: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the project's workspace with its decisions as `zmlx promote` makes them."""
    root = tmp_path_factory.mktemp("evidence") / "ws"
    skipped = shutil.ignore_patterns("__pycache__", "build", "events.jsonl", "logs")
    for name in ("variants", "kernels", "capsules", "notebook"):
        if (repository.root / name).is_dir():
            shutil.copytree(repository.root / name, root / name, ignore=skipped)
    for name in ("matrix.jsonl", "LAB_NOTEBOOK.md"):
        shutil.copy2(repository.root / name, root / name)
    made = Workspace(root)
    record(made, decide(made, None))
    return made


@pytest.fixture(scope="module")
def promoted(evidence: Workspace) -> dict[str, Promotion]:
    """The promotions that rest on evidence of before identities, by variant."""
    found = decide(evidence, None).after.promotion
    return {each.variant: each for each in found if all(session < FIRST_WITH for session in each.sessions)}


def test_glm_native_rests_on_the_two_sessions_that_ran_the_same(promoted: dict[str, Promotion]) -> None:
    assert promoted["glm_native"].sessions == (LATEST, NEWER)
    assert promoted["glm_native"].rule == RULE_OF_MEANS


def test_a_promotion_whose_sessions_ran_different_code_stands_by_the_rule_that_made_it(
    promoted: dict[str, Promotion],
) -> None:
    assert promoted["glm_fused_gate"].rule == RULE_OF_BYTES
    assert promoted["glm_fused_gate"].parts is None


@pytest.mark.parametrize("variant", ["glm_native", "qwen_native", "qwen_step"])
def test_the_others_are_bound_to_what_their_bytes_are_carried_over_to(
    promoted: dict[str, Promotion], evidence: Workspace, variant: str
) -> None:
    found = promoted[variant]
    table = carried.read(evidence)
    assert found.identity in {known.identity.digest for known in table.values() if known.name == variant}
    assert found.parts is not None
    assert found.parts.digest == found.identity


@pytest.fixture(scope="module")
def checked(evidence: Workspace) -> Checked:
    return check_workspace(evidence)


def test_history_is_no_fault(checked: Checked) -> None:
    assert [str(finding) for finding in checked.findings] == []


def test_check_says_what_does_not_count_for_todays_code(checked: Checked) -> None:
    said = "\n".join(checked.notes)
    assert "promoted.toml: glm_native for tiny on AMD EPYC was measured on an earlier path: " in said
    assert "promoted.toml: glm_fused_gate for synthetic on NVIDIA H200 stands by rule 1: its sessions " in said
    assert "sessions of qwen_step (cuda) that do not count for today's code: " in said


def capsule(repository: Workspace, session: str, variant: str) -> tuple[ResolvedVariant, Software]:
    (path,) = repository.session(session).glob(f"*_t200_*_{variant}.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    return ResolvedVariant.model_validate(content["variant"]), Software.model_validate(content["software"])


def test_sessions_share_an_identity_only_where_their_sites_were_composed_alike(repository: Workspace) -> None:
    table = carried.read(repository)
    found = {session: identity_of(*_arguments(repository, session), table)[0] for session in (OLD, NEWER, LATEST)}
    assert found[LATEST] == found[NEWER] != found[OLD]
    variant, _, software = _arguments(repository, OLD)
    assert bytes_identity(variant) not in found.values(), "an identity of its own is no hash of bytes alone"
    dirty = software.model_copy(update={"dirty": True, "commit": _arguments(repository, LATEST)[2].commit})
    assert identity_of(variant, "cpu", dirty, table)[0] not in found.values()


def _arguments(repository: Workspace, session: str) -> tuple[ResolvedVariant, str, Software]:
    variant, software = capsule(repository, session, "glm_native")
    return variant, "cpu", software


def test_bytes_that_the_table_does_not_know_keep_their_own_hash(repository: Workspace) -> None:
    variant, backend, software = _arguments(repository, LATEST)
    assert identity_of(variant, backend, software, {}) == (bytes_identity(variant), None)
    other = variant.model_copy(update={"env": {"ZMLX_TRACE": "1"}})
    assert identity_of(other, backend, software, carried.read(repository))[0] == bytes_identity(other)


def test_a_recorded_identity_counts_whatever_the_table_says(repository: Workspace) -> None:
    variant, backend, software = _arguments(repository, LATEST)
    table = carried.read(repository)
    own = table[bytes_identity(variant), "cpu"].identity.model_copy(update={"digest": "7" * 64})
    measured = variant.model_copy(update={"identity": own})
    assert identity_of(measured, backend, software, table) == ("7" * 64, own)
    assert bytes_identity(measured) == bytes_identity(variant)


def test_the_table_is_of_this_formula(repository: Workspace) -> None:
    table = read_toml(Path(repository.variants) / carried.FILE, Carried)
    assert table.formula == FORMULA
    assert table.tree.startswith("159cd2d")
