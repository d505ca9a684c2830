"""What mlx-lm's own options, handed on by `zmlx generate` and `zmlx serve`, say of the conditions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from zmlx_bench.schema.plan import DEFAULT, Conditions
from zmlx_bench.session.request import conditions_of
from zmlx_bench.use.decide import NotChosen

GROUP_SIZE = 64
"""Of a quantised cache, mlx-lm's own, which sessions have; said again here because MLX must not be imported yet."""


class _Refused(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Refused(message)


def conditions(arguments: Sequence[str]) -> Conditions:
    """Return the conditions under which mlx-lm will run the model.

    NotChosen where the cache is quantised from a later token on or in groups of one's own, which nothing is measured
    with; UnusableInput for what is no condition. What mlx-lm does not understand it says itself: here such arguments
    mean the default conditions.
    """
    parser = _Parser(add_help=False)
    parser.add_argument("--kv-bits", type=int)
    parser.add_argument("--max-kv-size", type=int)
    parser.add_argument("--quantized-kv-start", type=int)
    parser.add_argument("--kv-group-size", type=int, default=GROUP_SIZE)
    try:
        found, _ = parser.parse_known_args(list(arguments))
    except _Refused:
        return DEFAULT
    if found.kv_bits is not None and found.quantized_kv_start != 0:
        raise NotChosen("--kv-bits: sessions quantise from the first token on; add --quantized-kv-start 0")
    if found.kv_bits is not None and found.kv_group_size != GROUP_SIZE:
        raise NotChosen("--kv-group-size: sessions quantise in mlx-lm's own groups; leave it out")
    return conditions_of(kv_bits=found.kv_bits, max_kv_size=found.max_kv_size)
