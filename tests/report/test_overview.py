from __future__ import annotations

import json
import math
import re
import time
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest

from tests.builders import BUDGETS, MACHINE, Made, add_session, make_workspace
from tests.report.told import only, shown
from tests.sealing import resealed
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.ledger.evidence_reader import Refusal, read_policy
from zmlx_bench.legacy.store import import_into
from zmlx_bench.report import overview_text, words
from zmlx_bench.report.build import Report, build
from zmlx_bench.report.html.page import report_page
from zmlx_bench.report.overview import as_json
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.workspace import Workspace

MADE = [
    Made("equal", 0.0),
    Made("fast", 0.08),
    Made("faster", 0.12),
    Made("wrong", 0.2, wrong_at=7),
    Made("crashed", 0.1, status="crash"),
    Made("noisy", 0.03, spread=0.1),
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = make_workspace(tmp_path_factory.mktemp("report") / "workspace")
    add_session(made, 0, MADE)
    return made


def test_variants_are_ranked_and_what_failed_comes_last(workspace: Workspace) -> None:
    group = only(build(workspace, None))
    assert [line.variant for line in group.lines] == ["faster", "fast", "noisy", "equal", "wrong", "crashed"]
    assert [line.variant for line in group.rejected] == ["wrong", "crashed"]
    assert [line.variant for line in group.undecided] == ["faster", "fast", "noisy"]
    assert [cell.tokens for cell in group.lines[0].cells] == list(BUDGETS)


@pytest.mark.parametrize("hours", [(0.0, 2.0), (2.0, 0.0)], ids=["folder last", "folder first"])
def test_a_checkpoint_is_called_by_its_kind_where_a_session_was_run_by_that(
    tmp_path: Path, hours: tuple[float, float]
) -> None:
    made = make_workspace(tmp_path / "workspace")
    named = add_session(made, hours[0], [MADE[5], MADE[2]]).plan.checkpoint
    folder = named.model_copy(update={"kind": "path", "label": "path"})
    add_session(made, hours[1], [MADE[5], MADE[1]], checkpoint=folder)
    group = only(build(made, None))
    assert group.checkpoint == "tiny"
    assert any("--checkpoint tiny" in command for command in group.next_runs)


def test_the_terminal_and_markdown_say_what_matters(workspace: Workspace) -> None:
    report = build(workspace, None)
    for text in (shown(report), overview_text.markdown(report.groups, report.legacy, report.refusals)):
        assert "1.127x [1.126, 1.129]" in text
        assert "prompt p0, token 7" in text
        assert "made to end with crash" in text
        assert "a new session needs" in text
        assert "blocks" in text
        assert "1.25 / 1.25" in text
        assert "the stock model" in text


def test_markdown_tables_have_even_rows(workspace: Workspace) -> None:
    report = build(workspace, None)
    lines = overview_text.markdown(report.groups, report.legacy, report.refusals).splitlines()
    tables = [list(group) for table, group in groupby(lines, lambda line: line.startswith("|")) if table]
    ran = [made for made in MADE if made.status == "ok"]
    assert [len(table) for table in tables] == [2 + len(MADE), 2 + len(ran) * len(BUDGETS)]
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)


def test_each_figure_beside_decode_speed_stands_with_its_ratio_everywhere(tmp_path: Path) -> None:
    made = make_workspace(tmp_path / "workspace")
    add_session(made, 0, [Made("fast", 0.05, energy_j=98.0)])
    report = build(made, None)
    (line,) = only(report).lines
    found = {measure.key: measure for measure in line.measures[BUDGETS[1]]}
    assert list(found) == [
        "prefill_tok_s", "ttft_ms", "token_p50_ms", "token_p95_ms", "token_p99_ms", "energy_j_per_token",
    ]  # fmt: skip
    median = found["token_p50_ms"].ratio
    assert median is not None
    assert median.value == pytest.approx(math.exp(-0.05), rel=1e-2)
    energy = found["energy_j_per_token"].ratio
    assert energy is not None
    assert (energy.value, energy.low) == (pytest.approx(1.0), pytest.approx(1.0))
    text = shown(report)
    markdown = overview_text.markdown(report.groups, (), ())
    page = report_page(report, made, read_policy(made), made.root)
    for measure in found.values():
        assert f"{measure.name} {measure.shown} {measure.unit} {words.ratio(measure.ratio)}" in text
        assert f"{measure.shown_baseline} -> {measure.shown} {words.ratio(measure.ratio)}" in markdown
        assert measure.ratio is not None
        assert f"<strong>{measure.ratio.value:.3f}x</strong>" in page
        assert measure.title in page


def test_groups_of_other_conditions_have_other_headings_on_the_page(workspace: Workspace) -> None:
    report = build(workspace, None)
    group = only(report)
    other = replace(group, key=replace(group.key, conditions=Conditions(context=64, batch=2)))
    found = replace(report, groups=(group, other))
    page = report_page(found, workspace, read_policy(workspace), workspace.root)
    headings = [text.strip() for text in re.findall(r"<h2>([^<]*)<span", page)]
    assert headings == [group.key.family, f"{group.key.family}, {', '.join(words.conditions(other.key.conditions))}"]
    assert "batch 2" in headings[1]


def test_evidence_that_says_no_ratios_has_them_from_its_raw_runs(tmp_path: Path) -> None:
    made = make_workspace(tmp_path / "workspace")
    session = add_session(made, 0, [Made("fast", 0.05)])
    before = [line.measures for line in only(build(made, None)).lines]
    references = []
    for reference in session.capsules:
        path = made.capsules / session.session / reference.file
        content = json.loads(path.read_text())
        del content["figures"]["ratios"]
        content = resealed(content)
        path.write_text(json.dumps(content))
        references.append({**reference.model_dump(), "content_sha256": content["content_sha256"]})
    head = made.capsules / session.session / "session.json"
    head.write_text(json.dumps(resealed({**json.loads(head.read_text()), "capsules": references})))
    assert [line.measures for line in only(build(made, None)).lines] == before
    edited = {finding.file for finding in check_workspace(made, processes=1).findings}
    assert not any(file.endswith("_fast.json") for file in edited), "a field that is not there is not compared"


def test_the_json_holds_every_gate_and_is_finite(workspace: Workspace) -> None:
    (group,) = as_json(build(workspace, None).groups)
    text = json.dumps(group, allow_nan=False)
    assert '"fidelity"' in text
    fast = next(line for line in group["lines"] if line["variant"] == "fast")
    assert {gate["id"] for gate in fast["gates"]} >= {"fidelity", "memory", "bias", "faster", "sessions", "checkpoint"}
    assert all(gate["capsules"] for gate in fast["gates"])


def test_a_family_without_evidence_is_empty(workspace: Workspace) -> None:
    report = build(workspace, "glm47")
    assert report.groups == ()
    assert "no evidence yet" in shown(report)
    assert "No evidence yet" in overview_text.markdown(report.groups, report.legacy, report.refusals)


def test_the_recommendation_follows_the_promotion(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    for hour in (0, 2):
        add_session(workspace, hour, MADE[:3])
    before = only(build(workspace, None))
    assert (before.recommended, before.promoted) == ("faster", None)
    assert "`zmlx promote` makes it the default" in before.recommendation
    record(workspace, decide(workspace, None))
    after = only(build(workspace, None))
    assert (after.recommended, after.promoted, after.action) == ("faster", "faster", "keep")
    assert "zmlx promote" not in after.recommendation


def test_rows_without_their_capsules_show_without_a_verdict(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    session = add_session(workspace, 0, MADE[:2])
    for reference in session.capsules:
        (workspace.session(session.session) / reference.file).unlink()
    report = build(workspace, None)
    group = only(report)
    assert [(line.variant, line.verdict) for line in group.lines] == [("fast", None), ("equal", None)]
    assert group.recommended is None
    assert len(report.refusals) == 4
    assert "its capsules are not here" in shown(report)


def test_a_session_that_the_matrix_lacks_counts_as_it_does_for_a_promotion(tmp_path: Path) -> None:
    """As where a merge of two branches took one side of the matrix."""
    workspace = make_workspace(tmp_path / "workspace")
    ours = [add_session(workspace, hour, [Made("fast", 0.08)]) for hour in (0, 2)]
    add_session(workspace, 4, [Made("fast", 0.08, wrong_at=5)])
    rows = workspace.matrix.read_text().splitlines(keepends=True)
    workspace.matrix.write_text("".join(row for row in rows if json.loads(row)["session"] in {s.session for s in ours}))
    (line,) = only(build(workspace, None)).lines
    assert (line.verdict, line.reason) == ("REJECT", "fidelity")
    assert [v.verdict for v in next(iter(decide(workspace, None).decisions.values())).verdicts] == ["REJECT"]


def test_a_rejection_for_tokens_points_to_the_kernels_where_only_their_word_can_be_broken(
    tmp_path: Path,
) -> None:
    made = make_workspace(tmp_path / "workspace")
    wrong, slow = Made("wrong", 0.05, wrong_at=7), Made("slow", -0.2)
    tuned = Made("tuned", 0.05, wrong_at=7, env=(("MLX_MAX_OPS_PER_BUFFER", "1"),))
    other = Made("other", 0.05, wrong_at=7, numerics="fp32")
    add_session(made, 0, [wrong, slow, tuned, other])
    report = build(made, None)
    command = "zmlx kernels verify kernel_wrong.stock --family qwen3 --backend cpu"
    told = f"its kernels say that they repeat stock: `{command}` looks for "
    assert {line.variant: line.verdict for line in only(report).lines} == dict.fromkeys(
        ("wrong", "slow", "tuned", "other"), "REJECT"
    )
    assert {line.variant: line.breaks_word for line in only(report).lines if line.breaks_word} == {
        "wrong": f"{told}what does not"
    }
    assert " ".join(shown(report).split()).count(told) == 1
    page = report_page(report, made, read_policy(made), made.root)
    assert page.count(f"<code>{command}</code> looks for what does not.") == 1


def test_markup_in_a_name_is_shown_as_it_is(workspace: Workspace) -> None:
    report = build(workspace, None)
    hostile = Report(report.groups, report.legacy, [*report.refusals, Refusal("capsules/[red]x.json", "is missing")])
    assert "[red]x.json" in shown(hostile)


def test_ten_thousand_rows_are_reported_in_time(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    made = [*MADE[:4], MADE[5]]
    for hour in range(0, 16, 2):
        add_session(workspace, hour, made)
    rows = workspace.matrix.read_text().splitlines()
    older = []
    for index in range((10_000 - len(rows)) // 10):
        name = f"2029{index:04d}T100000Z-qwen3-0005"
        for row in rows[:10]:
            fields = json.loads(row)
            fields["capsule"] = fields["capsule"].replace(fields["session"], name)
            fields["session"], fields["time"] = name, f"2029-01-01T{index // 60:02d}:{index % 60:02d}:00.000Z"
            older.append(json.dumps(fields))
    workspace.matrix.write_text("\n".join([*older, *rows]) + "\n")
    start = time.process_time()
    report = build(workspace, None)
    shown(report)
    assert time.process_time() - start < 3.0
    assert only(report).recommended == "faster"
    assert only(report).sessions > 990


def test_what_is_undecided_comes_with_the_command_that_decides_it(workspace: Workspace) -> None:
    group = only(build(workspace, None))
    start = "zmlx run qwen3 --checkpoint tiny --backend cpu --tokens 20 --tokens 50 --variants"
    assert group.next_runs == (f"{start} fast,faster --runs 6",)
    assert group.next_runs[0] in overview_text.markdown([group], (), ())


def test_nobody_is_asked_to_measure_again_what_the_default_beat_in_the_same_blocks(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    for hour in (0, 2):
        add_session(workspace, hour, MADE[1:3])
    for _ in range(2):
        group = only(build(workspace, None))
        assert (group.recommended, group.next_runs, [line.variant for line in group.behind]) == (
            "faster", (), ["fast"],
        )  # fmt: skip
        assert group.undecided == ()
        assert "it was 0.961x as fast as faster, the default" in " ".join(shown(build(workspace, None)).split())
        record(workspace, decide(workspace, None))


def test_what_no_session_can_join_any_more_is_said_to_be_closed(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    add_session(workspace, 0, MADE[1:3], machine=MACHINE.model_copy(update={"cores": None}))
    group = only(build(workspace, None))
    assert (group.next_runs, [line.variant for line in group.undecided]) == ((), ["faster", "fast"])
    said = "losed: its sessions did not record how many cores they had; what is measured now is a group of its own"
    assert said == f"losed: {as_json([group])[0]['closed']}"
    assert said in " ".join(shown(build(workspace, None)).split())
    assert said in report_page(build(workspace, None), workspace, read_policy(workspace), workspace.root)
    add_session(workspace, 3, MADE[1:3])
    assert [one.closed is None for one in build(workspace, None).groups] == [False, True], "others can join those"


def test_what_is_decided_is_not_said_to_be_closed(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    add_session(workspace, 0, [Made("equal", 0.0)], machine=MACHINE.model_copy(update={"cores": None}))
    group = only(build(workspace, None))
    assert ([line.verdict for line in group.lines], group.closed) == (["HOLD"], None)


@pytest.mark.parametrize(
    ("checkpoint", "option", "says"),
    [
        ({"kind": "path", "label": "a-model"}, "/at home/a model", "--checkpoint '/at home/a model'"),
        ({"kind": "path", "label": "tiny"}, "/models/tiny", "--checkpoint /models/tiny"),
        ({"kind": "hub", "label": "name"}, "owner/name@c0ffee", "--checkpoint owner/name@c0ffee"),
        (
            {"kind": "hub", "label": "name", "trust_remote_code": True},
            "owner/name@c0ffee",
            "--checkpoint owner/name@c0ffee --trust-remote-code",
        ),
        (
            {"kind": "synthetic", "label": "synthetic", "layers": 2},
            "synthetic",
            "--checkpoint synthetic --layers 2 --seed 1 --force",
        ),
    ],
)
def test_the_command_names_the_checkpoint_that_was_measured(
    tmp_path: Path, checkpoint: dict[str, object], option: str, says: str
) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    tiny = add_session(make_workspace(tmp_path / "other"), 0, MADE[1:2]).plan.checkpoint
    add_session(workspace, 0, MADE[1:2], checkpoint=tiny.model_copy(update=checkpoint), option=option)
    (command,) = only(build(workspace, None)).next_runs
    assert command.startswith(f"zmlx run qwen3 {says} --backend cpu --tokens 20 --tokens 50 --variants fast")


def test_more_blocks_are_asked_for_apart_from_a_second_session(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    add_session(workspace, 0, [Made("fast", 0.08), Made("weak", 0.015, spread=0.01)], blocks=4)
    confirm, decide_more = only(build(workspace, None)).next_runs
    assert confirm.endswith("--variants fast --runs 4")
    assert decide_more.endswith("--variants weak --until-decided --at-most 40")


def test_inherited_evidence_is_marked(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    folder = Path(__file__).parents[1] / "data" / "legacy"
    import_into(workspace, [folder / "fixture_capsule_20300101.json", folder / "fixture_ledger.jsonl"])
    report = build(workspace, None)
    assert report.legacy
    assert not any(v.verdict in ("PROMOTE", "CANDIDATE") for v in report.legacy)
    for text in (shown(report), overview_text.markdown(report.groups, report.legacy, report.refusals)):
        assert "never makes a CANDIDATE" in text
        assert report.legacy[0].variant in text


def test_what_a_process_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "workspace")
    message = "\x1b]0;owned\x07\x1b[2Jgone <script> [red]" + "x" * 5000
    add_session(workspace, 0, [Made("evil", 0.1, status="crash", message=message)])
    record(workspace, decide(workspace, None))
    report = build(workspace, None)
    texts = (
        shown(report),
        overview_text.markdown(report.groups, report.legacy, report.refusals),
        workspace.notebook.read_text(),
        json.dumps(as_json(report.groups), ensure_ascii=False),
    )
    for text in texts:
        assert "gone" in text
        assert all(c.isprintable() or c == "\n" for c in text)
        assert "x" * 400 not in text.replace("\n", "")


def test_energy_is_shown_only_where_a_counter_told(workspace: Workspace, tmp_path: Path) -> None:
    without = build(workspace, None)
    assert "| energy |" not in overview_text.markdown(without.groups, without.legacy, without.refusals)
    made = make_workspace(tmp_path / "workspace")
    add_session(made, 0, [Made("fast", 0.05, energy_j=98.0), Made("equal", 0.0)])
    report = build(made, None)
    (group,) = report.groups
    assert group.lines[0].cells[-1].energy_j_per_token == pytest.approx(2.0)
    table = overview_text.markdown(report.groups, report.legacy, report.refusals)
    assert "| energy |" in table
    assert "2.000 / 2.000 J" in table
    assert "2.000 / 2.000 J" in shown(report)
    page = report_page(report, made, read_policy(made), made.root)
    assert "J a token" in page
    assert "2.000<small>baseline 2.000</small>" in page
    assert "J a token" not in report_page(without, workspace, read_policy(workspace), workspace.root)


def test_no_blocks_are_asked_for_of_what_crashed_at_a_budget_that_decides_nothing(tmp_path: Path) -> None:
    made = make_workspace(tmp_path / "workspace")
    add_session(made, 0, [Made("crashed", 0.1, status="crash"), Made("short", 0.1)], budgets=(5,))
    group = only(build(made, None))
    assert [(line.variant, line.verdict) for line in group.lines] == [
        ("short", "INCONCLUSIVE"),
        ("crashed", "INCONCLUSIVE"),
    ]
    (command,) = group.next_runs
    assert "--variants short " in command
