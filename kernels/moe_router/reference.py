"""The three routers in plain MLX, with the order of a stable sort, which the GPU backends' argpartition has."""

from __future__ import annotations

import mlx.core as mx


def softmax_router(gates: mx.array, k: int, normalize: bool) -> tuple[mx.array, mx.array]:
    """Softmax, stock: the k most probable of gates (..., E) in ascending order, and their scores in gates' dtype."""
    probabilities = mx.softmax(gates, axis=-1, precise=True)
    inds = mx.argsort(probabilities, axis=-1)[..., -k:]
    scores = mx.take_along_axis(probabilities, inds, axis=-1)
    return inds, scores / mx.sum(scores, axis=-1, keepdims=True) if normalize else scores


def logits_router(gates: mx.array, k: int) -> tuple[mx.array, mx.array]:
    """Softmax on logits: the k largest of gates (..., E) in ascending order, and a softmax over them alone."""
    inds = mx.argsort(gates, axis=-1)[..., -k:]
    return inds, mx.softmax(mx.take_along_axis(gates, inds, axis=-1), axis=-1, precise=True)


def sigmoid_router(
    gates: mx.array, correction: mx.array, scale: float, k: int, normalize: bool
) -> tuple[mx.array, mx.array]:
    """Sigmoid: gates (..., E), correction (E,); the k largest of sigmoid + correction in descending order, float32."""
    sigmoids = mx.sigmoid(gates.astype(mx.float32))
    inds = mx.argsort(-(sigmoids + correction), axis=-1)[..., :k]
    scores = mx.take_along_axis(sigmoids, inds, axis=-1)
    if normalize:
        scores = scores / (scores.sum(axis=-1, keepdims=True) + 1e-20)
    return inds, scores * scale
