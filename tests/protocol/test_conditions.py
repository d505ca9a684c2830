"""Contexts and batches are drawn from what a session records: a check draws them again."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from zmlx_bench.protocol.batch import members
from zmlx_bench.protocol.context import context_ids

PIECES = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=5), min_size=1, max_size=8)


@given(pieces=PIECES, tokens=st.integers(1, 200), more=st.integers(0, 50))
def test_a_context_has_exactly_so_many_tokens_and_begins_a_longer_one(
    pieces: list[list[int]], tokens: int, more: int
) -> None:
    found = context_ids(pieces, tokens)
    assert len(found) == tokens
    assert context_ids(pieces, tokens + more)[:tokens] == found
    assert set(found) <= {token for piece in pieces for token in piece}


def test_each_time_round_has_all_sentences_in_another_order() -> None:
    pieces = [[n] for n in range(20)]
    found = context_ids(pieces, 60)
    rounds = [found[start : start + 20] for start in (0, 20, 40)]
    assert all(sorted(each) == list(range(20)) for each in rounds)
    assert len({*rounds}) == 3
    # Evidence rests on it: it may never change.
    assert found[:8] == (19, 9, 8, 17, 7, 6, 5, 11)


@given(st.lists(st.text("ab", min_size=1), min_size=1, unique=True), st.integers(1, 9), st.data())
def test_every_prompt_leads_a_batch_of_those_after_it(prompts: list[str], batch: int, data: st.DataObject) -> None:
    leader = data.draw(st.sampled_from(prompts))
    found = members(prompts, leader, batch)
    assert (len(found), found[0]) == (batch, leader)
    assert len(set(found)) == min(batch, len(prompts))
    for here, there in pairwise(found):
        assert prompts[(prompts.index(here) + 1) % len(prompts)] == there
