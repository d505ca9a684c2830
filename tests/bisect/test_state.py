"""What a bisection is called, goes on from, and comes to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.bisect import show, state
from zmlx_bench.bisect.outcome import asks_next, outcome
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.schema.bisection import BisectedVersion, Bisection, BisectionStep, Divergence, Figure, Said
from zmlx_bench.workspace import Workspace

VERSIONS = tuple(f"1.{n}" for n in range(8))
FIGURE = Figure(ratio=0.9, low=0.88, high=0.92)


def made(**changes: object) -> Bisection:
    plain = Bisection(
        bisection="unnamed", family="qwen3", package="part", on="speed", good="1.0", bad="1.7", tokens=200, blocks=40,
        checkpoint="tiny", backend="cpu", seed=0,
        versions=tuple(BisectedVersion(version=one, environment=f"part=={one}") for one in VERSIONS),
    )  # fmt: skip
    return state.named(plain.model_copy(update=changes))


def ends(said: Said | None = "bad") -> BisectionStep:
    return BisectionStep(version="1.7", session="s", said=said, figure=FIGURE)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_the_same_question_is_the_same_bisection_and_another_is_another() -> None:
    assert made().bisection == made(ends=ends()).bisection == made(left_out=()).bisection
    others = [
        made(on="tokens"), made(tokens=64), made(good="1.1"), made(checkpoint="full"), made(wheels={"1.1": "0" * 64}),
        made(prompts_sha256="0" * 64),
    ]  # fmt: skip
    assert len({made().bisection, *(one.bisection for one in others)}) == 1 + len(others)
    assert made(family="org/a model:x").bisection.startswith("a-model-x-part-speed-")


def test_it_goes_on_from_what_was_written(place: Workspace) -> None:
    asked = made()
    assert state.begun(place, asked) is asked
    written = state.write(place, state.with_step(asked.model_copy(update={"ends": ends()}), step("1.3", None)))
    assert state.begun(place, asked) == written
    assert asks_next(written) == "1.3"
    answered = state.with_step(written, step("1.3", "good"))
    assert [one.said for one in answered.steps] == ["good"]


def test_a_file_about_something_else_is_refused(place: Workspace) -> None:
    state.write(place, made(on="tokens").model_copy(update={"bisection": made().bisection}))
    with pytest.raises(UnusableInput, match="is about something else than its name says"):
        state.begun(place, made())


def test_two_are_not_at_one_bisection(place: Workspace) -> None:
    refused = pytest.raises(CannotHere, match="another process is at bisection one")
    with state.alone(place, "one"), refused, state.alone(place, "one"):
        pass
    with state.alone(place, "one"):
        pass


def step(version: str, said: Said | None, **changes: object) -> BisectionStep:
    return BisectionStep(version=version, said=said, session="s").model_copy(update=changes)


def answered(place: int, *, broken: tuple[int, ...] = (), unclear: tuple[int, ...] = ()) -> Bisection:
    """Every step that is asked for, until nothing is."""
    found = made(ends=ends(), good_distributions={"numpy": "2.0"})
    while (version := asks_next(found)) is not None:
        at = VERSIONS.index(version)
        said: Said = "skipped" if at in broken else "undecided" if at in unclear else "bad" if at >= place else "good"
        figure = FIGURE if said in ("good", "bad") else None
        found = state.with_step(found, step(version, said, distributions={"numpy": "2.0"}, figure=figure))
    return found


@given(st.integers(1, 7))
def test_it_ends_with_neighbours(at: int) -> None:
    found = outcome(answered(at))
    assert (found.kind, found.last_good, found.first_bad) == ("found", VERSIONS[at - 1], VERSIONS[at])


def lines(found: Bisection) -> list[str]:
    return list(show.lines(Workspace(Path("/w")), found))


def test_what_is_told_at_the_end() -> None:
    found = answered(5, broken=(4,))
    told = lines(found)
    assert told[0] == "1.0: the good end"
    assert "1.4: skipped" in told
    sentence = (
        "speed changed between part 1.3 and 1.5, past 1.4, which cannot be run: decode tok/s 0.900x [0.880, 0.920]"
    )
    assert told[-2] == f"{sentence} of the good end's"
    assert told[-1] == "capsules: capsules/s"
    assert show.code(found) == 0


def test_what_else_changed_is_told() -> None:
    found = answered(5)
    moved = step("1.5", "bad", distributions={"numpy": "2.1", "extra": "1"}, figure=FIGURE)
    told = lines(state.with_step(found, moved))
    assert told[-2] == "with it changed: extra absent -> 1, numpy 2.0 -> 2.1; this is a change of them all"


def test_undecided_is_no_guess() -> None:
    found = answered(4, unclear=(3, 4, 5))
    assert outcome(found).kind == "undecided"
    assert show.code(found) == 2
    assert any(
        line.startswith("undecided between part 1.2 and 1.6 (undecided: 1.3, 1.4, 1.5)") for line in lines(found)
    )


@pytest.mark.parametrize(
    ("said", "code", "says"),
    [
        ("good", 1, "part 1.0 and 1.7 do not differ in speed"),
        ("undecided", 2, "undecided between part 1.0 and 1.7"),
        (None, 2, "not finished: the same command goes on"),
    ],
)
def test_without_a_change_between_the_ends_nothing_is_asked(said: Said | None, code: int, says: str) -> None:
    found = made(ends=ends(said))
    assert asks_next(found) is None
    assert says in lines(found)
    assert show.code(found) == code


def test_a_token_is_told_with_its_margin() -> None:
    one = Divergence(prompt="story", token=12, good=5, bad=7, margin=0.0625)
    found = made(on="tokens", ends=ends().model_copy(update={"figure": None, "divergence": one}))
    assert "1.7: the bad end: first other token 12 of prompt story: 5 -> 7, margin 0.062" in lines(found)


def test_what_a_file_says_prints_no_control_characters() -> None:
    found = made(ends=ends(), steps=(step("1.3", "skipped", why="\x1b[2Jgone"),))
    assert all(line.isprintable() for line in lines(found))
