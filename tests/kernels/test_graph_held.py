"""What a graph keeps: the caches that it writes in place, and its machine code."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import KVCache, RotatingKVCache, trim_prompt_cache

from tests.kernels import gpu

held = gpu.module("_lib.graph.held")
compiled = gpu.module("_lib.graph.compiled")
LAYERS, HEADS, KEY, VALUE = 2, 1, 4, 3
ROWS = held.Rows(LAYERS, HEADS, KEY, VALUE, mx.float32)


class Extension:
    """What keeps a sequence's arrays."""

    Buffers = list


def caches(length: int, kind: Any = KVCache) -> list[Any]:
    found = [kind() for _ in range(LAYERS)]
    for i, each in enumerate(found if length else []):
        rows = mx.arange(length, dtype=mx.float32)[None, None, :, None] + 100.0 * i
        each.update_and_fetch(mx.repeat(rows, KEY, -1), mx.repeat(-rows, VALUE, -1))
    return found


@pytest.mark.parametrize("length", [0, 5, 255, 256, 300])
def test_a_sequence_gets_arrays_with_its_rows_and_room(length: int) -> None:
    given = caches(length)
    kept = [(copy.copy(each.keys), copy.copy(each.values)) for each in given]
    found = held.Sequences(ROWS, Extension).hold(given)
    assert found.end == length
    assert length < found.capacity <= length + KVCache.step
    assert found.capacity % KVCache.step == 0
    assert len(found.buffers) == 2 * LAYERS
    for i, (each, (keys, values)) in enumerate(zip(given, kept, strict=True)):
        assert each.keys is found.keys[i] is found.buffers[2 * i]
        assert each.values is found.values[i] is found.buffers[2 * i + 1]
        assert each.keys.shape == (1, HEADS, found.capacity, KEY)
        assert each.values.shape == (1, HEADS, found.capacity, VALUE)
        if length:
            assert mx.array_equal(each.keys[..., :length, :], keys[..., :length, :])
            assert mx.array_equal(each.values[..., :length, :], values[..., :length, :])


def test_they_are_written_in_place_until_they_are_full() -> None:
    sequences, given = held.Sequences(ROWS, Extension), caches(254)
    first = sequences.hold(given)
    sequences.advance(given, first)
    second = sequences.hold(given)
    assert (second.keys, second.end) == (first.keys, 255)
    sequences.advance(given, second)
    assert [each.offset for each in given] == [256, 256]
    third = sequences.hold(given)
    assert third.keys[0] is not first.keys[0]
    assert (third.end, third.capacity) == (256, 512)


def test_whatever_else_happened_to_a_cache_its_rows_are_copied() -> None:
    def trimmed(given: list[Any]) -> list[Any]:
        trim_prompt_cache(given, 2)
        return given

    def written(given: list[Any]) -> list[Any]:
        for each in given:
            each.update_and_fetch(mx.zeros((1, HEADS, 1, KEY)), mx.zeros((1, HEADS, 1, VALUE)))
        return given

    for change in (trimmed, written, copy.deepcopy):
        sequences, given = held.Sequences(ROWS, Extension), caches(20)
        first = sequences.hold(given)
        sequences.advance(given, first)
        found = sequences.hold(change(given))
        assert found.keys[0] is not first.keys[0]


def test_more_arrays_have_the_capacity() -> None:
    found = held.Sequences(ROWS, Extension, lambda capacity: [mx.zeros((3, capacity))]).hold(caches(300))
    assert found.buffers[-1].shape == (3, 512)


def test_caches_fit_or_do_not() -> None:
    assert ROWS.fit(caches(0))
    assert ROWS.fit(caches(7))
    assert not ROWS.fit(caches(7)[:1])
    assert not ROWS.fit([caches(7)[0], caches(8)[1]])
    assert not ROWS.fit(caches(7, lambda: RotatingKVCache(max_size=64)))
    for other in (
        held.Rows(LAYERS, HEADS + 1, KEY, VALUE, mx.float32),
        held.Rows(LAYERS, HEADS, KEY + 1, VALUE, mx.float32),
        held.Rows(LAYERS, HEADS, KEY, VALUE + 1, mx.float32),
        held.Rows(LAYERS, HEADS, KEY, VALUE, mx.bfloat16),
    ):
        assert not other.fit(caches(7))


def test_machine_code_is_compiled_once_and_again_where_it_was_spoilt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiled, "user_cache_path", lambda _: tmp_path)
    asked: list[str] = []

    def compile_(text: str, _: list[str]) -> bytes:
        asked.append(text)
        return text.encode() * 3

    def extension(architecture: str = "sm_90a", compiler: str = "13.0") -> Any:
        return SimpleNamespace(architecture=lambda: architecture, compiler=lambda: compiler, compile=compile_)

    assert compiled.machine_code(extension(), "a") == b"aaa"
    assert compiled.machine_code(extension(), "a") == b"aaa"
    assert asked == ["a"]
    for other in (extension("sm_100a"), extension(compiler="13.1")):
        compiled.machine_code(other, "a")
    compiled.machine_code(extension(), "b")
    assert asked == ["a", "a", "a", "b"]
    for path in (tmp_path / "cuda").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert compiled.machine_code(extension(), "b") == b"bbb"
    assert compiled.machine_code(extension(), "b") == b"bbb"
    assert asked == ["a", "a", "a", "b", "b"]
    assert [path.suffix for path in (tmp_path / "cuda").iterdir()] == [".cubin"] * 4
