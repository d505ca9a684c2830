"""The Metal texts of GLM's attention under clang: address spaces as MLX passes them, and nothing left to contract."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from tests.kernels import gpu, mla
from tests.shim.clang import ClangError, llvm

pytestmark = pytest.mark.process

WORDS = gpu.module("_lib.gpu.launch").WORDS["metal"]


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def launches() -> dict[str, Any]:
    front, decode = gpu.module("mla_norm_rope.gpu"), gpu.module("mla_decode.gpu")
    sizes = front.Sizes(mla.Q_RANK, mla.RANK, mla.HEADS, mla.NOPE, mla.ROPE)
    ours, few = front.Front(sizes, mx.bfloat16, 4, (mla.EPS, mla.EPS), mla.BASE), mx.zeros(1, mx.int32)
    own = decode.Sizes(mla.HEADS, mla.RANK, mla.ROPE)
    projected, q = mla.draw(1, 1, mla.Q_RANK + mla.RANK + mla.ROPE), mla.draw(1, 1, mla.HEADS * (mla.NOPE + mla.ROPE))
    scores = mla.draw(1, mla.HEADS, 1, 9)
    attention = [mla.draw(1, h, n, d) for h, n in ((mla.HEADS, 1), (1, 9)) for d in (mla.RANK, mla.ROPE)]
    parts = [mx.zeros((1, mla.HEADS, 8, mla.RANK)), mx.zeros((1, mla.HEADS, 8, 2))]
    return {
        "norms": ours.norms(1, 1)._replace(inputs=[projected, mla.draw(mla.Q_RANK), mla.draw(mla.RANK), few]),
        "heads": ours.heads(1, 1, (1.0, 0.5), rows=False)._replace(inputs=[q, few]),
        "softmax": decode.softmax(scores.shape, mx.bfloat16, "metal")._replace(inputs=[scores, scores]),
        "attend": decode.attend(own, 1, mla.SCALE, "metal", 1)._replace(inputs=attention),
        "attend split": decode.attend(own, 1, mla.SCALE, "metal", 8)._replace(inputs=attention),
        "join": decode.join(own, 1, 8)._replace(inputs=parts),
    }


@pytest.mark.parametrize("name", ["norms", "heads", "softmax", "attend", "attend split", "join"])
def test_the_address_spaces_are_right_and_nothing_contracts(name: str) -> None:
    assert "llvm.fmuladd" not in llvm(launches()[name], WORDS)


def test_a_pointer_into_the_wrong_address_space_is_found() -> None:
    wrong = gpu.mutated(launches()["attend"], "const device T* query = ", "const threadgroup T* query = ")
    with pytest.raises(ClangError, match="query"):
        llvm(wrong, WORDS)
