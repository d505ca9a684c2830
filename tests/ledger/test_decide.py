from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.builders import BUDGETS, Made, add_session, make_workspace
from zmlx_bench.analysis.decision import GroupDecision, decide_group
from zmlx_bench.analysis.decision.rules import RULE_OF_BUDGETS
from zmlx_bench.ledger import matrix, notebook, promotions
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.ledger.evidence_reader import Reader, deciding, everything, group_of, read_policy
from zmlx_bench.workspace import Workspace

FAST, EQUAL = Made("fast", 0.08), Made("equal", 0.0)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "workspace")


def only(workspace: Workspace) -> GroupDecision:
    decisions = list(decide(workspace, None).decisions.values())
    assert len(decisions) == 1
    return decisions[0]


def said(decision: GroupDecision) -> dict[str, tuple[str, str]]:
    return {v.variant: (v.verdict, v.reason) for v in decision.verdicts}


def files_of(workspace: Workspace) -> dict[str, bytes]:
    return {str(p.relative_to(workspace.root)): p.read_bytes() for p in workspace.root.rglob("*") if p.is_file()}


def test_one_session_makes_a_candidate_and_a_second_promotes(workspace: Workspace) -> None:
    add_session(workspace, 0, [FAST, EQUAL])
    assert said(only(workspace)) == {"fast": ("CANDIDATE", "sessions"), "equal": ("HOLD", "equivalent")}
    add_session(workspace, 2, [FAST, EQUAL])
    assert said(only(workspace)) == {"fast": ("PROMOTE", "faster"), "equal": ("HOLD", "equivalent")}


def test_every_kind_of_variant_in_one_session(workspace: Workspace) -> None:
    made = [
        FAST,
        EQUAL,
        Made("slow", -0.06),
        Made("lopsided", (0.2, 0.0)),
        Made("wrong", 0.2, wrong_at=7),
        Made("fat", 0.1, peak_mem_gb=1.4),
        Made("crashed", 0.1, status="crash"),
        Made("hung", 0.1, status="timeout"),
        Made("noisy", 0.03, spread=0.1),
        Made("idle", 0.1, idle=True),
    ]
    add_session(workspace, 0, made)
    decision = only(workspace)
    assert said(decision) == {
        "fast": ("CANDIDATE", "sessions"),
        "equal": ("HOLD", "equivalent"),
        "slow": ("REJECT", "performance"),
        "lopsided": ("HOLD", "equivalent"),
        "wrong": ("REJECT", "fidelity"),
        "fat": ("REJECT", "memory"),
        "crashed": ("REJECT", "crash"),
        "hung": ("REJECT", "timeout"),
        "noisy": ("INCONCLUSIVE", "unresolved"),
        "idle": ("INCONCLUSIVE", "applied"),
    }
    wrong = next(v for v in decision.verdicts if v.variant == "wrong")
    assert "token 7" in wrong.why
    crashed = next(v for v in decision.verdicts if v.variant == "crashed")
    assert "crash: made to end with crash" in crashed.why


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"null_arm": False}, "null_arm"),
        ({"null_gain": 0.03}, "bias"),
        ({"blocks": 2}, "blocks"),
        ({"budgets": BUDGETS[:1]}, "budget"),
        ({"prompts": 2}, "prompts"),
    ],
)
def test_a_session_that_cannot_decide_says_why(workspace: Workspace, changes: dict, reason: str) -> None:
    add_session(workspace, 0, [FAST], **changes)
    assert said(only(workspace)) == {"fast": ("INCONCLUSIVE", reason)}


def test_recording_twice_changes_nothing_the_second_time(workspace: Workspace) -> None:
    for hour in (0, 2):
        add_session(workspace, hour, [FAST, EQUAL])
    first = record(workspace, decide(workspace, None))
    assert first.promotions
    assert len(first.entries) == 1
    before = files_of(workspace)
    second = record(workspace, decide(workspace, None))
    assert (second.promotions, second.entries) == (False, ())
    assert files_of(workspace) == before
    assert check_workspace(workspace, processes=1).findings == ()


def test_a_promotion_names_its_evidence(workspace: Workspace) -> None:
    sessions = [add_session(workspace, hour, [FAST, EQUAL]) for hour in (0, 2)]
    record(workspace, decide(workspace, None))
    (promotion,) = promotions.read(workspace).promotion
    assert (promotion.variant, promotion.replaced) == ("fast", None)
    assert promotion.since == sessions[1].ended
    assert promotion.sessions == (sessions[1].session, sessions[0].session)
    assert [c.tokens for c in promotion.capsules] == [*BUDGETS, *BUDGETS]
    for named in promotion.capsules:
        capsule = json.loads((workspace.root / named.capsule).read_text())
        assert capsule["content_sha256"] == named.capsule_sha256
        assert capsule["figures"]["speedup"]["value"] == named.speedup == pytest.approx(1.0833, rel=1e-3)


def test_a_better_variant_replaces_the_incumbent_and_a_worse_one_does_not(workspace: Workspace) -> None:
    for hour in (0, 2):
        add_session(workspace, hour, [FAST])
    record(workspace, decide(workspace, None))
    better, worse = Made("better", 0.14), Made("worse", 0.07)
    for hour in (4, 6):
        add_session(workspace, hour, [better, worse], incumbent=FAST)
    decided = decide(workspace, None)
    (decision,) = decided.decisions.values()
    assert said(decision) == {
        "better": ("PROMOTE", "faster"),
        "fast": ("PROMOTE", "faster"),
        "worse": ("HOLD", "incumbent"),
    }
    assert decision.recommended == "better"
    record(workspace, decided)
    (promotion,) = promotions.read(workspace).promotion
    assert (promotion.variant, promotion.replaced) == ("better", "fast")
    again = record(workspace, decide(workspace, None))
    assert (again.promotions, again.entries) == (False, ())
    assert check_workspace(workspace, processes=1).findings == ()


@pytest.mark.parametrize("fallen", [Made("fast", -0.05), Made("fast", 0.08, wrong_at=3)])
def test_an_incumbent_that_fails_twice_is_demoted(workspace: Workspace, fallen: Made) -> None:
    for hour in (0, 2):
        add_session(workspace, hour, [FAST])
    record(workspace, decide(workspace, None))
    add_session(workspace, 4, [EQUAL], incumbent=fallen)
    assert only(workspace).action == "keep"
    record(workspace, decide(workspace, None))
    assert promotions.read(workspace).promotion
    add_session(workspace, 6, [EQUAL], incumbent=fallen)
    decision = only(workspace)
    assert (decision.action, decision.recommended) == ("demote", None)
    recorded = record(workspace, decide(workspace, None))
    assert recorded.promotions
    assert promotions.read(workspace).promotion == ()
    text = notebook.read(workspace.notebook)
    assert "Demoted to the stock model: fast was rejected in 2 sessions" in text
    again = record(workspace, decide(workspace, None))
    assert (again.promotions, again.entries) == (False, ())


def test_groups_do_not_mix(workspace: Workspace) -> None:
    add_session(workspace, 0, [FAST], kind="tiny")
    add_session(workspace, 2, [FAST], kind="full")
    decided = decide(workspace, None)
    assert len(decided.decisions) == 2
    assert all(said(d) == {"fast": ("CANDIDATE", "sessions")} for d in decided.decisions.values())
    assert decide(workspace, "glm47").decisions == {}


def test_an_edited_capsule_is_no_evidence(workspace: Workspace) -> None:
    for hour in (0, 2):
        session = add_session(workspace, hour, [FAST])
    path = workspace.session(session.session) / session.capsules[0].file
    text = path.read_text()
    path.write_text(text.replace('"ttft_s": 0.1,', '"ttft_s": 0.05,', 1))
    assert path.read_text() != text
    decided = decide(workspace, None)
    assert any(refusal.file.endswith(path.name) for refusal in decided.refusals)
    (decision,) = decided.decisions.values()
    assert decision.action == "none"


def test_an_unfinished_or_broken_session_is_no_evidence(workspace: Workspace) -> None:
    add_session(workspace, 0, [FAST])
    broken = add_session(workspace, 2, [FAST])
    (workspace.session(broken.session) / "session.json").write_text("{")
    assert said(only(workspace)) == {"fast": ("CANDIDATE", "sessions")}


def test_a_dropped_capsule_cannot_turn_a_verdict(workspace: Workspace) -> None:
    """Hiding the budget at which a variant lost leaves it undecided, not faster."""
    session = add_session(workspace, 0, [Made("mixed", (0.1, -0.1))])
    lost = next(c.file for c in session.capsules if f"_t{BUDGETS[1]}_" in c.file)
    (workspace.session(session.session) / lost).unlink()
    assert decide(workspace, None).decisions == {}


def test_a_session_that_only_the_matrix_knows_is_said_to_be_left_out(workspace: Workspace) -> None:
    for hour in (0, 2):
        add_session(workspace, hour, [FAST])
    slower = add_session(workspace, 4, [Made("fast", -0.1)])
    assert decide(workspace, None).refusals == ()
    shutil.rmtree(workspace.session(slower.session))
    (refusal,) = decide(workspace, None).refusals
    assert refusal.file == f"capsules/{slower.session}"
    assert refusal.why == "is missing, though matrix.jsonl has its rows: nothing rests on it"


def test_the_report_reads_less_and_decides_the_same(workspace: Workspace) -> None:
    made = [FAST, EQUAL, Made("wrong", 0.2, wrong_at=7), Made("noisy", 0.03, spread=0.1)]
    for hour in range(0, 18, 2):
        add_session(workspace, hour, made if hour % 4 else made[:2])
    policy = read_policy(workspace)
    full = everything(Reader(workspace, policy), None)
    part = deciding(Reader(workspace, policy), matrix.read(workspace.matrix), {}, policy)
    assert full.keys() == part.keys()
    for key, loaded in full.items():
        assert len(part[key]) < len(loaded)
        whole, less = (decide_group(group_of(found, None), policy) for found in (loaded, part[key]))
        assert whole == less


def test_the_notebook_tells_the_evidence(workspace: Workspace) -> None:
    for hour in (0, 2):
        add_session(workspace, hour, [FAST, EQUAL, Made("wrong", 0.2, wrong_at=7)])
    record(workspace, decide(workspace, None))
    (entry,) = notebook.all_entries(workspace)
    assert entry.title.startswith("EXP-20300101T121000Z-QWEN3-TINY-CPU-")
    for section in ("Question", "Kernels", "Primary capsules", "Key results", "Memory notes", "Decision"):
        assert f"**{section}.**" in entry.text
    assert "1.083x" in entry.text
    assert "`wrong`: REJECT (fidelity)" in entry.text
    assert entry.text.count("- `capsules/20300101T") == 8
    assert "- and 4 others of the group" in entry.text
    assert "**Decision.** Promoted `fast`: faster at every budget in 2 sessions" in entry.text


def test_new_evidence_makes_a_new_entry_and_keeps_what_people_wrote(workspace: Workspace) -> None:
    workspace.notebook.write_text("# Lab notebook\n\n## 2029\n\nWritten by hand.\n")
    add_session(workspace, 0, [FAST])
    record(workspace, decide(workspace, None))
    add_session(workspace, 2, [FAST])
    recorded = record(workspace, decide(workspace, None))
    assert len(recorded.entries) == 1
    sections = notebook.split(notebook.read(workspace.notebook))[1]
    assert sections[0].text == "## 2029\n\n<!-- notebook/0001-2029.md -->\n\nWritten by hand.\n"
    assert [section.title.rpartition("-")[0] for section in sections[1:]] == [
        "EXP-20300101T101000Z-QWEN3-TINY-CPU",
        "EXP-20300101T121000Z-QWEN3-TINY-CPU",
    ]


def test_what_is_promoted_follows_from_the_evidence_however_often_it_was_asked(tmp_path: Path) -> None:
    """Promoting after every session, or once at the end, gives the same file, though a default joined later ones."""
    asked, once = make_workspace(tmp_path / "asked"), make_workspace(tmp_path / "once")
    better = Made("better", 0.14)
    history: list[tuple[float, list[Made], Made | None]] = [
        (0, [FAST], None), (2, [FAST], None), (4, [better], FAST), (6, [better], FAST),
        (8, [EQUAL], Made("better", -0.05)), (10, [EQUAL], Made("better", -0.05)), (12, [FAST], None),
    ]  # fmt: skip
    defaults = []
    for hour, made, incumbent in history:
        add_session(asked, hour, made, incumbent=incumbent)
        record(asked, decide(asked, None))
        defaults.append(next((p.variant for p in promotions.read(asked).promotion), None))
    assert defaults[:6] == [None, "fast", "fast", "better", "better", None]
    shutil.copytree(asked.capsules, once.capsules, dirs_exist_ok=True)
    shutil.copy(asked.matrix, once.matrix)
    record(once, decide(once, None))
    path = promotions.path_of(asked).relative_to(asked.root)
    assert (asked.root / path).read_bytes() == (once.root / path).read_bytes()
    assert check_workspace(asked, processes=1).findings == check_workspace(once, processes=1).findings == ()


def test_a_default_whose_evidence_does_not_stand_is_not_taken_away(workspace: Workspace) -> None:
    sessions = [add_session(workspace, hour, [FAST]) for hour in (0, 2)]
    record(workspace, decide(workspace, None))
    stood = promotions.read(workspace)
    path = workspace.session(sessions[0].session) / sessions[0].capsules[0].file
    path.write_text(path.read_text().replace('"status": "ok"', '"status": "oom"', 1))
    decided = decide(workspace, None)
    assert decided.refusals
    recorded = record(workspace, decided)
    assert (recorded.promotions, recorded.entries) == (False, ())
    assert promotions.read(workspace) == stood
    assert check_workspace(workspace, processes=1).findings


@pytest.mark.parametrize("identified", [True, False])
def test_a_default_of_an_earlier_rule_whose_tokens_differ_falls_and_its_entry_stands(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, identified: bool
) -> None:
    wrong = Made("fast", 0.08, wrong_at=300, identified=identified)
    for hour in (0, 2):
        add_session(workspace, hour, [wrong], budgets=(*BUDGETS, 400))
    with monkeypatch.context() as then:
        then.setattr(promotions, "decide_group", partial(decide_group, rule=RULE_OF_BUDGETS))
        assert record(workspace, decide(workspace, None)).promotions
    (finding,) = check_workspace(workspace, processes=1).findings
    assert finding.field == "promotion[0].variant"
    assert "it is REJECT (fidelity): at 400 tokens" in finding.message
    assert record(workspace, decide(workspace, None)).promotions
    assert promotions.read(workspace).promotion == ()
    assert check_workspace(workspace, processes=1).findings == ()


def from_all_and_less(workspace: Workspace) -> Iterator[GroupDecision]:
    policy = read_policy(workspace)
    (whole,) = everything(Reader(workspace, policy), None).values()
    (part,) = deciding(Reader(workspace, policy), matrix.read(workspace.matrix), {}, policy).values()
    yield from (decide_group(group_of(found, None), policy) for found in (whole, part))


def test_reading_less_decides_the_same_where_sessions_overlap(workspace: Workspace) -> None:
    """A session that was resumed, or ran on a second device, ends after one that began later."""
    add_session(workspace, 0, [Made("fast", 0.0)], minutes=600)
    add_session(workspace, 2, [FAST])
    full, less = from_all_and_less(workspace)
    assert full == less
    assert said(full)["fast"] == ("CANDIDATE", "sessions")


def test_reading_less_decides_the_same_where_code_failed_under_a_name_that_has_other_code_now(
    workspace: Workspace,
) -> None:
    failed = Made("old", 0.08, wrong_at=3, identified=True)
    new = Made("new", 0.08, code="old", identified=True)
    for hour, made in ((0, failed), (2, replace(failed, source="b")), (4, new), (6, new)):
        add_session(workspace, hour, [made])
    full, less = from_all_and_less(workspace)
    assert full == less
    assert said(full)["new"] == ("REJECT", "fidelity")


@pytest.mark.parametrize("identified", [True, False])
def test_a_failure_of_the_same_code_is_read_once_where_rows_tell_their_code(
    workspace: Workspace, identified: bool
) -> None:
    for hour in range(0, 6, 2):
        add_session(workspace, hour, [Made("wrong", 0.2, wrong_at=7, identified=identified)], blocks=3)
    policy = read_policy(workspace)
    (part,) = deciding(Reader(workspace, policy), matrix.read(workspace.matrix), {}, policy).values()
    assert len(part) == (1 if identified else 3)
    full, less = from_all_and_less(workspace)
    assert full == less
    assert said(full) == {"wrong": ("REJECT", "fidelity")}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_reading_less_decides_the_same_for_any_history(workspace: Workspace, seed: int) -> None:
    random = Random(seed)
    for hour in range(0, 24, 2):
        made = [
            Made(name, random.choice([0.08, 0.08, 0.0, -0.05, (0.1, 0.0)]), wrong_at=random.choice([None] * 9 + [3]))
            for name in random.sample(["a", "b", "c"], random.choice([1, 2, 3]))
        ]
        changes = random.choice([{}, {}, {}, {"null_gain": 0.03}, {"budgets": BUDGETS[:1]}, {"blocks": 2}])
        add_session(workspace, hour, made, **changes)
    policy = read_policy(workspace)
    (whole,) = everything(Reader(workspace, policy), None).values()
    key = whole[0].key
    for incumbent in (None, "a"):
        known = {key: incumbent} if incumbent else {}
        part = deciding(Reader(workspace, policy), matrix.read(workspace.matrix), known, policy)[key]
        full, less = (decide_group(group_of(found, incumbent), policy) for found in (whole, part))
        assert (full.action, full.recommended) == (less.action, less.recommended)
        assert said(full) == said(less)
