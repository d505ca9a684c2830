"""Token identity: prefixes, divergences, loops, and what the stock arms say about themselves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.analysis.runs import OUTPUTS, failed, generation, run
from zmlx_bench.analysis.fidelity import common_prefix, compare, distinct_ngrams
from zmlx_bench.schema.figures import Fidelity
from zmlx_bench.schema.run import Beside, Run

TEXT = tuple(range(100, 120))
tokens = st.lists(st.integers(0, 3), max_size=20)


def says(ids: tuple[int, ...], prompt: str = "p", **changes: object) -> Run:
    return run(generation(ids, prompt, **changes))


def compared(arm: list[Run], base: list[Run], null: list[Run] | None = None, budget: int = 20) -> Fidelity:
    found = compare(arm, base, null, OUTPUTS, budget, ["p", "q"])
    assert found is not None
    return found


@given(tokens, tokens, tokens)
def test_the_common_prefix_is_common_and_no_longer_one_is(shared: list[int], a: list[int], b: list[int]) -> None:
    left, right = shared + a, shared + b
    n = common_prefix(left, right)
    assert n >= len(shared)
    assert left[:n] == right[:n]
    assert left[: n + 1] != right[: n + 1] or n == min(len(left), len(right))


@given(st.lists(st.integers(0, 2), max_size=40))
def test_the_share_of_distinct_ngrams(ids: list[int]) -> None:
    share = distinct_ngrams(ids)
    assert 0 < share <= 1
    assert share == 1 if len(ids) <= 8 else share >= 1 / (len(ids) - 7)


def test_a_loop_has_few_distinct_ngrams() -> None:
    assert distinct_ngrams([1, 2] * 50) == 2 / 93
    assert distinct_ngrams(TEXT) == 1


def test_identical_tokens() -> None:
    found = compared([says(TEXT)], [says(TEXT)])
    assert (found.verdict, found.matched_tokens, found.total_tokens) == ("identical", 20, 20)
    assert found.prompts[0].first_divergence is None
    assert (found.baseline_repeats, found.null_identical) == (None, None)


@given(st.integers(0, 19))
def test_one_other_token_is_found_where_it_stands_with_the_baselines_margin(at: int) -> None:
    other = (*TEXT[:at], 7, *TEXT[at + 1 :])
    margins = tuple(float(i) for i in range(20))
    found = compared([says(other)], [says(TEXT, margins=margins)])
    (prompt,) = found.prompts
    assert found.verdict == "diverged"
    assert (prompt.matched, prompt.first_divergence, prompt.baseline_margin) == (at, at, float(at))


def batch(first: tuple[int, ...], *others: tuple[int, ...]) -> Run:
    beside = tuple(
        Beside(prompt="q", prompt_tokens=1, prompt_sha256=None, output=generation(ids).output) for ids in others
    )
    return says(first, beside=beside, margins=(0.5,) * len(first))


@given(st.integers(0, 19), st.integers(0, 2))
def test_every_sequence_of_a_batch_is_compared_in_its_place(at: int, place: int) -> None:
    stock = [TEXT, tuple(reversed(TEXT)), (*TEXT[5:], *TEXT[:5])]
    other = [*stock]
    other[place] = (*stock[place][:at], 7, *stock[place][at + 1 :])
    found = compared([batch(*stock), batch(*other)], [batch(*stock)])
    (prompt,) = found.prompts
    assert found.verdict == "diverged"
    assert (prompt.matched, prompt.total, prompt.first_divergence) == (40 + at, 60, at)
    assert prompt.baseline_margin is None
    assert compared([batch(*stock)], [batch(*stock)], [batch(*stock)]).null_identical
    assert not compared([batch(*stock)], [batch(*stock)], [batch(*other)]).null_identical


def test_the_sequences_of_a_batch_may_not_change_places() -> None:
    assert compared([batch(TEXT, TEXT[::-1], TEXT)], [batch(TEXT, TEXT, TEXT[::-1])]).verdict == "diverged"


def test_a_prompt_counts_by_the_sequence_that_leads_its_batch() -> None:
    loop = (1, 2) * 10
    assert compared([batch(TEXT, loop)], [batch(TEXT, loop)]).counting_prompts == 1
    assert compared([batch(loop, TEXT)], [batch(loop, TEXT)]).counting_prompts == 0


def test_a_difference_after_the_budget_does_not_count() -> None:
    other = (*TEXT[:10], 7)
    assert compared([says(other)], [says(TEXT)], budget=10).verdict == "identical"
    assert compared([says(other)], [says(TEXT)], budget=11).verdict == "diverged"


def test_too_few_tokens_are_a_divergence() -> None:
    found = compared([says(TEXT[:5])], [says(TEXT)])
    assert found.verdict == "diverged"
    assert found.prompts[0].matched == 5


def test_the_worst_process_counts_and_every_prompt_does() -> None:
    arm = [says(TEXT), says((*TEXT[:3], 7)), says(TEXT, "q")]
    found = compared(arm, [says(TEXT), says(TEXT, "q")])
    assert found.verdict == "diverged"
    assert [(p.prompt, p.matched) for p in found.prompts] == [("p", 3), ("q", 20)]
    assert (found.matched_tokens, found.total_tokens) == (23, 40)


def test_a_prompt_that_only_one_side_answered_is_not_compared() -> None:
    found = compared([says(TEXT), says(TEXT, "q")], [says(TEXT)])
    assert [p.prompt for p in found.prompts] == ["p"]
    assert compare([failed()], [says(TEXT)], None, OUTPUTS, 20, ["p"]) is None


def test_a_looping_baseline_is_weak_evidence() -> None:
    loop = (1, 2) * 10
    found = compared([says(loop), says(TEXT, "q")], [says(loop), says(TEXT, "q")])
    assert [p.loops for p in found.prompts] == [True, False]
    assert found.counting_prompts == 1


def test_a_baseline_that_does_not_repeat_itself_and_a_null_arm_that_differs() -> None:
    other = (*TEXT[:19], 7)
    assert compared([says(TEXT)], [says(TEXT), says(TEXT)]).baseline_repeats is True
    assert compared([says(TEXT)], [says(TEXT), says(other)]).baseline_repeats is False
    assert compared([says(TEXT)], [says(TEXT)], [says(TEXT)]).null_identical is True
    assert compared([says(TEXT)], [says(TEXT)], [says(other)]).null_identical is False
    assert compared([says(TEXT)], [says(TEXT)], [failed()]).null_identical is None
