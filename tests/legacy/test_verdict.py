"""Legacy verdicts: a fidelity failure rejects, nothing becomes a candidate, and every verdict says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.legacy.faults import record_faults, speedup_of
from zmlx_bench.legacy.registry import import_file
from zmlx_bench.legacy.schema import LegacyArm, LegacyFidelity, LegacyImport, LegacyRecord
from zmlx_bench.legacy.store import sources
from zmlx_bench.legacy.verdict import LegacyVerdict, legacy_verdicts
from zmlx_bench.schema.sealed import UNSEALED

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "data" / "legacy"
SAMPLE = ROOT.parent / "shared" / "history"
needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason="the predecessor's sample is not here")


def verdicts_of(folder: Path) -> dict[str, LegacyVerdict]:
    return {v.variant: v for v in legacy_verdicts([import_file(path) for path in sources(folder)])}


def test_a_fidelity_failure_rejects_however_fast() -> None:
    verdict = verdicts_of(FIXTURES)["wrong"]
    assert (verdict.verdict, verdict.reason) == ("REJECT", "fidelity")
    assert "3 of 200" in verdict.why[0]
    assert "1.5000x" in verdict.why[0]


def test_an_aggregate_speaks_against_a_variant_and_never_for_one() -> None:
    found = verdicts_of(FIXTURES)
    assert (found["fast_one"].verdict, found["fast_one"].reason) == ("HOLD", "not_faster")
    assert "0.9000x at 1024 tokens (fixture_snapshot.json)" in found["fast_one"].why[0]
    assert "only_copied" not in found


def test_one_process_told_of_in_three_files_counts_once() -> None:
    verdict = verdicts_of(FIXTURES)["fast_one"]
    assert [m.source for m in verdict.measurements if m.counts] == ["fixture_ledger.jsonl"]


def test_another_family_has_no_verdict() -> None:
    assert all(v.family in ("qwen3", "glm47") for v in verdicts_of(FIXTURES).values())


def record(decode: list[float], patched: list[float], matched: int) -> LegacyRecord:
    base, other = LegacyArm(decode_tok_s=tuple(decode)), LegacyArm(decode_tok_s=tuple(patched))
    verdict = "PASS" if matched == 200 else "FAIL"
    return LegacyRecord(
        where="invented", family="qwen3", model="m", variant="v", patterns=None, tokens=200, runs=len(decode),
        baseline=base, patched=other, fidelity=LegacyFidelity(verdict=verdict, matched=matched, total=200),
        stated_speedup=None, stated_prefill_change=None, speedup=speedup_of(base, other),
    )  # fmt: skip


rates = st.lists(st.floats(1, 1000), min_size=1, max_size=5)


@given(decode=rates, patched=rates, matched=st.integers(0, 200))
def test_no_figures_make_a_candidate(decode: list[float], patched: list[float], matched: int) -> None:
    legacy = LegacyImport(
        source_name="x.json", source_sha256="0" * 64, shape="variant_capsule", is_evidence=True, why_not=None,
        records=(record(decode, patched, matched),), content_sha256=UNSEALED,
    )  # fmt: skip
    (verdict,) = legacy_verdicts([legacy])
    assert verdict.verdict == "REJECT" if matched < 200 else verdict.verdict in ("HOLD", "INCONCLUSIVE")
    assert verdict.why


@given(runs=st.lists(st.integers(100, 99999).map(lambda n: n / 10), min_size=1, max_size=5), data=st.data())
def test_honestly_rounded_figures_are_never_called_wrong(runs: list[float], data: st.DataObject) -> None:
    """Medians to one place and their ratio to four, as the lab wrote them, from any runs."""
    import statistics

    others = data.draw(st.lists(st.integers(100, 99999).map(lambda n: n / 10), min_size=len(runs), max_size=len(runs)))
    below, above = statistics.median(runs), statistics.median(others)
    honest = record(runs, others, 200).model_copy(
        update={
            "baseline": LegacyArm(decode_tok_s=tuple(runs), stated_median_decode_tok_s=round(below, 1)),
            "patched": LegacyArm(decode_tok_s=tuple(others), stated_median_decode_tok_s=round(above, 1)),
            "stated_speedup": max(round(above / below, 4), 1e-4),
        }
    )
    assert record_faults(honest) == ()


@needs_sample
def test_the_fast_and_wrong_kernel_of_the_sample_is_rejected() -> None:
    legacy = import_file(SAMPLE / "glm47_flash_residual_norm_m4max_20260205.json")
    (verdict,) = legacy_verdicts([legacy])
    assert (verdict.verdict, verdict.reason) == ("REJECT", "fidelity")
    assert "1 of 200" in verdict.why[0]
    assert legacy.records[0].speedup == pytest.approx(1.08, abs=0.005)


@needs_sample
@pytest.mark.parametrize(
    ("variant", "reasons"),
    [
        ("qwen_combine_exact", ("0.9750x at 1024 tokens", "after 1.0614x", "its processes disagree")),
        (
            "qwen_router_argpartition_logits_topk_combine_exact",
            ("0.9759x at 1024 tokens", "beaten at 1024 tokens", "against 1.0614x of qwen_combine_exact"),
        ),
        (
            "glm_combine_fp32_no_fma",
            ("0.9572x at 200 tokens", "fewer than the lab's own minimum of 3", "nothing measured at 1024 tokens"),
        ),
    ],
)
def test_what_the_lab_promoted_or_nearly_is_held_with_a_reader_s_reasons(
    variant: str, reasons: tuple[str, ...]
) -> None:
    verdict = verdicts_of(SAMPLE)[variant]
    text = " | ".join(verdict.why)
    assert verdict.verdict == "HOLD"
    assert "unpaired" in text
    for reason in reasons:
        assert reason in text


@needs_sample
def test_rope_probes_carry_no_verdict() -> None:
    imports = [import_file(path) for path in sources(SAMPLE) if "rope_" in path.name or "_rope" in path.name]
    assert len(imports) == 2
    assert legacy_verdicts(imports) == ()
