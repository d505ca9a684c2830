"""The measured process under conditions, against mlx-lm's own loops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.generate import BatchGenerator, generate_step
from mlx_lm.models.cache import KVCache, make_prompt_cache
from mlx_lm.utils import load_model

from tests.instructions import TOKEN_IDS, TOKENS, events, small_instructions
from tests.small import LAYERS, folder
from tests.variants import variant
from zmlx_bench.measured.conditions import run
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.messages import Conditions, digest

CONTEXT = tuple(range(40, 64))
ALONE = (("p0",), ("p1",))
TWO = (("p0", "p1"), ("p1", "p0"))
THREE = (("p0", "p1", "p0"), ("p1", "p0", "p1"))
QUANTISED = {"kv_bits": 8, "kv_group_size": 32, "quantized_kv_start": 0}
Steps = list[tuple[int, ...]]


@pytest.fixture(autouse=True)
def _cpu() -> Iterator[None]:
    mx.set_default_device(mx.cpu)
    return


def steps(found: list[dict[str, Any]]) -> Steps:
    return [(e["id"], *(e.get("others") or ())) for e in found if e["event"] == "token"]


def alone(model: Any, conditions: Conditions) -> Steps:
    """What mlx-lm answers to each prompt, after the context."""
    options = QUANTISED if conditions.kv_bits else {}
    found: Steps = []
    for prompt in TOKEN_IDS:
        cache = make_prompt_cache(model, conditions.max_kv_size)
        if conditions.context:
            assert not list(
                generate_step(mx.array(conditions.context), model, max_tokens=0, prompt_cache=cache, **options)
            )
        loop = generate_step(mx.array(prompt), model, max_tokens=TOKENS, prompt_cache=cache, **options)
        found += [(token,) for token, _ in loop]
    return found


def together(model: Any, conditions: Conditions) -> Steps:
    """What mlx-lm answers to each batch, after the context."""
    found: Steps = []
    for names in conditions.batches:
        caches = None
        if conditions.context:
            cache = make_prompt_cache(model, conditions.max_kv_size)
            list(generate_step(mx.array(conditions.context), model, max_tokens=0, prompt_cache=cache))
            caches = [cache] * len(names)
        batch = BatchGenerator(model, max_tokens=TOKENS, max_kv_size=conditions.max_kv_size)
        batch.insert([list(TOKEN_IDS[int(name[1])]) for name in names], caches=caches)
        while answered := batch.next_generated():
            found.append(tuple(each.token for each in sorted(answered, key=lambda each: each.uid)))
        batch.close()
    return found


CASES = {
    "context": (Conditions(context=CONTEXT, batches=ALONE), "KVCache"),
    "quantised": (Conditions(batches=ALONE, kv_bits=8), "QuantizedKVCache"),
    "rotating": (Conditions(batches=ALONE, max_kv_size=10), "RotatingKVCache"),
    "batch": (Conditions(batches=TWO), "BatchKVCache"),
    "all of them": (Conditions(context=CONTEXT, batches=TWO, max_kv_size=30), "BatchRotatingKVCache"),
}


@pytest.mark.parametrize(
    "case", [case if case == "all of them" else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_it_reports_what_mlx_lms_own_loops_answer(case: str, tmp_path: Path) -> None:
    conditions, cache = CASES[case]
    found = events(small_instructions("qwen3", conditions=conditions), tmp_path)
    model, _ = load_model(folder("qwen3"))
    own = alone if len(conditions.batches[0]) == 1 else together
    assert steps(found) == own(model, conditions)
    kinds = [e["event"] for e in found if e["event"] not in ("token", "loaded")]
    filled = ["filling", "filled"] if conditions.context else []
    answers = ["prompt", "prompt_end", "deepened"] * 2
    assert kinds == ["prompts", *filled, "caches", "warmed", *answers, "done"]
    (told,) = (e["caches"] for e in found if e["event"] == "caches")
    assert [(each["name"], each["layers"]) for each in told] == [(cache, LAYERS)]
    if conditions.context:
        (context,) = (e for e in found if e["event"] == "filled")
        assert (context["tokens"], context["sha256"]) == (len(CONTEXT), digest(CONTEXT))
    longest = [max(len(TOKEN_IDS[int(name[1])]) for name in names) for names in conditions.batches]
    last = [e["depths"][-1]["length"] for e in found if e["event"] == "deepened"]
    assert last == [len(conditions.context) + prompt + TOKENS for prompt in longest]


def test_a_variant_is_measured_like_stock(tmp_path: Path) -> None:
    conditions = Conditions(batches=(("p1", "p0"),))
    stock = events(small_instructions("qwen3", conditions=conditions), tmp_path)
    ours = events(
        small_instructions("qwen3", resolved=variant("qwen3", "qkv=qkv_joined"), conditions=conditions), tmp_path
    )
    assert steps(ours) == steps(stock)
    (warmed,) = (e for e in ours if e["event"] == "warmed")
    assert warmed["calls_per_token"] == {"qkv": LAYERS}


def test_prefixes_are_told_under_conditions_too(tmp_path: Path) -> None:
    conditions = Conditions(context=CONTEXT, batches=(("p0", "p1"),))
    found = events(small_instructions("qwen3", conditions=conditions, prefixes=(2, 5)), tmp_path)
    kinds = [e["event"] for e in found]
    assert kinds[kinds.index("prompt") :] == [
        "prompt", "token", "token", "prefix", "token", "token", "token", "prefix", "token", "prompt_end", "deepened",
        "done",
    ]  # fmt: skip


def test_a_model_whose_cache_mlx_lm_cannot_quantise_is_unavailable_in_a_sentence(tmp_path: Path) -> None:
    told = small_instructions("glm47", conditions=Conditions(batches=ALONE, kv_bits=8))
    with pytest.raises(Unavailable, match=r"^mlx-lm cannot run this model with --kv-bits 8: AttributeError: "):
        events(told, tmp_path)


def test_a_kernel_that_does_not_serve_is_unavailable_before_it_is_bound(tmp_path: Path) -> None:
    told = small_instructions(
        "qwen3",
        resolved=variant("qwen3", "combine=no_such_kernel"),
        limits={"no_such_kernel": 1},
        conditions=Conditions(batches=THREE),
    )
    with pytest.raises(Unavailable, match="no_such_kernel serves calls of 1 tokens at most, and a step has 3 here"):
        events(told, tmp_path)


def test_a_model_that_makes_another_cache_than_asked_for_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlx_lm.models.qwen3_moe import Model

    monkeypatch.setattr(Model, "make_cache", lambda self: [KVCache() for _ in self.layers], raising=False)
    told = small_instructions("qwen3", conditions=Conditions(batches=ALONE, max_kv_size=10))
    with pytest.raises(
        Unavailable, match=f"is {LAYERS} KVCache, and --max-kv-size 10 asks for RotatingKVCache of 10 tokens"
    ):
        events(told, tmp_path)
    kinds = [json.loads(line)["event"] for line in (tmp_path / "events").read_text().splitlines()]
    assert kinds == ["loaded", "prompts"], "it is found out in the rehearsal, and no wrong cache is reported"


def test_the_context_is_prefilled_once_and_every_answer_begins_after_it(tmp_path: Path) -> None:
    twice = Conditions(context=CONTEXT, batches=(("p0",), ("p0",)))
    found = steps(events(small_instructions("qwen3", conditions=twice), tmp_path))
    assert found[:TOKENS] == found[TOKENS:]


def test_no_file_of_conditions_is_loaded_without_them(tmp_path: Path) -> None:
    import sys

    names = [name for name in sys.modules if name.startswith(f"{run.__package__}.")]
    kept = {name: sys.modules.pop(name) for name in names}
    try:
        events(small_instructions("qwen3", tokens=2), tmp_path)
        assert not [name for name in sys.modules if name.startswith(f"{run.__package__}.run")]
    finally:
        sys.modules.update(kept)
