"""What conditions ask of kernels and of caches, in words and as plain data: the supervisor and the checks read it too.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from zmlx_bench.measured.variant import KernelUse

Kind = Literal["plain", "rotating", "quantised"]
"""A cache that grows in the model's own type, one that holds the last tokens only, one of fewer bits."""
PLAIN, ROTATING, QUANTISED = "KVCache", "RotatingKVCache", "QuantizedKVCache"
"""mlx-lm's classes; those of several sequences are called the same with `Batch` before it."""
BATCH = "Batch"
_OF_ATTENTION = frozenset({PLAIN, ROTATING, QUANTISED, BATCH + PLAIN, BATCH + ROTATING})


class CacheLike(Protocol):
    """What is told of a model's caches of one class."""

    @property
    def name(self) -> str:
        """Their class."""

    @property
    def layers(self) -> int:
        """How many there are."""

    @property
    def bits(self) -> int | None:
        """Bits of a value; None where nothing is quantised."""

    @property
    def max_size(self) -> int | None:
        """Most tokens that one holds; None: all."""


@dataclass(frozen=True)
class Asked:
    """What conditions ask of the cache."""

    batch: int = 1
    kv_bits: int | None = None
    max_kv_size: int | None = None

    @property
    def kind(self) -> Kind:
        """The kind of cache that every layer's attention has then."""
        if self.kv_bits is not None:
            return "quantised"
        return "plain" if self.max_kv_size is None else "rotating"

    @property
    def words(self) -> str:
        """The options that ask for it."""
        options = (("--batch", self.batch), ("--kv-bits", self.kv_bits), ("--max-kv-size", self.max_kv_size))
        return " ".join(f"{name} {value}" for name, value in options if value not in (None, 1))


def other_cache(found: Sequence[CacheLike], asked: Asked) -> str | None:
    """Say in a sentence how the caches of a model are not the ones asked for; None where they are.

    Caches that hold no keys (of recurrent layers) are never what is asked about.
    """
    ours = [each for each in found if each.name in _OF_ATTENTION]
    wanted = PLAIN if asked.kind == "plain" else QUANTISED if asked.kind == "quantised" else ROTATING
    prefix = BATCH if asked.batch > 1 else ""
    names = {prefix + wanted} if asked.kind != "plain" else {prefix + PLAIN, prefix + ROTATING}
    right = [
        each
        for each in ours
        if each.name in names
        and (asked.kv_bits is None or each.bits == asked.kv_bits)
        and (asked.max_kv_size is None or each.max_size == asked.max_kv_size)
    ]
    if asked.words == "" or (len(right) == len(ours) and ours):
        return None
    size = {"plain": "", "quantised": f" of {asked.kv_bits} bits", "rotating": f" of {asked.max_kv_size} tokens"}
    return (
        f"the cache after the first token is {listed(found) or 'none'}, and {asked.words} asks for "
        f"{prefix}{wanted}{size[asked.kind]} in every attention: mlx-lm does not give this model that"
    )


def listed(found: Iterable[CacheLike]) -> str:
    """Return the caches in words: how many of which class."""
    each = []
    for cache in found:
        more = [f"{cache.bits} bits"] if cache.bits is not None else []
        more += [f"{cache.max_size} tokens"] if cache.max_size is not None else []
        each.append(f"{cache.layers} {cache.name}" + (f" ({', '.join(more)})" if more else ""))
    return " and ".join(each)


def unserved(kernels: Iterable[KernelUse], asked: Asked) -> str | None:
    """Say which kernel does not serve the conditions, and why; None where all do."""
    for use in kernels:
        if asked.batch > 1 and use.max_batch is not None and asked.batch > use.max_batch:
            most = "one sequence" if use.max_batch == 1 else f"{use.max_batch} sequences"
            return f"{use.kernel} serves {most} at a time, and --batch {asked.batch} decodes {asked.batch} at once"
        if asked.batch > 1 and use.max_tokens is not None and asked.batch > use.max_tokens:
            return f"{use.kernel} serves calls of {use.max_tokens} tokens at most, and a step has {asked.batch} here"
        if use.caches is not None and asked.kind not in use.caches:
            served = " or ".join(use.caches)
            return f"{use.kernel} serves a {served} cache, and {asked.words} gives a {asked.kind} one"
    return None
