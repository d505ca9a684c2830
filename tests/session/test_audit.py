"""`zmlx run --audit`: traces in the capsule, shown, recomputed, and of no weight in a verdict."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.session.conftest import AUDITED_TOKENS, FP32, Finished
from zmlx_bench.analysis.audit import derive
from zmlx_bench.ledger.check.capsule import check_capsule
from zmlx_bench.schema.audit import Audit
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.matrix import row_of


def audit_of(session: Finished, variant: str) -> Audit:
    audit = session.capsule(variant).audit
    assert audit is not None
    return audit


def test_what_is_wrong_is_farther_than_the_baseline(audited: Finished) -> None:
    audit, fidelity = audit_of(audited, "doubles"), audited.capsule("doubles").figures.fidelity
    assert fidelity is not None
    assert fidelity.verdict == "diverged"
    assert audit.figures is not None
    assert audit.figures.nearer == "baseline"
    assert audit.figures.variant.kl_mean > 10 * audit.figures.baseline.kl_mean
    assert audit.figures.variant.top1_agreement < 1


def test_another_rounding_is_judged_by_both_arms_on_the_same_tokens(audited: Finished) -> None:
    audit = audit_of(audited, FP32)
    assert [p.baseline for p in audit.prompts] == [p.baseline for p in audit_of(audited, "doubles").prompts]
    assert all(prompt.variant.kl != prompt.baseline.kl for prompt in audit.prompts)
    assert audit.figures is not None
    assert audit.figures.positions == AUDITED_TOKENS * 2
    # Stock itself rounds, so that the reference is another one.
    assert 0 < audit.figures.baseline.kl_mean < 0.1
    assert audit.figures.nearer in ("variant", "baseline")


def test_the_forced_tokens_are_the_baselines_answers(audited: Finished) -> None:
    capsule = audited.capsule(FP32)
    (baseline,) = capsule.fidelity_runs.baseline
    audit = audit_of(audited, FP32)
    assert {p.prompt: p.output for p in audit.prompts} == {g.prompt: g.output for g in baseline.generations}


def test_a_variant_that_failed_before_has_no_audit(audited: Finished) -> None:
    assert audited.capsule("raises").audit is None


def test_nothing_is_left_in_the_session_folder(audited: Finished) -> None:
    assert {path.suffix for path in audited.folder.iterdir()} == {".json", ".jsonl", ""}


def test_it_is_printed_and_shown(
    audited: Finished, zmlx_inside: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    told = json.loads(audited.done.stdout)["audits"]
    assert told[FP32] == audit_of(audited, FP32).model_dump(mode="json")
    (path,) = audited.folder.glob("*_doubles.json")
    assert "audit: the baseline is nearer to float32" in zmlx_inside("capsule", "show", str(path)).stdout
    report = zmlx_inside("report", "--workspace", str(audited.workspace.root), "--format", "md").stdout
    assert "doubles: the baseline is nearer to float32" in report


def test_the_evidence_holds(audited: Finished, zmlx_inside: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert zmlx_inside("check", str(audited.workspace.root)).returncode == 0
    audit = audit_of(audited, FP32)
    assert audit.figures == derive(audit.prompts)


def _resealed(capsule: Capsule, audit: dict[str, Any]) -> Capsule:
    return Capsule.model_validate({**capsule.model_dump(), "audit": audit}).sealed()


def _faults(session: Finished, change: Callable[[dict[str, Any]], None]) -> set[str]:
    capsule = session.capsule(FP32)
    audit = audit_of(session, FP32).model_dump(mode="json")
    change(audit)
    (path,) = session.folder.glob(f"*_{FP32}.json")
    name = f"capsules/{session.folder.name}/{path.name}"
    return {found.field for found in check_capsule(_resealed(capsule, audit), name, session.session)}


def _better(audit: dict[str, Any]) -> None:
    audit["figures"]["variant"]["kl_mean"] /= 2


def _shorter(audit: dict[str, Any]) -> None:
    for arm in ("baseline", "variant"):
        for values in ("kl", "agrees", "max_error"):
            audit["prompts"][0][arm][values].pop()


def _another_answer(audit: dict[str, Any]) -> None:
    audit["prompts"][1]["output"] = audit["prompts"][0]["output"]


def _one_prompt(audit: dict[str, Any]) -> None:
    audit["prompts"].pop()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_better, "audit.figures.variant.kl_mean"),
        (_shorter, "audit.figures.positions"),
        (_shorter, "audit.prompts[0]"),
        (_another_answer, "audit.prompts[1].output"),
        (_one_prompt, "audit.prompts"),
    ],
)
def test_check_finds_an_edit_that_was_sealed_again(
    audited: Finished, change: Callable[[dict[str, Any]], None], field: str
) -> None:
    assert _faults(audited, dict[str, Any].copy) == set()
    assert field in _faults(audited, change)


def test_the_matrix_row_does_not_know_of_it(audited: Finished) -> None:
    capsule = audited.capsule(FP32)
    without = capsule.model_copy(update={"audit": None}).sealed()
    changed = {"capsule_sha256"}
    ours, theirs = row_of(capsule).model_dump(), row_of(without).model_dump()
    assert {key for key in ours if ours[key] != theirs[key]} == changed
