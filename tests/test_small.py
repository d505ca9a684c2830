"""The smallest checkpoints: what kernels and hosts could take for each other differs in them too."""

from __future__ import annotations

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from tests import small
from tests.tiny import Tiny


@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_activations_are_bfloat16_and_no_vector_is_another_or_one_number(family: str) -> None:
    made = Tiny.load(family, checkpoint=small.folder(family))
    assert {logits.dtype for logits in made.logits(steps=1)} == {mx.bfloat16}
    vectors = [tuple(vector.tolist()) for _, vector in tree_flatten(made.model.parameters()) if vector.ndim == 1]
    assert len(vectors) == len(set(vectors)) > 4 * small.LAYERS
    assert all(len(set(vector)) > 1 for vector in vectors)
