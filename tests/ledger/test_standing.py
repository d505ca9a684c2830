"""Evidence of a variant whose code changes afterwards: what check says, and what no longer counts together."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.builders import MACHINE, Made, add_session, make_workspace
from tests.planted import declaration
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.ledger import promotions
from zmlx_bench.ledger.check import standing
from zmlx_bench.ledger.check.workspace import Checked, check_workspace
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.ledger.evidence_reader import Reader, everything, read_policy
from zmlx_bench.schema.promotion import Promotions
from zmlx_bench.schema.session import Session
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.workspace import Workspace

KERNEL = '''"""Sums."""
from zmlx_bench.measured.api import Binding

def bind(module, request):
    """Bind."""
    return Binding(lambda y, scores: (y * scores[..., None]).sum(axis=-2))
'''


@dataclass(frozen=True)
class Declared(Made):
    """A variant that the workspace declares, as it is when it is measured."""

    workspace: Workspace | None = None

    @property
    def variant(self) -> ResolvedVariant:
        """The resolved variant with its identity."""
        assert self.workspace is not None
        catalog = Catalog(self.workspace, "qwen3")
        return catalog.identify(catalog.resolve(self.name), "cpu")


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """Two sessions that promoted the variant `fast`."""
    made = make_workspace(tmp_path / "ws")
    folder = made.kernels / "fast"
    folder.mkdir()
    (folder / "kernel.py").write_text(KERNEL)
    (folder / "kernel.toml").write_text(declaration())
    (made.variants / "qwen3.toml").write_text(
        'family = "qwen3"\n[variant.fast]\nwhy = "made"\nkernels = { combine = "fast" }\n'
    )
    for hour in (0, 3):
        measure(made, hour)
    record(made, decide(made, None))
    assert decide(made, None).after.promotion[0].variant == "fast"
    return made


def measure(place: Workspace, hour: float, clock_set_s: float | None = None) -> Session:
    return add_session(place, hour, [Declared("fast", 0.08, workspace=place)], clock_set_s=clock_set_s)


def said_of_sessions(checked: Checked) -> list[str]:
    """Return the notes but that on the policy, whose budgets are not zmlx's here."""
    policy, *others = checked.notes
    assert policy.startswith("policy.toml: not zmlx's own")
    return others


def edit(place: Workspace, before: str, after: str) -> None:
    path = place.kernels / "fast" / "kernel.py"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"""Sums."""', '"""Adds up. """'),
        ("def bind", "# Once a block.\ndef bind"),
        ("(y * scores", "( y*scores"),
    ],
)
def test_words_change_nothing_that_check_says(place: Workspace, before: str, after: str) -> None:
    edit(place, before, after)
    checked = check_workspace(place)
    assert (checked.findings, said_of_sessions(checked)) == ((), [])


def test_evidence_of_todays_code_needs_no_word(place: Workspace) -> None:
    checked = check_workspace(place)
    assert (checked.findings, said_of_sessions(checked)) == ((), [])


def test_other_code_is_told_and_is_no_fault(place: Workspace) -> None:
    edit(place, "axis=-2", "axis=y.ndim - 2")
    checked = check_workspace(place)
    assert checked.findings == ()
    assert said_of_sessions(checked) == [
        "promoted.toml: fast for tiny on Made CPU, 2 cores was measured on an earlier path: kernel fast changed since",
        "sessions of fast (cpu) that do not count for today's code: kernel fast changed since (2)",
    ]


def test_a_session_of_other_code_does_not_count_beside_the_earlier_ones(place: Workspace) -> None:
    edit(place, "axis=-2", "axis=y.ndim - 2")
    measure(place, 6)
    decided = decide(place, None)
    (decision,) = decided.decisions.values()
    (verdict,) = decision.verdicts
    assert (verdict.verdict, verdict.reason, len(verdict.rests_on)) == ("CANDIDATE", "sessions", 1)
    assert "sessions of other code or settings do not count" in verdict.why
    assert decision.action == "keep"
    assert len(decided.after.promotion[0].sessions) == 2
    record(place, decided)
    assert check_workspace(place).findings == ()
    measure(place, 9)
    (verdict,) = next(iter(decide(place, None).decisions.values())).verdicts
    assert (verdict.verdict, len(verdict.rests_on)) == ("PROMOTE", 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('family = "qwen3"\n', "is no longer declared"),
        ("family = \n", "cannot be compared with today's code"),
    ],
)
def test_what_is_not_declared_any_more_cannot_be_compared(place: Workspace, text: str, said: str) -> None:
    (place.variants / "qwen3.toml").write_text(text)
    checked = check_workspace(place)
    assert checked.findings == ()
    notes = said_of_sessions(checked)
    assert len(notes) == 2
    assert all(said in note for note in notes)


def test_a_session_while_which_the_clock_was_set_is_told(place: Workspace) -> None:
    assert not [note for note in check_workspace(place).notes if "time of day" in note]
    measured = [measure(place, 6 + 3 * at, clock_set_s=off) for at, off in enumerate((-7200.0, 10.0, -10.0, 900.0))]
    assert read_policy(place).clock_set_s == 10
    assert [note for note in check_workspace(place).notes if "time of day" in note] == [
        f"session {session.session}: the time of day was set by {told} s while it ran, "
        "so that its times prove no gap to another one"
        for session, told in ((measured[0], "-7200"), (measured[3], "+900"))
    ]


def test_a_row_of_before_tells_no_identity_and_one_that_tells_another_is_found(place: Workspace) -> None:
    """In `matrix.jsonl` and in the session's own rows."""
    files = [place.matrix, *place.capsules.glob("*/rows.jsonl")]
    told = re.compile(r',"identity":"[0-9a-f]{64}"')
    before = {path: path.read_text() for path in files}
    assert all(len(told.findall(text)) == text.count("\n") for text in before.values())
    for path, text in before.items():
        path.write_text(told.sub("", text))
    assert check_workspace(place).findings == ()
    for path, text in before.items():
        path.write_text(told.sub(f',"identity":"{"0" * 64}"', text))
    found = check_workspace(place).findings
    assert {finding.file for finding in found} == {path.relative_to(place.root).as_posix() for path in files}
    assert {finding.field.rpartition(".")[2] for finding in found} == {"identity"}


def test_a_default_is_in_doubt_by_its_code_as_it_was_and_as_it_is(place: Workspace) -> None:
    source = place.kernels / "fast" / "kernel.py"
    source.write_text(KERNEL.replace("sum(axis=-2)", "sum(axis=-2) + 0"))
    session = add_session(place, 6, [Declared("fast", 0.08, workspace=place, wrong_at=7)])
    (note,) = [note for note in check_workspace(place).notes if "in doubt" in note]
    assert f"its code said other tokens than the model in session {session.session}" in note
    latest = add_session(place, 9, [Declared("fast", 0.08, workspace=place, wrong_at=7)])
    (note,) = [note for note in check_workspace(place).notes if "in doubt" in note]
    assert f"in session {latest.session}" in note
    source.write_text(KERNEL.replace("sum(axis=-2)", "sum(axis=-2) + 1"))
    assert not [note for note in check_workspace(place).notes if "in doubt" in note], "nobody runs that code"


def test_what_is_no_longer_declared_is_of_no_path_that_is_earlier(place: Workspace) -> None:
    found = promotions.read(place)
    assert standing.earlier(place, found) == [False]
    source = place.kernels / "fast" / "kernel.py"
    source.write_text(KERNEL.replace("sum(axis=-2)", "sum(axis=-2) + 0"))
    assert standing.earlier(place, found) == [True]
    (place.variants / "qwen3.toml").write_text('family = "qwen3"\n')
    assert standing.earlier(place, found) == [None]


def test_a_default_from_before_cores_were_recorded_is_in_doubt_by_what_it_said_on_a_host_that_it_covers(
    tmp_path: Path,
) -> None:
    made, fast = make_workspace(tmp_path / "ws"), Made("fast", 0.08, identified=True)
    for hour in (0, 3):
        add_session(made, hour, [fast], machine=MACHINE.model_copy(update={"cores": None}))
    record(made, decide(made, None))
    session = add_session(made, 6, [replace(fast, wrong_at=7)])
    (note,) = [note for note in check_workspace(made).notes if "in doubt" in note]
    assert session.session in note


def test_neither_another_device_nor_a_slow_session_casts_doubt_on_a_default(tmp_path: Path) -> None:
    made, fast = make_workspace(tmp_path / "ws"), Made("fast", 0.08, identified=True)
    other = MACHINE.model_copy(update={"device": "Other CPU"})
    add_session(made, -3, [replace(fast, wrong_at=7)], machine=other)
    for hour in (0, 3):
        add_session(made, hour, [fast])
    record(made, decide(made, None))
    add_session(made, 9, [replace(fast, gain=-0.2)])
    assert not [note for note in check_workspace(made).notes if "in doubt" in note]
    add_session(made, 12, [replace(fast, wrong_at=7)])
    assert len([note for note in check_workspace(made).notes if "in doubt" in note]) == 1


def test_a_promotion_that_is_bound_to_bytes_stands_for_the_code_that_these_are_carried_over_to(
    place: Workspace,
) -> None:
    (one,) = promotions.read(place).promotion
    assert one.parts is not None
    bound = Promotions(promotion=(one.model_copy(update={"identity": "9" * 64, "parts": None}),))
    assert standing.earlier(place, bound) == [True]
    (place.variants / "identities.toml").write_text(
        f'schema_version = 1\nformula = 1\ntree = "made"\n[[variant]]\nname = "fast"\nbackend = "cpu"\n'
        f'bytes_sha256 = "{"9" * 64}"\nsites_sha256 = "{"0" * 64}"\ncommits = {{}}\n'
        f"[variant.identity]\nformula = {one.parts.formula}\n"
        + "".join(f'{part} = "{getattr(one.parts, part)}"\n' for part in ("digest", "declaration", "path"))
        + f'kernels = {{ fast = "{one.parts.kernels["fast"]}" }}\n'
    )
    assert standing.earlier(place, bound) == [False]
    session = add_session(place, 6, [Declared("fast", 0.08, workspace=place, wrong_at=7)])
    edit(place, "axis=-2", "axis=y.ndim - 2")
    policy = read_policy(place)
    said = standing.notes(place, everything(Reader(place, policy), None), bound, policy)
    assert [note for note in said if "in doubt" in note and session.session in note]
