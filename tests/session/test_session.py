"""A whole session through the command: files, figures, hashes, matrix rows, what is printed."""

from __future__ import annotations

import json
from collections import Counter

from tests.conftest import Zmlx
from tests.session.conftest import AUDITED_TOKENS, FP32, MEASURED, Finished
from tests.small import LAYERS
from zmlx_bench.analysis import figures
from zmlx_bench.ledger import matrix
from zmlx_bench.protocol.prefix import facts
from zmlx_bench.schema.capsule import output_hash
from zmlx_bench.schema.matrix import capsule_file_name, row_of
from zmlx_bench.schema.run import Run


def test_the_session_holds_its_files_and_no_temporary_one(undisturbed: Finished) -> None:
    names = sorted(path.name for path in undisturbed.folder.iterdir())
    capsules = [f"qwen3_small-qwen3_cpu_t{tokens}_r2_{MEASURED}.json" for tokens in (12, 5)]
    assert names == ["events.jsonl", "logs", *capsules, "rows.jsonl", "session.json"]
    assert len(list((undisturbed.folder / "logs").iterdir())) == len(undisturbed.session.plan.jobs)
    assert undisturbed.session.state == "finished"
    assert undisturbed.session.resumed == 0


def test_the_plan_is_blocks_of_all_arms_with_a_null_arm(undisturbed: Finished) -> None:
    plan = undisturbed.session.plan
    assert [(arm.name, arm.role) for arm in plan.arms] == [
        ("baseline", "baseline"), ("null", "null"), (MEASURED, "variant"),
    ]  # fmt: skip
    assert Counter(job.kind for job in plan.jobs) == {"timed": 6, "fidelity": 3}
    first, second = undisturbed.capsule(MEASURED).protocol.order
    assert second == (*first[1:], first[0])


def test_jobs_ran_in_the_order_of_the_plan_and_every_event_is_kept(undisturbed: Finished) -> None:
    events = undisturbed.events()
    jobs = undisturbed.session.plan.jobs
    assert [e["job"] for e in events if e["kind"] == "start"] == [job.id for job in jobs]
    assert [e["status"] for e in events if e["kind"] == "end"] == ["ok"] * len(jobs)
    for job in jobs:
        mine = [e["event"]["event"] for e in events if e["kind"] == "event" and e["job"] == job.id]
        assert mine.count("token") == job.tokens * len(job.prompts)
        assert mine[0] == "loaded"
        assert mine[-2:] == ["done", "opened"]


def test_the_machines_state_is_read_once_between_two_processes(undisturbed: Finished) -> None:
    events = undisturbed.events()
    starts, ends = ([line for line in events if line["kind"] == kind] for kind in ("start", "end"))
    assert len(starts) == len(ends) > 2
    for end, start in zip(ends, starts[1:], strict=False):
        # What others took of the processors is told of a process, not of a moment.
        assert start["before"] == {name: value for name, value in end["after"].items() if name != "cpu_busy_by_others"}


def test_the_content_hashes_hold(undisturbed: Finished) -> None:
    capsule = undisturbed.capsule(MEASURED)
    assert capsule.intact
    assert undisturbed.session == undisturbed.session.sealed()
    _, reference = undisturbed.session.capsules
    assert reference.file == capsule_file_name(capsule)
    assert reference.content_sha256 == capsule.content_sha256
    assert all(output_hash(tokens) == digest for digest, tokens in capsule.outputs.items())


def test_the_figures_follow_from_the_raw_runs(undisturbed: Finished) -> None:
    capsule = undisturbed.capsule(MEASURED)
    ids = [prompt.id for prompt in capsule.prompts.prompt]
    derived = figures.derive(capsule.runs, capsule.fidelity_runs, capsule.outputs, capsule.tokens, ids, True)
    assert derived == capsule.figures


def test_joined_projections_change_no_token_and_the_null_arm_neither(undisturbed: Finished) -> None:
    fidelity = undisturbed.capsule(MEASURED).figures.fidelity
    assert fidelity is not None
    assert fidelity.verdict == "identical"
    assert fidelity.matched_tokens == fidelity.total_tokens == 24
    assert (fidelity.null_identical, fidelity.baseline_repeats) == (True, True)


def _measured(runs: tuple[Run, ...]) -> None:
    for run in runs:
        assert run.status == "ok"
        assert run.exit_code == 0
        assert run.load_s is not None
        assert run.peak_rss_gb is not None
        assert 0.05 < run.peak_rss_gb < 2.0
        assert run.page_faults_minor
        assert run.before is not None
        assert run.after is not None


def test_every_raw_number_is_there(undisturbed: Finished) -> None:
    capsule = undisturbed.capsule(MEASURED)
    for runs in (capsule.runs.baseline, capsule.runs.null, capsule.runs.variant):
        assert [run.block for run in runs] == [1, 2]
        _measured(runs)
        for run in runs:
            (timed,) = run.generations
            assert len(timed.token_us) == 11
            assert abs(sum(timed.token_us) / 1e6 - timed.decode_s) < 1e-3
            assert timed.peak_mem_gb >= timed.active_before_gb > 0
    _measured(capsule.fidelity_runs.variant)
    (baseline,) = capsule.fidelity_runs.baseline
    assert [len(g.margins) for g in baseline.generations] == [12, 12]
    assert all(run.generations[0].margins == () for run in capsule.runs.baseline)


def test_a_shorter_budget_is_the_prefix_of_the_same_processes_with_memory_of_its_own(undisturbed: Finished) -> None:
    short, whole = undisturbed.capsule(MEASURED, 5), undisturbed.capsule(MEASURED)
    assert short.protocol.order == whole.protocol.order
    clocks: list[float] = []
    for role in ("baseline", "null", "variant"):
        for mine, theirs in zip(getattr(short.runs, role), getattr(whole.runs, role), strict=True):
            (prefix,), (timed,) = mine.generations, theirs.generations
            assert (mine.job, mine.tokens, mine.of_tokens, theirs.of_tokens) == (theirs.job, 5, 12, None)
            assert facts(mine, short.outputs, 5) == facts(theirs, whole.outputs, 5)
            assert prefix.token_us == timed.token_us[:4]
            assert timed.active_before_gb < prefix.peak_mem_gb <= timed.peak_mem_gb
            assert mine.peak_rss_gb is not None
            assert theirs.peak_rss_gb is not None
            assert 0.05 < mine.peak_rss_gb <= theirs.peak_rss_gb
            assert 0 <= prefix.supervisor_decode_s <= timed.supervisor_decode_s
            clocks.append(prefix.supervisor_decode_s / prefix.decode_s)
    # On a busy machine it may read four tokens at once, but not in every process.
    assert min(abs(clock - 1) for clock in clocks) < 0.5, "the supervisor saw a prefix's last token come"
    assert short.fidelity_runs == whole.fidelity_runs
    assert short.figures.fidelity is not None
    assert short.figures.fidelity.total_tokens == 2 * 5


def test_every_host_of_the_site_is_called_once_a_token(undisturbed: Finished) -> None:
    assert undisturbed.capsule(MEASURED).figures.calls_per_token == {"qkv": LAYERS}


def test_the_capsule_tells_what_the_numbers_belong_to(undisturbed: Finished) -> None:
    capsule = undisturbed.capsule(MEASURED)
    assert capsule.protocol.command[:3] == ("zmlx", "run", "qwen3")
    assert capsule.software.mlx
    assert (capsule.checkpoint.kind, capsule.checkpoint.source) == ("path", "small_qwen3")
    assert list(capsule.checkpoint.weights) == ["model.safetensors"]
    assert len(capsule.variant.kernels[0].source_sha256) == 64
    assert "/" not in capsule.checkpoint.source


def test_the_tiny_checkpoint_is_recorded_as_the_kind_that_everybody_has(audited: Finished) -> None:
    checkpoint = audited.capsule(FP32).checkpoint
    assert (checkpoint.kind, checkpoint.label, list(checkpoint.weights)) == ("tiny", "tiny", ["model.safetensors"])
    assert (audited.folder / f"qwen3_tiny_cpu_t{AUDITED_TOKENS}_r1_{FP32}.json").is_file()


def test_the_matrix_has_the_capsules_row(undisturbed: Finished) -> None:
    capsule = undisturbed.capsule(MEASURED)
    assert matrix.read(undisturbed.workspace.matrix) == [row_of(undisturbed.capsule(MEASURED, 5)), row_of(capsule)]
    row = row_of(capsule)
    assert (undisturbed.workspace.root / row.capsule).is_file()
    assert row.capsule_sha256 == capsule.content_sha256


def test_json_is_one_object_on_standard_output_and_people_read_standard_error(undisturbed: Finished) -> None:
    told = json.loads(undisturbed.done.stdout)
    assert told["session"] == undisturbed.session.session
    assert told["rows"] == [row_of(undisturbed.capsule(MEASURED, t)).model_dump(mode="json") for t in (5, 12)]
    spent = told["spent"]
    assert spent["processes"] == len(undisturbed.session.plan.jobs)
    assert min(spent[f"{phase}_s"] for phase in ("preparing", "start_up", "load", "bind", "warm_up", "prefill")) > 0
    assert min(spent["timed_decode_s"], spent["untimed_decode_s"], spent["waiting_s"]) > 0
    assert spent["audit_s"] == 0
    parts = [value for name, value in spent.items() if name.endswith("_s") and name != "total_s"]
    assert abs(spent["total_s"] - sum(parts)) < 0.01
    assert undisturbed.session.session in undisturbed.done.stderr
    assert "\x1b" not in undisturbed.done.stderr
    assert len(undisturbed.done.stderr.splitlines()) <= 3


def test_a_finished_session_resumed_prints_its_table_and_measures_nothing(
    undisturbed: Finished, zmlx_inside: Zmlx
) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.workspace.root.rglob("*") if path.is_file()}
    done = zmlx_inside(
        "run", "qwen3", "--resume", undisturbed.session.session, "--workspace", str(undisturbed.workspace.root)
    )
    assert done.returncode == 0
    for text in (MEASURED, "baseline", "null arm", "identical", "tok/s"):
        assert text in done.stdout
    assert {path: path.stat().st_mtime_ns for path in undisturbed.workspace.root.rglob("*") if path.is_file()} == before
