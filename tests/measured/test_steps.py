"""Steps as data: whatever runs of them are kernels, the straight line says what the steps say one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.measured.steps import Block, Span, Step, kinds

NAMES = ("a", "b", "c", "d")
Chosen = tuple[Block, list[tuple[int, int]]]


def arithmetic(index: int, inputs: Sequence[str], outputs: Sequence[str]) -> Callable[[Any], Callable[..., Any]]:
    """A step on integers whose outputs tell which step made them, from what, and in which place."""

    def stock(module: int) -> Callable[..., Any]:
        def call(**given: int) -> Any:
            assert list(given) == list(inputs)
            total = module + sum((place + 2) * value for place, value in enumerate(given.values()))
            made = tuple((index + 1) * total + 7 * place for place in range(len(outputs)))
            return made if len(made) > 1 else made[0]

        return call

    return stock


@st.composite
def blocks(draw: st.DrawFn) -> Chosen:
    """A block of up to six steps, some without a site, and runs of it that do not overlap."""
    steps: list[Step] = []
    for index in range(draw(st.integers(1, 6))):
        inputs = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
        outputs = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True))
        site = f"s{index}" if draw(st.booleans()) else ""
        words = (dict.fromkeys(inputs, "()"), dict.fromkeys(outputs, "()"))
        steps.append(Step(site, *words, arithmetic(index, inputs, outputs)))
    block = Block("block", tuple(steps), {})
    runs: list[tuple[int, int]] = []
    for run in draw(st.permutations([(run.first, run.end) for run in block.runs()])):
        if all(run[1] <= first or end <= run[0] for first, end in runs) and draw(st.booleans()):
            runs.append(run)
    return block, runs


def one_by_one(steps: Sequence[Step], module: int, values: dict[str, int]) -> dict[str, int]:
    """What the steps make of the values, by a dictionary and a loop."""
    held = dict(values)
    for step in steps:
        made = step.stock(module)(**{name: held[name] for name in step.inputs})
        held.update(zip(step.outputs, made if len(step.outputs) > 1 else (made,), strict=True))
    return held


def as_kernel(run: Span, module: int) -> Callable[..., Any]:
    def call(**given: int) -> Any:
        assert tuple(given) == run.inputs
        held = one_by_one(run.steps, module, given)
        made = [held[name] for name in run.outputs]
        return made if len(made) != 1 else made[0]

    return call


@given(chosen=blocks(), module=st.integers(-9, 9), start=st.integers(-99, 99))
def test_a_composition_says_what_the_steps_say(chosen: Chosen, module: int, start: int) -> None:
    block, runs = chosen
    values = {name: start + 3 * place for place, name in enumerate(NAMES)}
    spans = [Span(block, first, end) for first, end in runs]
    useful = [run for run in spans if run.outputs]
    line = block.compose(module, {run.sites: as_kernel(run, module) for run in useful})
    needed = Span(block, 0, len(block.steps)).inputs
    ours = line(**{name: values[name] for name in needed})
    held = one_by_one(block.steps, module, values)
    assert (ours if len(block.ends) > 1 else (ours,)) == tuple(held[name] for name in block.ends)


@given(chosen=blocks(), module=st.integers(-9, 9))
def test_a_runs_stock_takes_its_inputs_and_gives_its_outputs(chosen: Chosen, module: int) -> None:
    block, _ = chosen
    for run in block.runs():
        if not run.outputs:
            continue
        given_ = {name: 5 + place for place, name in enumerate(run.inputs)}
        held = one_by_one(run.steps, module, given_)
        assert run.stock(module)(**given_) == tuple(held[name] for name in run.outputs)
        assert block.span(run.sites) == run


def step(site: str, inputs: str, outputs: str, **more: Any) -> Step:
    return Step(site, dict.fromkeys(inputs, "()"), dict.fromkeys(outputs, "()"), lambda _: lambda **_: 0, **more)


def test_what_is_no_run_of_neighbours_is_not_offered() -> None:
    block = Block("block", (step("s", "a", "b"), step("", "b", "b"), step("t", "b", "c"), step("u", "c", "d")), {})
    assert [run.sites for run in block.runs()] == [
        ("s",), ("t",), ("u",), ("s", "t"), ("t", "u"), ("s", "t", "u"),
    ]  # fmt: skip
    assert all(block.span(sites) is None for sites in (("s", "u"), ("t", "s"), ("v",), ()))


def test_a_step_that_is_not_alone_is_offered_in_runs_only() -> None:
    block = Block("block", (step("s", "a", "b"), step("t", "ab", "b", alone=False)), {})
    assert [run.sites for run in block.runs()] == [("s",), ("s", "t")]


def test_a_run_gives_what_is_needed_after_it() -> None:
    block = Block("block", (step("s", "a", "bc"), step("t", "b", "d"), step("u", "cd", "e")), {})
    run = block.span(("s", "t"))
    assert run is not None
    assert (run.inputs, run.outputs) == (("a",), ("c", "d"))
    kept = Block("block", block.steps, {}, results=("b", "e"))
    assert kept.span(("s", "t")) == Span(kept, 0, 2)
    assert Span(kept, 0, 2).outputs == ("b", "c", "d")


def test_kinds_are_those_of_the_run() -> None:
    steps = (step("s", "a", "b", kind="one"), step("t", "b", "c"))
    assert kinds(steps) == {"s": "one"}
    assert Span(Block("block", steps, {}), 1, 2).kinds == {}


def test_a_step_that_gets_too_little_is_named_by_python(capsys: pytest.CaptureFixture[str]) -> None:
    line = Block("block", (step("s", "a", "b"),), {}).compose(0, {})
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        line()
