"""GLM's latent attention in `stock` modes beside MLX's shipped norms, rotation, Add, Multiply and softmax: equal bits.

The matmuls of queries, keys and values between are MLX's own with the model's shapes, in both: they are not run here.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.air import stock, stock_qmv
from tests.air.ours import differing, run_ours
from tests.air.run import Mac
from tests.air.stock_qmv import Packed
from tests.air.values import KINDS, cancelling_pairs, dtypes, norm_edges, softmax_edges, values
from tests.kernels import experts, gpu, mla

front: Any = gpu.module("mla_norm_rope.gpu")
decode: Any = gpu.module("mla_decode.gpu")
SIZES = front.Sizes(mla.Q_RANK, mla.RANK, mla.HEADS, mla.NOPE, mla.ROPE)
OFFSETS = [(1, [0]), (1, [1500]), (2, [200]), (4, [3, 0, 77, 8000])]


def launches(dtype: mx.Dtype) -> Any:
    return front.Front(SIZES, dtype, 4, (mla.EPS, mla.EPS), mla.BASE)


def latent_case(projected: mx.array, at: mx.array, mac: Mac | None = None) -> tuple[Any, list[mx.array]]:
    """The launch after the projections of x, for `projected` (B, 1, q_rank + rank + rope), and stock's steps."""
    mac, batch, dtype = mac or Mac(), len(projected), projected.dtype
    q_weight, kv_weight = (values("spread", size, dtype=dtype, seed=size) for size in (mla.Q_RANK, mla.RANK))
    launch = launches(dtype).norms(batch, at.size)._replace(inputs=[projected, q_weight, kv_weight, at])
    q_a, latent, k_pe = (
        mx.contiguous(part) for part in mx.split(projected, [mla.Q_RANK, mla.Q_RANK + mla.RANK], axis=-1)
    )
    return launch, [
        stock.rms_norm(mac, q_a, q_weight, mla.EPS),
        stock.rms_norm(mac, latent, kv_weight, mla.EPS),
        # k_pe is a view of the projection: of more than one sequence MLX copies it first.
        stock.rope(mac, k_pe.reshape(batch, 1, 1, mla.ROPE), at, traditional=True, base=mla.BASE),
    ]


def projected_at_edges(batch: int, position: int, dtype: mx.Dtype) -> mx.array:
    """What norms round at an edge, beside a key whose rotation cancels: (B, 1, q_rank + rank + rope)."""
    q_a, latent = (norm_edges(batch, size, mla.EPS, dtype=dtype) for size in (mla.Q_RANK, mla.RANK))
    k_pe = cancelling_pairs(batch, mla.ROPE, position, mla.BASE, traditional=True, dtype=dtype)
    return mx.concatenate([q_a, latent, k_pe], axis=-1)[:, None]


@pytest.mark.parametrize(("batch", "offsets"), OFFSETS)
@pytest.mark.parametrize("kind", ["spread", "edges", pytest.param("extreme", marks=pytest.mark.slow)])
@dtypes
def test_norms_and_rotation_of_the_key(mac: Mac, dtype: mx.Dtype, kind: str, batch: int, offsets: list[int]) -> None:
    if kind == "edges":
        projected = projected_at_edges(batch, offsets[-1] or 1, dtype)
    else:
        projected = values(kind, batch, 1, mla.Q_RANK + mla.RANK + mla.ROPE, dtype=dtype)
    launch, theirs = latent_case(projected, mx.array(offsets, mx.int32), mac)
    assert [differing(a, b) for a, b in zip(run_ours(launch), theirs, strict=True)] == [0, 0, 0]


@pytest.mark.parametrize(("batch", "offsets"), OFFSETS)
@dtypes
def test_heads(mac: Mac, dtype: mx.Dtype, batch: int, offsets: list[int]) -> None:
    q = values("spread", batch, mla.HEADS, mla.NOPE + mla.ROPE, dtype=dtype)
    # The last sequence's rotation nearly cancels.
    turning = cancelling_pairs(mla.HEADS, mla.ROPE, offsets[-1] or 1, mla.BASE, traditional=True, dtype=dtype)
    q[-1, :, mla.NOPE :] = turning
    q = q.reshape(batch, 1, -1)
    at = mx.array(offsets, mx.int32)
    scales = (mla.SCALE, mla.SCALE)
    launch = launches(dtype).heads(batch, at.size, scales, rows=False)._replace(inputs=[q, at])
    q_nope, q_pe = mx.split(q.reshape(batch, 1, mla.HEADS, -1).transpose(0, 2, 1, 3), [mla.NOPE], axis=-1)
    factor = mx.array([mla.SCALE], dtype)
    # A view of q, which MLX reads in place for one sequence and copies for several.
    strides = (mla.ROPE, mla.ROPE)
    turned = stock.rope(mac, mx.contiguous(q_pe), at, traditional=True, base=mla.BASE, strides=strides)
    theirs = [
        stock.binary(mac, "Multiply", mx.contiguous(q_nope), factor),
        stock.binary(mac, "Multiply", turned, factor),
    ]
    assert [differing(a, b) for a, b in zip(run_ours(launch), theirs, strict=True)] == [0, 0]


@pytest.mark.parametrize(
    ("batch", "keys"), [(1, 1), (1, 129), (2, 33), (1, 1000), pytest.param(1, 4096, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_softmax_of_the_scores(mac: Mac, kind: str, batch: int, keys: int) -> None:
    by_latent, by_place = (values(kind, batch, mla.HEADS, 1, keys, seed=seed) for seed in (1, 2))
    compare_softmax(mac, by_latent, by_place)


@pytest.mark.parametrize("keys", [33, 128, 700, 1500, pytest.param(4095, marks=pytest.mark.slow)])
def test_softmax_of_scores_whose_weights_lie_at_an_edge(mac: Mac, keys: int) -> None:
    rows = softmax_edges(mla.HEADS, keys, dtype=mx.bfloat16)
    by_latent = rows.reshape(1, mla.HEADS, 1, keys)
    compare_softmax(mac, by_latent, mx.zeros_like(by_latent))


def compare_softmax(mac: Mac, by_latent: mx.array, by_place: mx.array) -> None:
    launch = decode.softmax(by_latent.shape, mx.bfloat16, "metal")._replace(inputs=[by_latent, by_place])
    (ours,) = run_ours(launch)
    theirs = stock.softmax(mac, stock.binary(mac, "Add", by_latent, by_place))
    assert differing(ours, theirs) == 0


@pytest.mark.parametrize("batch", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_scale_that_is_a_power_of_two_goes_before_embed_q(mac: Mac, batch: int) -> None:
    """Why mla_attention may scale the queries where it cuts the heads, and stock after `embed_q`.

    In float16, which mla_attention does not serve, a small query would lose bits as it is scaled.
    """
    rng = np.random.default_rng(6)
    packed = Packed(*experts.packed(rng, mla.HEADS, mla.RANK, mla.NOPE, dtype=mx.bfloat16))
    q_nope, factor = values("spread", batch, mla.HEADS, 1, mla.NOPE), mx.array([mla.SCALE], mx.bfloat16)
    before = stock_qmv.batched(mac, stock.binary(mac, "Multiply", q_nope, factor), packed)
    after = stock.binary(mac, "Multiply", stock_qmv.batched(mac, q_nope, packed), factor)
    assert differing(before, after) == 0


@pytest.mark.parametrize(("keys", "threads"), [(512, 128), (513, 256), (1025, 512), (2049, 1024)])
def test_a_row_of_scores_has_few_simdgroups(mac: Mac, keys: int, threads: int) -> None:
    """As many as hold it, in four steps; stock has as few as hold it, and the others add zeros."""
    by_latent, by_place = (values("spread", 1, 2, 1, keys, seed=seed) for seed in (1, 2))
    assert decode.softmax(by_latent.shape, mx.bfloat16, "metal").threadgroup == (threads, 1, 1)
    compare_softmax(mac, by_latent, by_place)
