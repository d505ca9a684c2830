"""A step takes the token where the model's embedding made its row, and else the row."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import pytest

from tests.kernels import gpu

embeddings = gpu.module("_lib.graph.embedding")
ROW, TOKEN = 0, 1


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def quantized(dtype: mx.Dtype = mx.bfloat16) -> nn.QuantizedEmbedding:
    made = nn.Embedding(32, 128)
    made.set_dtype(dtype)
    return nn.QuantizedEmbedding.from_embedding(made, 64, 4)


@pytest.mark.parametrize("dtype", [mx.int32, mx.uint32])
def test_the_row_that_was_made_last_is_its_token(dtype: mx.Dtype) -> None:
    module = quantized()
    embedding = embeddings.Embedding(module, mx.bfloat16)
    token = mx.array([[5]], dtype)
    row = module(token)
    assert embedding.given(row) == (token, TOKEN)
    again = module(mx.array([[6]], dtype))
    assert embedding.given(row).kind == ROW
    assert embedding.given(row).value is row
    assert embedding.given(again).kind == TOKEN
    assert embedding.given(again + 0).kind == ROW


@pytest.mark.parametrize("tokens", [[[5, 6]], [[5], [6]], [5]])
def test_other_shapes_are_rows(tokens: list[int]) -> None:
    module = quantized()
    embedding = embeddings.Embedding(module, mx.bfloat16)
    assert embedding.given(module(mx.array(tokens))).kind == ROW
    assert embedding.given(module(mx.array([[5]], mx.int64))).kind == ROW


def test_undo_gives_the_module_back() -> None:
    module = quantized()
    stock = module(mx.array([[5]]))
    embedding = embeddings.Embedding(module, mx.bfloat16)
    assert mx.array_equal(module(mx.array([[5]])), stock)
    embedding.undo()
    assert type(module) is nn.QuantizedEmbedding
    assert embedding.given(module(mx.array([[5]]))).kind == ROW


@pytest.mark.parametrize("module", [nn.Embedding(32, 128), quantized(mx.float32)])
def test_an_embedding_that_is_not_served_stays_as_it_is(module: nn.Module) -> None:
    kind = type(module)
    embedding = embeddings.Embedding(module, mx.bfloat16)
    assert embedding.weights is None
    assert type(module) is kind
    assert embedding.given(module(mx.array([[5]]))).kind == ROW
    embedding.undo()
