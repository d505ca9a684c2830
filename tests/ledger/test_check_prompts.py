"""Token ids of the prompts that somebody changed, hashes made right again, are found."""

from __future__ import annotations

import pytest

from tests.ledger.test_check import GOOD, SESSION, Json, assert_found, edit, found, put
from zmlx_bench.schema.prompts import ids_hash
from zmlx_bench.workspace import Workspace


def test_token_ids_made_to_match_what_was_prefilled_are_not_the_session_s(decided: Workspace) -> None:
    def change(content: Json) -> None:
        content["encoded"]["token_ids"]["p1"] = [5] * 10
        for runs in (content["runs"], content["fidelity_runs"]):
            for run in (run for role in runs.values() for run in role):
                for generation in (one for one in run["generations"] if one["prompt"] == "p1"):
                    generation["prompt_sha256"] = ids_hash([5] * 10)

    edit(decided, GOOD, change, rehash=True)
    assert_found(decided, GOOD, "encoded", "is not what session.json says")
    assert not any("prompt_sha256" in f.field for f in found(decided))


@pytest.mark.parametrize("value", [None, {"chat_template": False, "token_ids": {f"p{i}": [1] for i in range(4)}}])
def test_token_ids_changed_in_the_session_are_not_its_capsules(decided: Workspace, value: object) -> None:
    edit(decided, SESSION, put(["plan", "encoded"], value), rehash=True)
    assert_found(decided, GOOD, "encoded", "is not what session.json says")
