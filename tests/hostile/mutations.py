"""Changes of an artifact's bytes, from a seed: bits and runs of bytes, and leaves and branches of its content."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**30, 1e308, 5e-324, "", "\x1b[2J", "<script>", "../../x", "\ud800", "NaN", [], {},
    [[]], {"a": {}}, "9" * 300, "2030-02-30T00:00:00Z",
)  # fmt: skip
BYTES = (b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\\u0000", b"[[[[", b"}", b'"', b"NaN", b"1e400", b"9" * 50, b",,")

Mutation = Callable[[random.Random, bytes], bytes]


def flip(generator: random.Random, data: bytes) -> bytes:
    at = generator.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]


def insert(generator: random.Random, data: bytes) -> bytes:
    at = generator.randrange(len(data) + 1)
    return data[:at] + generator.choice(BYTES) + data[at:]


def cut(generator: random.Random, data: bytes) -> bytes:
    at = generator.randrange(len(data))
    return data[:at] + data[at + generator.choice((1, 2, 7, 50, len(data))) :]


def repeat(generator: random.Random, data: bytes) -> bytes:
    at, size = generator.randrange(len(data)), generator.choice((1, 3, 20, 200))
    return data[: at + size] + data[at:]


def swap_digits(generator: random.Random, data: bytes) -> bytes:
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if not digits:
        return flip(generator, data)
    at = generator.choice(digits)
    return data[:at] + str((data[at] - 47) % 10).encode() + data[at + 1 :]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def content(generator: random.Random, data: bytes) -> bytes:
    """Replace, remove or double one value of a JSON document, however deep."""
    value = copy.deepcopy(json.loads(data))
    holder, key = generator.choice(list(_places(value)))
    what = generator.randrange(3)
    if what == 0:
        holder[key] = generator.choice(HOSTILE)
    elif what == 1:
        del holder[key]
    else:
        others = list(_places(value))
        other, at = generator.choice(others)
        holder[key] = copy.deepcopy(other[at])
    return json.dumps(value).encode("utf-8", "surrogatepass")


BYTE_LEVEL: tuple[Mutation, ...] = (flip, insert, cut, repeat, swap_digits)


def mutate(seed: int, data: bytes, *, structured: bool) -> bytes:
    generator = random.Random(seed)
    kinds = (*BYTE_LEVEL, *((content,) * 5 if structured else ()))
    return generator.choice(kinds)(generator, data)
