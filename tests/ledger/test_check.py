"""Every fault, planted in a copy of a workspace, is found and named; an untouched copy passes."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sealing import resealed
from zmlx_bench.findings.finding import Finding
from zmlx_bench.ledger.check.targets import check
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.legacy.store import import_into, sources
from zmlx_bench.schema.capsule import output_hash
from zmlx_bench.workspace import Workspace

FIRST, SECOND = "20300101T100000Z-qwen3-0002", "20300102T100000Z-qwen3-0002"
GOOD = f"capsules/{FIRST}/qwen3_tiny_cpu_t20_r3_combine_one.json"
WRONG = f"capsules/{FIRST}/qwen3_tiny_cpu_t20_r3_other_one.json"
SESSION = f"capsules/{FIRST}/session.json"
MATRIX = "matrix.jsonl"
ROWS = f"capsules/{FIRST}/rows.jsonl"
LEGACY = "capsules/legacy/fixture_capsule_20300101.json"
FIXTURES = Path(__file__).resolve().parents[1] / "data" / "legacy"

Json = dict[str, Any]


def edit(decided: Workspace, file: str, change: Callable[[Json], None], *, rehash: bool = False) -> None:
    """Change an artifact; with `rehash` the forger also makes its own content hash right again."""
    path = decided.root / file
    content: Json = json.loads(path.read_text())
    change(content)
    if rehash:
        content = resealed(content)
    path.write_text(json.dumps(content))


def rows(decided: Workspace, change: Callable[[list[str]], None]) -> None:
    lines = decided.matrix.read_text().splitlines(keepends=True)
    change(lines)
    decided.matrix.write_text("".join(lines))


def row(decided: Workspace, index: int, field: str, value: object) -> None:
    def change(lines: list[str]) -> None:
        lines[index] = json.dumps({**json.loads(lines[index]), field: value}) + "\n"

    rows(decided, change)


def put(path: list[str | int], value: object) -> Callable[[Json], None]:
    def change(content: Json) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def found(decided: Workspace) -> list[Finding]:
    return list(check_workspace(decided, processes=1).findings)


def assert_found(decided: Workspace, file: str, field: str, message: str = "") -> None:
    findings = found(decided)
    matching = [f for f in findings if f.file == file and f.field.startswith(field) and message in f.message]
    assert matching, "\n".join(str(f) for f in findings) or "nothing was found"
    assert all("\n" not in str(f) for f in findings)


def test_an_untouched_workspace_passes(decided: Workspace) -> None:
    import_into(decided, sources(FIXTURES))
    checked = check_workspace(decided)
    assert checked.findings == ()
    assert (checked.capsules, checked.sessions, checked.rows) == (8, 2, 8)


@pytest.mark.process
def test_several_processes_find_what_one_finds(decided: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(decided, GOOD, put(["figures", "speedup", "value"], 1.5))
    monkeypatch.setattr("zmlx_bench.ledger.check.workspace.PARALLEL_FROM", 1)
    several = check_workspace(decided, processes=2)
    assert several.findings
    assert several == check_workspace(decided, processes=1)


EDITS: list[tuple[str, list[str | int], object, bool, str]] = [
    (GOOD, ["figures", "speedup", "value"], 1.5, False, "content_sha256"),
    (GOOD, ["figures", "speedup", "value"], 1.5, True, "figures.speedup.value"),
    (GOOD, ["figures", "speedup", "low"], 0.5, True, "figures.speedup.low"),
    (GOOD, ["figures", "speedup", "high"], 2.5, True, "figures.speedup.high"),
    (GOOD, ["figures", "speedup", "logs", 1], 0.5, True, "figures.speedup.logs[1]"),
    (GOOD, ["figures", "null", "value"], 1.0, True, "figures.null.value"),
    (GOOD, ["figures", "decode_tok_s"], 999.0, True, "figures.decode_tok_s"),
    (GOOD, ["figures", "prefill", "value"], 3.0, True, "figures.prefill.value"),
    (GOOD, ["figures", "memory", "peak_mem_gb"], 0.1, True, "figures.memory.peak_mem_gb"),
    (GOOD, ["figures", "latency", "p99_ms"], 0.1, True, "figures.latency.p99_ms"),
    (GOOD, ["figures", "ratios", "token_p95", "value"], 0.5, True, "figures.ratios.token_p95.value"),
    (GOOD, ["figures", "ratios", "ttft"], None, True, "figures.ratios.ttft"),
    (GOOD, ["figures", "ratios"], None, True, "figures.ratios"),
    (GOOD, ["figures", "busy_by_others"], None, True, "figures.busy_by_others"),
    (WRONG, ["figures", "fidelity", "verdict"], "identical", True, "figures.fidelity.verdict"),
    (WRONG, ["figures", "fidelity", "matched_tokens"], 79, True, "figures.fidelity.matched_tokens"),
    (WRONG, ["figures", "fidelity", "prompts", 0, "first_divergence"], 7, True, "figures.fidelity.prompts[0].first"),
    (GOOD, ["status"], "crash", True, "status"),
    (GOOD, ["runs", "variant", 0, "generations", 0, "decode_s"], 1.0, True, "runs.variant[0].generations[0].decode_s"),
    (GOOD, ["runs", "variant", 0, "generations", 0, "token_us", 5], 1, True, "runs.variant[0].generations[0].decode_s"),
    (GOOD, ["runs", "variant", 0, "generations", 0, "token_us"], [], True, "runs.variant[0].generations[0].token_us"),
    (GOOD, ["runs", "variant", 0, "generations", 0, "tokens"], 15, True, "runs.variant[0].generations[0].tokens"),
    (GOOD, ["runs", "variant", 0, "generations", 0, "prompt"], "p3", True, "runs.variant[0].generations[0].prompt"),
    (GOOD, ["runs", "variant", 0, "generations", 0, "output"], "f" * 64, True, "runs.variant[0].generations[0].output"),
    (GOOD, ["runs", "variant", 0, "block"], 2, True, "runs.variant[1].block"),
    (GOOD, ["runs", "variant", 0, "role"], "null", True, "runs.variant[0].role"),
    (GOOD, ["runs", "baseline", 0, "job"], 0, True, "runs.baseline[0].job"),
    (GOOD, ["runs", "variant", 0, "position"], 99, True, "runs.variant[0].position"),
    (GOOD, ["outputs", "f" * 64], [1, 2], True, "outputs.ffffffffffff"),
    (GOOD, ["encoded", "token_ids", "p1", 3], 77, True, "fidelity_runs.variant[0].generations[0].prompt_sha256"),
    (GOOD, ["encoded", "token_ids", "p0"], [1, 2], True, "runs.variant[0].generations[0].prompt_sha256"),
    (GOOD, ["encoded", "chat_template"], True, True, "chat_template"),
    (GOOD, ["encoded"], None, True, "runs.variant[0].generations[0].prompt_sha256"),
    (GOOD, ["encoded", "token_ids"], {"p0": [1]}, True, "file"),
    (
        GOOD,
        ["runs", "null", 1, "generations", 0, "prompt_sha256"],
        None,
        True,
        "runs.null[1].generations[0].prompt_sha",
    ),
    (GOOD, ["protocol", "order", 0], ["baseline", "null"], True, "protocol.order"),
    (GOOD, ["protocol", "seed"], 5, True, "protocol.seed"),
    (GOOD, ["protocol", "trust_remote_code"], True, True, "protocol.trust_remote_code"),
    (GOOD, ["fidelity_runs", "variant", 0, "position"], 1, True, "fidelity_runs.variant[0].job"),
    (GOOD, ["machine", "device"], "Faster CPU", True, "machine"),
    (GOOD, ["software", "mlx"], "9.9", True, "software"),
    (GOOD, ["checkpoint", "digest"], "f" * 64, True, "checkpoint"),
    (GOOD, ["variant", "why"], "another", True, "variant"),
    (GOOD, ["tokens"], 21, True, "tokens"),
    (GOOD, ["session"], "another", True, "session"),
    (GOOD, ["time"], "2031-01-01T00:00:00.000Z", True, "time"),
    (GOOD, ["schema_version"], 3, False, "schema_version"),
    (GOOD, ["invented"], 1, False, "invented"),
    (SESSION, ["started"], "2029-01-01T00:00:00.000Z", False, "content_sha256"),
    (SESSION, ["plan", "seed"], 77, True, "plan.jobs"),
    (SESSION, ["plan", "blocks"], 10**15, True, "plan.jobs"),
    (SESSION, ["plan", "jobs", 3, "arm"], "baseline", True, "plan.jobs[3].arm"),
    (SESSION, ["session"], "another", True, "session"),
    (SESSION, ["ended"], None, True, "ended"),
    (SESSION, ["capsules", 0, "file"], "../../elsewhere.json", False, "capsules.0.file"),
    (SESSION, ["capsules", 0, "file"], "\0.json", False, "capsules.0.file"),
]


@pytest.mark.parametrize(
    ("file", "path", "value", "rehash", "field"),
    EDITS,
    ids=[f"{e[4]}-{'rehashed' if e[3] else 'plain'}" for e in EDITS],
)
def test_an_edited_field_is_named(
    decided: Workspace, file: str, path: list[str | int], value: object, rehash: bool, field: str
) -> None:
    edit(decided, file, put(path, value), rehash=rehash)
    assert_found(decided, file, field)


def test_a_re_hashed_capsule_is_found_by_its_session_and_by_the_matrix(decided: Workspace) -> None:
    edit(decided, GOOD, put(["runs", "variant", 0, "load_s"], 0.1), rehash=True)
    assert_found(decided, SESSION, "capsules[", "replaced")
    assert_found(decided, MATRIX, "line 1.capsule_sha256")


def test_a_baseline_slowed_down_in_one_capsule_is_not_the_other_capsules(decided: Workspace) -> None:
    edit(decided, GOOD, put(["runs", "baseline", 0, "peak_rss_gb"], 9.0), rehash=True)
    assert any("the run of job" in f.message and f.field == "runs" for f in found(decided))


def test_edited_tokens_are_found_by_their_hash(decided: Workspace) -> None:
    def change(content: Json) -> None:
        name = next(iter(content["outputs"]))
        content["outputs"][name][3] += 1

    edit(decided, GOOD, change, rehash=True)
    assert_found(decided, GOOD, "outputs.", "edited")


def test_tokens_made_to_match_the_verdict_change_it(decided: Workspace) -> None:
    """A forger who swaps the variant's outputs for the baseline's must forge the verdict too, and the reverse."""

    def change(content: Json) -> None:
        tokens = [7] * 20
        name = output_hash(tokens)
        for run in content["runs"]["variant"]:
            run["generations"][0]["output"] = name
        content["outputs"][name] = tokens

    edit(decided, GOOD, change, rehash=True)
    assert_found(decided, GOOD, "figures.fidelity.verdict", "says identical, the raw runs give diverged")


def test_a_missing_capsule(decided: Workspace) -> None:
    (decided.root / GOOD).unlink()
    assert_found(decided, GOOD, "file", "is missing")
    assert_found(decided, MATRIX, "line 1.capsule", "missing")


def test_a_capsule_missing_without_a_trace_is_missed_by_the_plan(decided: Workspace) -> None:
    (decided.root / GOOD).unlink()
    name = GOOD.rpartition("/")[2]
    edit(
        decided,
        SESSION,
        lambda content: content.update(capsules=[c for c in content["capsules"] if c["file"] != name]),
        rehash=True,
    )
    rows(decided, lambda lines: lines.pop(0) and None)
    assert_found(decided, SESSION, "plan.arms", "combine_one was planned at 20 tokens")


def test_an_orphaned_capsule(decided: Workspace) -> None:
    copy = decided.root / GOOD.replace("combine_one", "combine_two")
    shutil.copy(decided.root / GOOD, copy)
    assert_found(decided, GOOD.replace("combine_one", "combine_two"), "file", "orphaned")
    assert_found(decided, GOOD.replace("combine_one", "combine_two"), "file", "its content belongs to")


def test_a_capsule_without_its_session_file_is_orphaned(decided: Workspace) -> None:
    (decided.root / SESSION).unlink()
    assert_found(decided, SESSION, "file", "is missing")
    assert_found(decided, GOOD, "file", "orphaned")


def test_a_capsule_outside_any_session_is_orphaned(decided: Workspace) -> None:
    shutil.copy(decided.root / GOOD, decided.capsules / "loose.json")
    assert_found(decided, "capsules/loose.json", "file", "orphaned")


def test_a_deleted_matrix_row(decided: Workspace) -> None:
    rows(decided, lambda lines: lines.pop(2) and None)
    assert_found(decided, MATRIX, "rows", "deleted; `zmlx promote` writes the file again")


def test_a_deleted_matrix(decided: Workspace) -> None:
    decided.matrix.unlink()
    assert len([f for f in found(decided) if "deleted" in f.message]) == 8


def test_a_duplicated_matrix_row(decided: Workspace) -> None:
    rows(decided, lambda lines: lines.insert(4, lines[1]))
    assert_found(decided, MATRIX, "line 5", "a second row")


@given(order=st.permutations(range(8)))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_rows_means_nothing(decided: Workspace, order: list[int]) -> None:
    """The rows of two branches are a union, whichever was merged first."""
    rows(decided, lambda lines: lines.__setitem__(slice(None), [sorted(lines)[index] for index in order]))
    assert found(decided) == []


def test_a_deleted_row_of_a_session(decided: Workspace) -> None:
    path = decided.root / ROWS
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1] + lines[2:]))
    assert_found(decided, ROWS, "rows", "deleted")


def test_rows_whose_session_has_gone_are_named_and_outlive_the_next_write(decided: Workspace) -> None:
    shutil.rmtree(decided.session(FIRST))
    assert_found(decided, MATRIX, "line 1.capsule", "missing")
    record(decided, decide(decided, None))
    assert_found(decided, MATRIX, "line 1.capsule", "missing")


def test_a_capsule_under_another_session(decided: Workspace) -> None:
    """Moved with its row: neither the folder nor the other session knows it."""
    moved = GOOD.replace(FIRST, SECOND)
    (decided.root / GOOD).replace(decided.root / moved)
    row(decided, 0, "capsule", moved)
    assert_found(decided, moved, "session", f"says {FIRST}")
    assert_found(decided, GOOD, "file", "is missing")
    assert_found(decided, ROWS, "line 1.capsule", "missing")


@pytest.mark.parametrize("file", ["matrix.jsonl", "rows.jsonl"])
def test_an_unresolved_merge_is_named_by_its_line(decided: Workspace, file: str) -> None:
    path = decided.root / (MATRIX if file == MATRIX else ROWS)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(["<<<<<<< HEAD\n", lines[0], "=======\n", *lines[1:], ">>>>>>> theirs\n"]))
    assert_found(decided, path.relative_to(decided.root).as_posix(), "line 1", "zmlx promote")


@pytest.mark.parametrize(
    ("field", "value"),
    [("speedup", 1.5), ("speedup_low", 1.4), ("fidelity", "diverged"), ("status", "crash"), ("device", "x"),
     ("peak_mem_gb", None), ("commit", "abc"), ("time", "2030-01-05T10:00:00.000Z")],
)  # fmt: skip
def test_an_edited_matrix_row(decided: Workspace, field: str, value: object) -> None:
    row(decided, 0, field, value)
    assert_found(decided, MATRIX, f"line 1.{field}")
    shutil.copy(decided.matrix, decided.root / ROWS)
    assert_found(decided, ROWS, f"line 1.{field}")


def test_a_torn_matrix_row(decided: Workspace) -> None:
    decided.matrix.write_bytes(decided.matrix.read_bytes()[:-20])
    assert_found(decided, MATRIX, "line 8")


@pytest.mark.parametrize(
    ("path", "value", "rehash", "field"),
    [
        (["source_name"], "other.json", True, "source_name"),
        (["records", 0, "speedup"], 2.0, True, "records[0].speedup"),
        (["records", 0, "notes"], "edited", False, "content_sha256"),
        (["records", 0, "stated_speedup"], 2.0, True, "inconsistencies"),
    ],
)
def test_an_edited_legacy_import(
    decided: Workspace, path: list[str | int], value: object, rehash: bool, field: str
) -> None:
    import_into(decided, sources(FIXTURES))
    edit(decided, LEGACY, put(path, value), rehash=rehash)
    assert_found(decided, LEGACY, field)


# What is imported is checked by itself: it may be broken beside a capsule.
@pytest.mark.parametrize("broken", [(GOOD, LEGACY), (SESSION,), (MATRIX,)], ids=["capsules", "session", "matrix"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"\xff\xfe", b"[" * 50_000, b"null\n", b"{}\n", b'{"schema_version": 99}\n', b'{"a": 1, "a": 2}\n',
     b'{"tokens": 1e999}\n', b"\x1b[2J\n", b'{"\\u001b[2J\\ud800": 1}\n', b'{"schema_version": true}\n'],
    ids=lambda content: content[:24],
)  # fmt: skip
def test_hostile_bytes_give_findings_on_one_clean_line(
    decided: Workspace, broken: tuple[str, ...], content: bytes
) -> None:
    import_into(decided, sources(FIXTURES))
    for file in broken:
        (decided.root / file).write_bytes(content)
    findings = found(decided)
    assert {f.file for f in findings}.issuperset(broken)
    assert all(str(f).isprintable() for f in findings)


@pytest.mark.parametrize("seed", range(40))
def test_a_random_change_of_a_leaf_is_never_missed_and_never_a_traceback(decided: Workspace, seed: int) -> None:
    """Whatever leaf of whatever artifact changes, without re-hashing, something is found in that file."""
    generator = random.Random(seed)
    file = generator.choice([GOOD, WRONG, SESSION])

    def change(content: Json) -> None:
        place: Any = content
        while True:
            key = generator.choice(list(place)) if isinstance(place, dict) else generator.randrange(len(place))
            if not isinstance(place[key], dict | list) or not place[key]:
                break
            place = place[key]
        place[key] = generator.choice([v for v in (None, -1, 0, 3.5, "wrong", [], {}, True) if v != place[key]])

    edit(decided, file, change)
    assert any(f.file == file for f in found(decided))


@pytest.mark.parametrize("file", [GOOD, SESSION, LEGACY])
def test_half_a_surrogate_pair_is_a_finding(decided: Workspace, file: str) -> None:
    import_into(decided, sources(FIXTURES))
    path = decided.root / file
    path.write_text(path.read_text().replace('"run", "qwen3"', '"\\ud800", "qwen3"').replace("Fixture", "\\ud800", 1))
    assert_found(decided, file, "file", "surrogate")


def test_paths_narrow_the_findings(decided: Workspace) -> None:
    edit(decided, GOOD, put(["status"], "crash"), rehash=True)
    row(decided, 7, "speedup", 9.0)
    of_capsule = check([decided.root / GOOD], None).findings
    of_matrix = check([decided.matrix], None).findings
    assert {f.file for f in of_capsule} == {GOOD}
    assert {f.file for f in of_matrix} == {MATRIX}
    assert {f.file for f in check([decided.root], None).findings} >= {GOOD, SESSION, MATRIX}
