"""Shorter budgets whose runs somebody changed: each is held against the whole that it is the prefix of."""

from __future__ import annotations

import pytest

from tests.ledger.test_check import GOOD, Json, assert_found, edit, put
from zmlx_bench.schema.capsule import output_hash
from zmlx_bench.workspace import Workspace


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (["warm_up_s"], 0.25, "warm_up_s"),
        (["load_s"], 7.0, "load_s"),
        (["generations", 0, "ttft_s"], 0.2, "generations[0].ttft_s"),
        (["generations", 0, "active_before_gb"], 0.5, "generations[0].active_before_gb"),
        (["generations", 0, "peak_mem_gb"], 2.5, "generations[0].peak_mem_gb"),
        (["peak_rss_gb"], 9.0, "peak_rss_gb"),
        (["page_faults_minor"], 11, "page_faults_minor"),
    ],
)
def test_where_a_prefix_is_not_of_its_whole(
    decided: Workspace, path: list[str | int], value: object, field: str
) -> None:
    edit(decided, GOOD, put(["runs", "variant", 1, *path], value), rehash=True)
    assert_found(decided, GOOD, f"runs.variant[1].{field}", "first 20 tokens of runs.variant[1] in qwen3_tiny_cpu_t50")


def test_times_and_tokens_of_a_prefix_that_fit_each_other_and_not_the_whole(decided: Workspace) -> None:
    def change(content: Json) -> None:
        (generation,) = content["runs"]["variant"][0]["generations"]
        generation["token_us"][0] -= 5
        generation["token_us"][1] += 5
        tokens = (*content["outputs"][generation["output"]][:-1], 7777)
        generation["output"] = output_hash(tokens)
        content["outputs"][generation["output"]] = list(tokens)

    edit(decided, GOOD, change, rehash=True)
    for field in ("token_us", "output"):
        assert_found(decided, GOOD, f"runs.variant[0].generations[0].{field}", "first 20 tokens of runs.variant[0]")


@pytest.mark.parametrize("value", [None, 20, 60])
def test_a_prefix_of_another_process_than_the_plans(decided: Workspace, value: int | None) -> None:
    edit(decided, GOOD, put(["runs", "variant", 0, "of_tokens"], value), rehash=True)
    assert_found(decided, GOOD, "runs.variant[0].")
