"""What conditions ask of caches and kernels, in words."""

from __future__ import annotations

import pytest

from zmlx_bench.measured.conditions.asked import Asked, other_cache, unserved
from zmlx_bench.measured.messages import CacheKind
from zmlx_bench.measured.variant import KernelUse

PLAIN = CacheKind("KVCache", 4)
QUANTISED = CacheKind("QuantizedKVCache", 4, 8, 64)
ROTATING = CacheKind("RotatingKVCache", 4, max_size=16)
BATCHED = CacheKind("BatchKVCache", 4)
BATCHED_ROTATING = CacheKind("BatchRotatingKVCache", 4, max_size=16)
RECURRENT = CacheKind("ArraysCache", 2)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Asked(), (PLAIN,)),
        (Asked(), (ROTATING,)),
        (Asked(kv_bits=8), (QUANTISED,)),
        (Asked(kv_bits=8), (RECURRENT, QUANTISED)),
        (Asked(max_kv_size=16), (ROTATING,)),
        (Asked(batch=2), (BATCHED, RECURRENT)),
        (Asked(batch=2), (BATCHED, BATCHED_ROTATING)),
        (Asked(batch=2, max_kv_size=16), (BATCHED_ROTATING,)),
    ],
)
def test_the_cache_that_is_asked_for(asked: Asked, found: tuple[CacheKind, ...]) -> None:
    assert other_cache(found, asked) is None


@pytest.mark.parametrize(
    ("asked", "found", "says"),
    [
        (Asked(kv_bits=8), (PLAIN,), "4 KVCache, and --kv-bits 8 asks for QuantizedKVCache of 8 bits"),
        (Asked(kv_bits=4), (QUANTISED,), "4 QuantizedKVCache (8 bits), and --kv-bits 4 asks for"),
        (Asked(kv_bits=8), (QUANTISED, PLAIN), "4 QuantizedKVCache (8 bits) and 4 KVCache, and"),
        (Asked(kv_bits=8), (RECURRENT,), "2 ArraysCache, and"),
        (Asked(kv_bits=8), (), "none, and"),
        (Asked(max_kv_size=8), (ROTATING,), "4 RotatingKVCache (16 tokens), and --max-kv-size 8 asks for"),
        (Asked(max_kv_size=16), (PLAIN,), "asks for RotatingKVCache of 16 tokens"),
        (Asked(batch=2), (PLAIN,), "--batch 2 asks for BatchKVCache in every attention"),
        (Asked(batch=2, max_kv_size=16), (BATCHED,), "--batch 2 --max-kv-size 16 asks for BatchRotatingKVCache"),
    ],
)
def test_another_cache_is_told_in_a_sentence(asked: Asked, found: tuple[CacheKind, ...], says: str) -> None:
    why = other_cache(found, asked)
    assert why is not None
    assert says in why


@pytest.mark.parametrize(
    ("limits", "asked", "says"),
    [
        ({"max_batch": 1}, Asked(batch=4), "k serves one sequence at a time, and --batch 4 decodes 4 at once"),
        ({"max_batch": 2}, Asked(batch=4), "k serves 2 sequences at a time, and"),
        ({"max_tokens": 1}, Asked(batch=4), "k serves calls of 1 tokens at most, and a step has 4 here"),
        ({"caches": ("plain",)}, Asked(kv_bits=8), "serves a plain cache, and --kv-bits 8 gives a quantised one"),
        (
            {"caches": ("plain",)},
            Asked(max_kv_size=9),
            "serves a plain cache, and --max-kv-size 9 gives a rotating one",
        ),
        ({"max_batch": 4, "max_tokens": 4, "caches": ("plain",)}, Asked(batch=4), None),
        ({"max_tokens": 1, "caches": ("quantised", "plain")}, Asked(kv_bits=4), None),
        ({}, Asked(batch=64, max_kv_size=9), None),
    ],
)
def test_a_kernel_serves_what_it_says(limits: dict[str, object], asked: Asked, says: str | None) -> None:
    why = unserved([KernelUse("other", "stock", ("qkv",)), KernelUse("k", "stock", ("combine",), **limits)], asked)
    assert (why is None) == (says is None)
    assert says is None or says in str(why)
