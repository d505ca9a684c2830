"""Token identity of an arm with the baseline, prompt by prompt.

Every token of the budget must be the same; shorter budgets are prefixes of the untimed prompts' outputs. Where several
sequences are decoded at once, a prompt stands for the batch that it leads: each sequence of it is compared with the
baseline's in the same place, because what a sequence says may depend on those beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zmlx_bench.schema.figures import Fidelity, PromptFidelity
from zmlx_bench.schema.run import Generation, Run

NGRAM = 8
LOOP_SHARE = 0.60
"""Below this share an output is marked as looping for display; `promote` counts prompts by the policy's own share."""

Outputs = Mapping[str, Sequence[int]]


def distinct_ngrams(tokens: Sequence[int]) -> float:
    """Return the share of the 8-grams of `tokens` that are distinct; 1.0 when there is none."""
    grams = [tuple(tokens[i : i + NGRAM]) for i in range(len(tokens) - NGRAM + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many leading tokens `a` and `b` share."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def answers(runs: Sequence[Run]) -> dict[str, list[Generation]]:
    """Return every generation of successful runs by prompt."""
    found: dict[str, list[Generation]] = {}
    for run in runs:
        if run.status == "ok":
            for generation in run.generations:
                found.setdefault(generation.prompt, []).append(generation)
    return found


def same_tokens(generations: Sequence[Generation], outputs: Outputs, budget: int) -> bool:
    """Return whether all generations gave the same first `budget` tokens."""
    texts = {_texts(generation, outputs, budget) for generation in generations}
    return len(texts) <= 1


def compare(
    arm: Sequence[Run],
    baseline: Sequence[Run],
    null: Sequence[Run] | None,
    outputs: Outputs,
    budget: int,
    prompts: Sequence[str],
) -> Fidelity | None:
    """Compare an arm with the baseline over `prompts` (timed and untimed runs together) at `budget` tokens.

    Every process of the arm counts, the worst one is reported for each prompt. Returns None when the
    arm or the baseline answered nothing. `null` is None where the session has no null arm.
    """
    mine, reference = answers(arm), answers(baseline)
    shared = [prompt for prompt in prompts if prompt in mine and prompt in reference]
    compared = tuple(_prompt(prompt, mine[prompt], reference[prompt], outputs, budget) for prompt in shared)
    if not compared:
        return None
    total = sum(p.total for p in compared)
    repeats = [same_tokens(generations, outputs, budget) for generations in reference.values() if len(generations) > 1]
    return Fidelity(
        verdict="identical" if all(p.identical for p in compared) else "diverged",
        matched_tokens=sum(p.matched for p in compared),
        total_tokens=total,
        prompts=compared,
        counting_prompts=sum(not p.loops for p in compared),
        baseline_repeats=all(repeats) if repeats else None,
        null_identical=None if null is None else _identical(null, reference, outputs, budget),
    )


def _prompt(
    prompt: str, mine: Sequence[Generation], reference: Sequence[Generation], outputs: Outputs, budget: int
) -> PromptFidelity:
    expected = _texts(reference[0], outputs, budget)
    worst = min((_texts(g, outputs, budget) for g in mine), key=lambda texts: _matched(texts, expected))
    matched = _matched(worst, expected)
    identical = worst == expected
    share = distinct_ngrams(expected[0])
    first = min((common_prefix(a, b) for a, b in zip(worst, expected, strict=False) if a != b), default=0)
    return PromptFidelity(
        prompt=prompt,
        identical=identical,
        matched=matched,
        total=sum(map(len, expected)),
        first_divergence=None if identical else first,
        baseline_margin=None if identical or len(expected) > 1 else _margin(reference, first),
        distinct_8grams=share,
        loops=share < LOOP_SHARE,
    )


Texts = tuple[tuple[int, ...], ...]
"""Token ids of every sequence of a batch, the leader's first."""


def _texts(generation: Generation, outputs: Outputs, budget: int) -> Texts:
    names = (generation.output, *(each.output for each in generation.beside))
    return tuple(tuple(outputs[name][:budget]) for name in names)


def _matched(texts: Texts, expected: Texts) -> int:
    """Return how many tokens come before the first difference, over all sequences."""
    return sum(common_prefix(a, b) for a, b in zip(texts, expected, strict=False))


def _margin(reference: Sequence[Generation], position: int) -> float | None:
    for generation in reference:
        if position < len(generation.margins):
            return generation.margins[position]
    return None


def _identical(
    null: Sequence[Run], reference: Mapping[str, Sequence[Generation]], outputs: Outputs, budget: int
) -> bool | None:
    mine = answers(null)
    shared = [prompt for prompt in mine if prompt in reference]
    if not shared:
        return None
    return all(same_tokens([*reference[p], *mine[p]], outputs, budget) for p in shared)
