"""Import of the predecessor's layouts, on invented fixture data and, where present, on its own sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from zmlx_bench.errors import UnusableInput
from zmlx_bench.legacy.registry import import_file
from zmlx_bench.legacy.schema import LegacyImport
from zmlx_bench.legacy.store import import_into, sources, stored_imports
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "data" / "legacy"
SAMPLE = ROOT.parent / "shared" / "history"
needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason="the predecessor's sample is not here")


def imported(name: str) -> LegacyImport:
    return import_file(FIXTURES / name)


def codes(legacy: LegacyImport) -> list[str]:
    return [fault.code for fault in legacy.inconsistencies]


@pytest.mark.parametrize(
    ("name", "shape", "evidence", "records"),
    [
        ("fixture_capsule_20300101.json", "variant_capsule", True, 1),
        ("fixture_skip_20300101.json", "multi_variant_capsule", True, 1),
        ("fixture_wrong_kv4_20300101.json", "variant_capsule", True, 1),
        ("fixture_other_model_20300101.json", "model_capsule", False, 1),
        ("fixture_summary.json", "run_summary", True, 2),
        ("fixture_ledger.jsonl", "ledger_rows", True, 3),
        ("fixture_snapshot.json", "aggregate_snapshot", False, 2),
        ("fixture_search_20300102.json", "kernel_search_decision", False, 0),
        ("fixture_probe.json", "contiguity_probe", False, 0),
        ("fixture_stress.json", "stress_statistics", False, 0),
    ],
)
def test_every_layout_is_named_and_evidence_or_refused_with_a_reason(
    name: str, shape: str, evidence: bool, records: int
) -> None:
    legacy = imported(name)
    assert (legacy.shape, legacy.is_evidence, len(legacy.records)) == (shape, evidence, records)
    assert (legacy.why_not is None) == evidence
    assert legacy.source_name == name
    assert legacy == legacy.sealed()


def test_a_sound_capsule_is_mapped_whole_and_without_complaint() -> None:
    legacy = imported("fixture_capsule_20300101.json")
    (record,) = legacy.records
    assert legacy.inconsistencies == ()
    assert record.baseline.decode_tok_s == (10.0, 20.0, 30.0)
    assert record.patched.prefill_tok_s == (110.0, 110.0, 110.0)
    assert record.speedup == pytest.approx(1.1)
    assert (record.family, record.variant, record.tokens, record.runs) == ("qwen3", "fast_one", 200, 3)
    assert (record.os, record.mlx, record.commit, record.stated_date) == ("macOS 0.1", "0.0.1", "0000000", "2030-01-01")
    assert record.time_utc is None


def test_what_a_summary_does_not_say_stays_null() -> None:
    record = imported("fixture_summary.json").records[0]
    assert record.model is None
    assert record.device is None
    assert record.mlx is None
    assert record.baseline.decode_tok_s == ()
    assert record.time_utc == "2030-01-02T03:04:05.000Z"


@pytest.mark.parametrize(
    ("name", "variant"),
    [("fixture_skip_20300101.json", "never_ran"), ("fixture_summary.json", "failed"), ("fixture_ledger.jsonl", None)],
)
def test_an_arm_that_never_ran_has_no_record(name: str, variant: str | None) -> None:
    legacy = imported(name)
    assert [absent.variant for absent in legacy.not_measured] == [variant]
    assert legacy.not_measured[0].where not in {record.where for record in legacy.records}


@pytest.mark.parametrize(
    ("name", "code", "field"),
    [
        ("fixture_skip_20300101.json", "skip_stored_as_zeros", "never_ran.patched"),
        ("fixture_ledger.jsonl", "skip_stored_as_zeros", "line 3.decode_speedup"),
        ("fixture_wrong_kv4_20300101.json", "speedup_not_ratio", "wrong.decode_speedup"),
        ("fixture_ledger.jsonl", "speedup_not_ratio", "line 4.decode_speedup"),
        ("fixture_probe.json", "speedup_not_ratio", "delta.median_gen_tps_ratio"),
        ("fixture_wrong_kv4_20300101.json", "median_not_of_runs", "wrong.baseline.decode_tok_s"),
        ("fixture_wrong_kv4_20300101.json", "prefill_sign_flipped", "wrong.prefill_change"),
        ("fixture_wrong_kv4_20300101.json", "cold_first_run", "wrong.baseline.prefill_tok_s[0]"),
        ("fixture_wrong_kv4_20300101.json", "local_date", "meta.date"),
        ("fixture_summary.json", "model_not_named", "results[0].model"),
        ("fixture_summary.json", "capsule_absent", "results[].capsule"),
        ("fixture_summary.json", "capsule_disagrees", "results[0].metrics.decode.speedup"),
        ("fixture_summary.json", "command_differs", "results[0].command"),
        ("fixture_ledger.jsonl", "local_date", "line 1.timestamp"),
        ("fixture_ledger.jsonl", "rows_out_of_order", "line 3.timestamp"),
        ("fixture_ledger.jsonl", "kv_bits_missing", "line 2.notes"),
        ("fixture_ledger.jsonl", "variant_not_named", "line 2.variant"),
        ("fixture_ledger.jsonl", "capsule_not_named", "line 4.notes"),
        ("fixture_snapshot.json", "prefill_sign_flipped", "rows[].prefill_change_pct_slower_positive"),
        ("fixture_snapshot.json", "control_named_baseline", "rows[].baseline_variant"),
        ("fixture_search_20300102.json", "local_date", "meta.date"),
        ("fixture_stress.json", "peak_memory_running_maximum", "patched_stats[].peak_mem_gb"),
        ("fixture_stress.json", "time_without_zone", "metadata.date"),
    ],
)
def test_inconsistencies_are_listed_with_their_field(name: str, code: str, field: str) -> None:
    assert (code, field) in [(fault.code, fault.field) for fault in imported(name).inconsistencies]


def test_a_command_that_does_not_reproduce_is_told_for_each_reason() -> None:
    legacy = imported("fixture_wrong_kv4_20300101.json")
    text = " | ".join(f.sentence for f in legacy.inconsistencies if f.code == "command_does_not_reproduce")
    for reason in ("--runs 2", "ZMLX_OTHER=2", "moe_mlp other", "--kv-bits"):
        assert reason in text


def test_the_ledger_takes_a_variant_only_from_a_capsule_beside_it_with_the_same_runs(tmp_path: Path) -> None:
    assert imported("fixture_ledger.jsonl").records[0].variant == "fast_one"
    alone = tmp_path / "fixture_ledger.jsonl"
    shutil.copy(FIXTURES / alone.name, alone)
    assert import_file(alone).records[0].variant is None


def test_a_flipped_prefill_sign_is_turned_back_in_the_aggregate() -> None:
    legacy = imported("fixture_snapshot.json")
    assert legacy.records[0].stated_prefill_change == pytest.approx(0.1)
    assert "prefill_change_not_ratio" not in codes(legacy)
    assert legacy.records[0].time_utc == "2030-01-03T00:00:00.000Z"


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    first = import_into(workspace, sources(FIXTURES))
    before = {item.path: item.path.read_bytes() for item in first}
    second = import_into(workspace, sources(FIXTURES))
    assert all(item.changed for item in first)
    assert not any(item.changed for item in second)
    assert {path: path.read_bytes() for path in before} == before
    assert {i.source_name for i in stored_imports(workspace)} == {p.name for p in sources(FIXTURES)}


def test_one_unusable_file_keeps_the_whole_folder_out(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    shutil.copytree(FIXTURES, folder)
    (folder / "zzz.json").write_text("{}")
    workspace = Workspace(tmp_path / "ws")
    with pytest.raises(UnusableInput, match=r"zzz\.json.*none of the layouts"):
        import_into(workspace, sources(folder))
    assert not workspace.capsules.exists()


def test_another_file_of_the_same_name_does_not_replace_an_import(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws")
    import_into(workspace, [FIXTURES / "fixture_probe.json"])
    other = tmp_path / "fixture_probe.json"
    other.write_text((FIXTURES / "fixture_probe.json").read_text().replace("1.2", "1.1"))
    with pytest.raises(UnusableInput, match="another file named"):
        import_into(workspace, [other])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"meta": {"git_commit": 1, "zmlx_version": 2}, "a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[]",
        b"null",
        b'{"meta": {"git_commit": "x", "zmlx_version": "y"}, "a": {"model": 1, "variant": 2, "baseline": [],'
        b' "patched": {}, "fidelity": []}}',
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_hostile_files_give_one_line_that_names_the_file(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"hostile{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match="hostile") as caught:
        import_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(p.name for p in FIXTURES.glob("*.json")))
def test_no_single_wrong_field_gives_a_traceback(name: str, tmp_path: Path) -> None:
    """Each leaf and branch replaced in turn: mapped, or refused with the file's name."""
    original = json.loads((FIXTURES / name).read_text())
    path = tmp_path / name
    for broken in _broken(original):
        path.write_text(json.dumps(broken))
        try:
            legacy = import_file(path)
        except UnusableInput as error:
            assert name in str(error)  # noqa: PT017
        else:
            assert legacy.source_name == name


def _broken(value: object) -> list[object]:
    """Return copies of `value` with one place each replaced by something of another type or sign."""
    found: list[object] = []
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(places):
        for wrong in (None, -1, "wrong", [], {}):
            copy = value.copy()  # type: ignore[attr-defined]
            copy[key] = wrong
            found.append(copy)
        for deeper in _broken(inner):
            copy = value.copy()  # type: ignore[attr-defined]
            copy[key] = deeper
            found.append(copy)
    return found


@needs_sample
def test_every_file_of_the_sample_is_recognised() -> None:
    shapes = {path.name: import_file(path) for path in sources(SAMPLE)}
    assert len(shapes) == 13
    refused = {name for name, legacy in shapes.items() if not legacy.is_evidence}
    assert {name.split("_")[0] for name in refused} == {"benchmark", "glm47", "glm", "lfm2"}
    assert all("rope" in name for name in refused if name.startswith("glm47"))


@needs_sample
def test_the_sample_s_skipped_arm_stays_absent() -> None:
    legacy = import_file(SAMPLE / "glm47_flash_downproj_combine_m4max_20260205.json")
    assert [absent.variant for absent in legacy.not_measured] == ["control_swiglu_moe_downproj_combine"]
    assert [record.variant for record in legacy.records] == ["control_swiglu_moe"]
    assert "skip_stored_as_zeros" in codes(legacy)
