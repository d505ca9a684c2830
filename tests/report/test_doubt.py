"""A default against which one session speaks: it stays, and every report says what it did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import BUDGETS, MACHINE, Made, add_session, make_workspace
from tests.report.told import only, shown
from zmlx_bench.ledger import promotions
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.ledger.evidence_reader import Reader, SessionCapsules, read_policy
from zmlx_bench.report import overview_text
from zmlx_bench.report.build import build
from zmlx_bench.report.doubt import of_default
from zmlx_bench.report.html.page import report_page
from zmlx_bench.report.overview import as_json
from zmlx_bench.workspace import Workspace


def told_to_users(made: Workspace) -> str | None:
    """What who is about to use the default of the only group is told."""
    (promotion,) = promotions.read(made).promotion
    return of_default(made, promotion, promotions.key_of(promotion))


@pytest.mark.parametrize("later", [False, True])
def test_a_default_that_said_other_tokens_once_is_in_doubt_and_everything_says_so(tmp_path: Path, later: bool) -> None:
    """It is withdrawn by two sessions; until then one is enough to be told, also when others pass after it."""
    made, fast = make_workspace(tmp_path / "workspace"), Made("fast", 0.08)
    for hour in (0, 2):
        add_session(made, hour, [fast])
    record(made, decide(made, None))
    assert (only(build(made, None)).doubt, told_to_users(made)) == (None, None)
    assert not [note for note in check_workspace(made, processes=1).notes if "in doubt" in note]
    wrong = add_session(made, 4, [replace(fast, wrong_at=7)]).session
    if later:
        add_session(made, 6, [fast])
    record(made, decide(made, None))
    report = build(made, None)
    group = only(report)
    assert (group.recommended, group.promoted) == ("fast", "fast"), "one session withdraws no default"
    said = (
        f"fast said other tokens than the model in session {wrong}: it stays the default until more sessions reject it"
    )
    assert group.doubt == said
    assert as_json([group])[0]["doubt"] == said
    terminal, page = shown(report), report_page(report, made, read_policy(made), tmp_path)
    assert terminal.index(f"DEFAULT IN DOUBT: {said}") < terminal.index("recommended: fast")
    assert f"Default in doubt:</strong> {said}." in page
    text = overview_text.markdown(report.groups, report.legacy, report.refusals)
    assert f"**Default in doubt:** {said}." in text.replace("\\", "")
    (again,) = (command for command in group.next_runs if "--variants fast --runs 6" in command)
    assert told_to_users(made) == f"{said}; `{again}` measures it again"
    (note,) = [note for note in check_workspace(made, processes=1).notes if "in doubt" in note]
    assert f"fast for tiny on Made CPU, 2 cores is in doubt: its code said other tokens than the model in {wrong}" in (
        note.replace("session ", "")
    )
    if not later:
        again = add_session(made, 6, [replace(fast, wrong_at=7)]).session
        withdrawn = only(build(made, None))
        assert (withdrawn.action, withdrawn.doubt) == ("demote", None)
        assert withdrawn.recommendation.endswith("; `zmlx promote` withdraws the default")
        (line,) = withdrawn.lines
        assert told_to_users(made) == (
            f"fast was rejected in session {again} (fidelity): {line.why}; `zmlx report qwen3` says what is "
            "recommended now"
        )


def test_a_default_is_in_doubt_by_its_longer_budget_alone_and_by_what_is_no_matter_of_tokens(tmp_path: Path) -> None:
    made, fast = make_workspace(tmp_path / "workspace"), Made("fast", 0.08)
    for hour in (0, 2):
        add_session(made, hour, [fast])
    record(made, decide(made, None))
    stays = "it stays the default until more sessions reject it"
    slow = add_session(made, 4, [replace(fast, gain=-0.2)]).session
    assert only(build(made, None)).doubt == f"fast was rejected (performance) in session {slow}: {stays}"
    wrong = add_session(made, 6, [replace(fast, wrong_at=BUDGETS[0] + 5)]).session
    add_session(made, 8, [fast])
    group = only(build(made, None))
    assert [cell.fidelity for cell in group.lines[0].cells] == ["identical", "diverged"]
    assert group.doubt == f"fast said other tokens than the model in session {wrong}: {stays}"


def test_a_default_whose_code_failed_under_another_name_is_in_doubt_by_that_session(tmp_path: Path) -> None:
    made, fast = make_workspace(tmp_path / "workspace"), Made("fast", 0.08, code="one", identified=True)
    for hour in (0, 2):
        add_session(made, hour, [fast])
    record(made, decide(made, None))
    wrong = add_session(made, 4, [replace(fast, name="renamed", wrong_at=7)]).session
    doubt = only(build(made, None)).doubt
    assert doubt is not None
    assert doubt.startswith(f"fast is the same code as renamed in {wrong}: at ")
    assert (told_to_users(made) or "").startswith(f"{doubt}; `zmlx run qwen3 ")
    assert doubt.endswith("; it stays the default until more sessions reject it")
    (note,) = [note for note in check_workspace(made, processes=1).notes if "in doubt" in note]
    assert (
        f"fast for tiny on Made CPU, 2 cores is in doubt: its code said other tokens than the model in session {wrong}"
        in note
    )


def test_a_default_that_was_promoted_before_cores_were_recorded_is_in_doubt_on_a_host_that_it_covers(
    tmp_path: Path,
) -> None:
    made, fast = make_workspace(tmp_path / "workspace"), Made("fast", 0.08)
    for hour in (0, 2):
        add_session(made, hour, [fast], machine=MACHINE.model_copy(update={"cores": None}))
    record(made, decide(made, None))
    add_session(made, 4, [fast])
    assert [(group.promoted, group.covering, group.doubt) for group in build(made, None).groups] == [
        ("fast", None, None), (None, "fast", None),
    ]  # fmt: skip
    wrong = add_session(made, 6, [replace(fast, wrong_at=7)]).session
    add_session(made, 8, [fast], machine=MACHINE.model_copy(update={"device": "Other CPU"}))
    old, here, elsewhere = build(made, None).groups
    assert (elsewhere.key.device, elsewhere.covering, elsewhere.doubt) == ("Other CPU", None, None)
    assert old.doubt is None
    assert here.doubt == (
        f"fast said other tokens than the model in session {wrong}: it is the default here by a promotion of hosts "
        "whose cores were not recorded, and stays so"
    )
    (promotion,) = promotions.read(made).promotion
    (again,) = here.next_runs
    assert again.endswith(" --variants fast --runs 6")
    assert of_default(made, promotion, here.key) == f"{here.doubt}; `{again}` measures it again"
    assert [of_default(made, promotion, group.key) for group in (old, elsewhere)] == [None, None]


def test_who_uses_a_default_waits_for_no_session_but_those_that_tell_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other variants the matrix rows are enough: their sessions are not opened, and may lie unreadable."""
    made, fast = make_workspace(tmp_path / "workspace"), Made("fast", 0.08, identified=True)
    for hour in (0, 2):
        add_session(made, hour, [fast])
    record(made, decide(made, None))
    wrong = add_session(made, 4, [replace(fast, wrong_at=7)]).session
    others = [add_session(made, 6 + n, [Made(f"other_{n}", 0.01, wrong_at=5, identified=True)]) for n in range(2)]
    before = told_to_users(made)
    for session in others:
        made.session(session.session).joinpath("session.json").write_text("{")
    opened, read = [], Reader.session

    def recording(self: Reader, name: str) -> SessionCapsules | None:
        opened.append(name)
        return read(self, name)

    monkeypatch.setattr(Reader, "session", recording)
    assert told_to_users(made) == before
    assert wrong in opened
    assert not {session.session for session in others} & set(opened)
    assert f"session {wrong}" in (before or "")


def test_who_uses_a_rejected_default_is_recommended_nothing_that_unread_sessions_reject(tmp_path: Path) -> None:
    made, fast = make_workspace(tmp_path / "workspace"), Made("fast", 0.08, identified=True)
    for hour in (0, 2):
        add_session(made, hour, [fast])
    record(made, decide(made, None))
    other = Made("other", 0.2, identified=True)
    for hour in (4, 6):
        add_session(made, hour, [other], incumbent=replace(fast, wrong_at=7))
    assert (only(build(made, None)).action, only(build(made, None)).recommended) == ("promote", "other")
    add_session(made, 8, [replace(other, wrong_at=3)])
    assert only(build(made, None)).action == "demote"
    told = told_to_users(made) or ""
    assert told.startswith("fast was rejected in session ")
    assert "other" not in told.replace("other tokens", "")
