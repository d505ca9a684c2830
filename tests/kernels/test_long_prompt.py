"""A prompt of more than 100 tokens and what follows it are stock's with the kernels that also stand alone in variants.

A GPU has other kernels for so many rows: Metal splits the sum over K by the number of rows of weights, and both sort
tokens by expert. On one, at the published sizes; on the CPU, whose kernels are the same for all, at the tiny ones.
"""

from __future__ import annotations

import mlx.core as mx
import pytest

from tests.bench.tiny_sizes import SIZES
from tests.families import family as family_of
from tests.kernels import on_gpu
from tests.tiny import Tiny, equal
from tests.variants import variant
from zmlx_bench.bench.weights import drawn
from zmlx_bench.catalog import kernels as catalog
from zmlx_bench.catalog.variants import plain
from zmlx_bench.measured import synthetic
from zmlx_bench.measured.apply import apply
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.model
VOCABULARY, LAYERS = 512, 2
PROMPT = [(37 * i * i + 11 * i + 5) % VOCABULARY for i in range(110)]
STEPS = 4
ALONE = ("qkv=qkv_joined", "combine=moe_combine")
"""Kernels of which no step beside them is replaced: no limit of a neighbour keeps them out of prompts."""


@pytest.mark.parametrize("name", ["qwen3", "glm47"])
@pytest.mark.parametrize("where", ["cpu", pytest.param("gpu", marks=on_gpu.ANY[:2])])
def test_a_long_prompts_logits_and_tokens_are_stocks(name: str, where: str, repository: Workspace) -> None:
    gpu = where == "gpu"
    mx.set_default_device(mx.gpu if gpu else mx.cpu)
    try:
        family = family_of(name)
        sizes = {**({} if gpu else SIZES[name]), "vocab_size": VOCABULARY}
        made = Tiny(family, synthetic.build(family, 3, LAYERS, sizes=sizes, quantise=drawn), LAYERS, 1)
        stock = made.logits(PROMPT, STEPS)
        assert len({int(mx.argmax(each[0, -1]).item()) for each in stock}) > 1, "the text says something"
        declared, resolved = catalog.load(repository), variant(name, *ALONE)
        limits = {use.kernel: declared[use.kernel].most_tokens for use in resolved.kernels}
        backend = on_gpu.BACKEND if gpu else "cpu"
        patch = apply(plain(resolved, limits), made.hosts(), backend, repository.kernels)
        patch.install(count=True)
        assert equal(made.logits(PROMPT, STEPS), stock)
        assert min(patch.calls["qkv"], patch.calls["combine"]) >= STEPS
        patch.undo()
    finally:
        mx.set_default_device(mx.cpu)
