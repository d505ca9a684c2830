"""Sessions under conditions: recorded, checked, reported, planned again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.session.conftest import Finished
from tests.small import LAYERS
from zmlx_bench.analysis.decision.adapter import key_of_row
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.ledger.check.capsule import check_capsule
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.protocol.context import context_ids
from zmlx_bench.replay import measure as replay
from zmlx_bench.report.overview_text import surroundings
from zmlx_bench.report.session_table import session_summary
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.matrix import row_of
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.schema.prompts import ids_hash
from zmlx_bench.schema.run import CacheKind, Run

VARIANT = "qwen_native"
DEEP = Conditions(context=24, batch=3, max_kv_size=40)


def runs_of(capsule: Capsule) -> list[Run]:
    return [*capsule.runs.baseline, *capsule.runs.variant, *capsule.fidelity_runs.baseline]


def test_what_was_recorded_holds(deep: Finished, quantised: Finished) -> None:
    for session in (deep, quantised):
        assert check_workspace(session.workspace).findings == ()


def test_conditions_stand_in_plan_capsule_row_and_group(deep: Finished, quantised: Finished) -> None:
    assert deep.session.plan.conditions == DEEP
    capsule = deep.capsule(VARIANT)
    row = row_of(capsule)
    assert capsule.conditions == row.conditions == key_of_row(row).conditions == DEEP
    words = [*surroundings(key_of_row(row))]
    assert {"context 24", "batch 3 (tok/s of all together)", "max kv size 40"} <= set(words)
    assert session_summary(quantised.session, [])["conditions"]["kv_bits"] == 8
    told = "context 24, batch 3 (tok/s of all together), max kv size 40"
    assert f"conditions: {told}" in deep.done.stderr
    assert f"6 tokens, {told}, 1 block" in " ".join(deep.done.stdout.split())


@pytest.mark.parametrize("tokens", [3, 6])
def test_every_sequence_is_recorded_and_compared(deep: Finished, tokens: int) -> None:
    capsule = deep.capsule(VARIANT, tokens)
    fidelity = capsule.figures.fidelity
    assert fidelity is not None
    assert [(p.prompt, p.total, p.identical) for p in fidelity.prompts] == [
        ("great_wall", 3 * tokens, True),
        ("lighthouse", 3 * tokens, True),
    ]
    for run in runs_of(capsule):
        for generation in run.generations:
            named = [generation.prompt, *(each.prompt for each in generation.beside)]
            other = "lighthouse" if generation.prompt == "great_wall" else "great_wall"
            assert named == [generation.prompt, other, generation.prompt]
            lengths = {len(capsule.outputs[each.output]) for each in generation.beside}
            assert lengths == {generation.tokens}


def test_speed_is_of_all_sequences_and_of_the_context(deep: Finished) -> None:
    figures, (run,) = deep.capsule(VARIANT).figures, deep.capsule(VARIANT).runs.variant
    (generation,) = run.generations
    assert figures.decode_tok_s == pytest.approx(3 * (generation.tokens - 1) / generation.decode_s)
    assert run.filled is not None
    assert figures.context_prefill_tok_s == pytest.approx(24 / run.filled.seconds)
    assert figures.context_prefill is not None
    lengths = [depth.length for depth in figures.depths]
    prompt = max(generation.prompt_tokens, *(each.prompt_tokens for each in generation.beside))
    assert lengths[-1] == 24 + prompt + generation.tokens
    assert all(depth.peak_gb >= depth.active_gb > 0 for depth in figures.depths)


def test_the_context_can_be_drawn_again_from_the_capsule(deep: Finished) -> None:
    capsule = deep.capsule(VARIANT)
    assert capsule.encoded is not None
    ids = context_ids(capsule.encoded.context_pieces, 24)
    assert {run.filled.sha256 for run in runs_of(capsule) if run.filled is not None} == {ids_hash(ids)}


def test_the_cache_is_recorded(deep: Finished, quantised: Finished) -> None:
    assert {run.caches for run in runs_of(deep.capsule(VARIANT))} == {
        (CacheKind(name="BatchRotatingKVCache", layers=LAYERS, max_size=40),)
    }
    assert {run.caches for run in runs_of(quantised.capsule(VARIANT))} == {
        (CacheKind(name="QuantizedKVCache", layers=LAYERS, bits=8, group_size=32),)
    }
    assert quantised.capsule(VARIANT).figures.fidelity is not None


def changed(capsule: Capsule, change: Callable[[dict[str, Any]], None]) -> Capsule:
    content = capsule.model_dump(mode="json")
    change(content)
    return Capsule.model_validate(content).sealed()


def _first(content: dict[str, Any]) -> Any:
    return content["runs"]["variant"][0]


def _other_context(content: dict[str, Any]) -> None:
    _first(content)["filled"]["sha256"] = "0" * 64


def _shorter(content: dict[str, Any]) -> None:
    _first(content)["filled"]["tokens"] = 23


def _no_context(content: dict[str, Any]) -> None:
    _first(content)["filled"] = None


def _other_cache(content: dict[str, Any]) -> None:
    _first(content)["caches"] = [{"name": "BatchKVCache", "layers": 4}]


def _other_pieces(content: dict[str, Any]) -> None:
    content["encoded"]["context_pieces"] = [[5, 6, 7]]


def _one_less(content: dict[str, Any]) -> None:
    del _first(content)["generations"][0]["beside"][1]


def _swapped(content: dict[str, Any]) -> None:
    _first(content)["generations"][0]["beside"].reverse()


def _other_prompt(content: dict[str, Any]) -> None:
    _first(content)["generations"][0]["beside"][0]["prompt_sha256"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_other_context, "runs.variant[0].filled.sha256"),
        (_shorter, "runs.variant[0].filled.sha256"),
        (_no_context, "runs.variant[0].filled"),
        (_other_cache, "runs.variant[0].caches"),
        (_other_pieces, "runs.baseline[0].filled.sha256"),
        (_one_less, "runs.variant[0].generations[0].beside"),
        (_swapped, "runs.variant[0].generations[0].beside"),
        (_other_prompt, "runs.variant[0].generations[0].beside[0].prompt_sha256"),
    ],
)
def test_what_somebody_changed_is_found(deep: Finished, change: Callable[[dict[str, Any]], None], field: str) -> None:
    capsule = deep.capsule(VARIANT)
    name = f"capsules/{deep.session.session}/{next(ref.file for ref in deep.session.capsules if '_t6_' in ref.file)}"
    assert check_capsule(capsule, name) == []
    assert field in {finding.field for finding in check_capsule(changed(capsule, change), name)}


def test_a_replay_is_planned_under_the_same_conditions(deep: Finished) -> None:
    overrides = replay.Overrides(checkpoint=deep.session.checkpoint_option)
    planned = replay.prepare(deep.workspace, deep.capsule(VARIANT), overrides)
    try:
        plan = planned.prepared.session.plan
        assert (plan.conditions, plan.encoded) == (DEEP, deep.session.plan.encoded)
    finally:
        planned.prepared.release()


def test_evidence_under_conditions_is_bound_to_what_runs_under_them_alone(deep: Finished) -> None:
    catalog = Catalog(deep.workspace, "qwen3")
    variant = catalog.resolve(VARIANT)
    plain, ours = (catalog.identify(variant, "cpu", asked).identity for asked in (Conditions(), DEEP))
    assert plain is not None
    assert ours is not None
    assert deep.capsule(VARIANT).variant.identity == ours
    assert (plain.declaration, plain.kernels) == (ours.declaration, ours.kernels)
    assert plain.path != ours.path
