"""A prefix says of its tokens what the process that went on says of them, and is cut where they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.schema.strategies import example
from zmlx_bench.protocol.prefix import Taken, cut, cut_failed, facts
from zmlx_bench.schema.capsule import output_hash
from zmlx_bench.schema.run import Beside, Depth, Generation, Run

TAKEN = Taken(
    decode_s=0.5, supervisor_decode_s=0.6, peak_mem_gb=0.1, cache_gb=0.0, peak_rss_gb=0.2, page_faults_minor=3,
    page_faults_major=0, energy_j=None,
)  # fmt: skip


def process(ids: tuple[int, ...], beside: Sequence[tuple[int, ...]] = (), **changes: Any) -> Run:
    """Return a timed process that generated `ids`, a token each 10 + its index microseconds; and those `beside` it.

    The context and the prompt are 100 tokens."""
    others = [Beside(prompt="q", prompt_tokens=1, prompt_sha256=None, output=output_hash(each)) for each in beside]
    lengths = (*(power for power in (1, 64, 104, 128) if power < 100 + len(ids)), 100 + len(ids))
    depths = [Depth(length=length, active_gb=1.0, cache_gb=0.0, peak_gb=1.0) for length in lengths]
    generation = Generation.model_validate(
        {
            **example(Generation), "prompt": "p", "output": output_hash(ids), "tokens": len(ids), "ttft_s": 0.25,
            "token_us": tuple(10 + i for i in range(len(ids) - 1)), "margins": (),
            "beside": others, "depths": depths,
        }
    )  # fmt: skip
    run = {**example(Run), "status": "ok", "tokens": len(ids), "of_tokens": None, "generations": (generation,)}
    return Run.model_validate({**run, **changes})


@given(st.data())
def test_a_prefix_and_its_whole_say_the_same_of_its_tokens(data: st.DataObject) -> None:
    ids = tuple(data.draw(st.lists(st.integers(0, 9), min_size=2, max_size=30)))
    tokens = data.draw(st.integers(1, len(ids) - 1))
    same_length = st.lists(st.integers(0, 9), min_size=len(ids), max_size=len(ids))
    beside = [tuple(each) for each in data.draw(st.lists(same_length, max_size=3))]
    whole = process(ids, beside)
    prefix = cut(whole, tokens, ids, TAKEN, beside)
    outputs = {output_hash(cut_): cut_ for each in (ids, *beside) for cut_ in (each, each[:tokens])}
    assert facts(prefix, outputs, tokens) == facts(whole, outputs, tokens)
    (generation,) = prefix.generations
    assert (prefix.tokens, prefix.of_tokens, generation.tokens) == (tokens, len(ids), tokens)
    assert outputs[generation.output] == ids[:tokens]
    assert [outputs[each.output] for each in generation.beside] == [each[:tokens] for each in beside]
    assert all(depth.length <= 100 + tokens for depth in generation.depths)
    assert {1, 64} <= {depth.length for depth in generation.depths}
    assert generation.token_us == tuple(10 + i for i in range(tokens - 1))
    assert (generation.decode_s, generation.peak_mem_gb, prefix.peak_rss_gb) == (0.5, 0.1, 0.2)
    assert Run.model_validate_json(prefix.model_dump_json()) == prefix


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"warm_up_s": 9.0}, "warm_up_s"),
        ({"block": 7}, "block"),
        ({"calls_per_token": {"combine": 3.0}}, "calls_per_token"),
        ({"message": "other"}, "message"),
    ],
)
def test_what_a_run_has_from_its_whole_is_told_by_field(change: dict[str, Any], field: str) -> None:
    ids = (1, 2, 3, 4)
    whole = process(ids)
    prefix = cut(whole, 2, ids, TAKEN).model_copy(update=change)
    outputs = {output_hash(ids): ids, output_hash(ids[:2]): ids[:2]}
    mine, theirs = facts(prefix, outputs, 2), facts(whole, outputs, 2)
    assert {name for name in mine if mine[name] != theirs[name]} == {field}


def test_what_another_sequence_of_the_batch_said_is_told() -> None:
    whole = process((1, 2, 3), [(4, 5, 6)])
    prefix = cut(whole, 2, (1, 2, 3), TAKEN, [(4, 7, 6)])
    outputs = {output_hash(each): each for each in ((1, 2, 3), (1, 2), (4, 5, 6), (4, 7))}
    mine, theirs = facts(prefix, outputs, 2), facts(whole, outputs, 2)
    assert {name for name in mine if mine[name] != theirs[name]} == {"generations[0].beside"}


@pytest.mark.parametrize(
    ("change", "field"),
    [({"ttft_s": 0.3}, "ttft_s"), ({"token_us": (11,)}, "token_us"), ({"output": output_hash((1, 9))}, "output")],
)
def test_what_a_generation_has_from_its_whole_is_told_by_field(change: dict[str, Any], field: str) -> None:
    ids = (1, 2, 3, 4)
    whole = process(ids)
    prefix = cut(whole, 2, ids, TAKEN)
    other = prefix.model_copy(update={"generations": (prefix.generations[0].model_copy(update=change),)})
    outputs = {output_hash(found): found for found in (ids, ids[:2], (1, 9))}
    mine, theirs = facts(other, outputs, 2), facts(whole, outputs, 2)
    assert {name for name in mine if mine[name] != theirs[name]} == {f"generations[0].{field}"}


def test_a_process_that_failed_failed_for_every_budget() -> None:
    whole = process((1, 2, 3), status="oom", message="no memory", generations=())
    prefix = cut_failed(whole, 2)
    assert (prefix.tokens, prefix.of_tokens, prefix.status, prefix.message) == (2, 3, "oom", "no memory")
    assert facts(prefix, {}, 2) == facts(whole, {}, 2)
