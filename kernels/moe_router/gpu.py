"""The launches of the router: one simdgroup a token, the top-k included. One source for Metal and CUDA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch, Source, read_source

_FOLDER = Path(__file__).resolve().parent
LANES = 32
MOST_EXPERTS = 4 * LANES
"""MLX's Metal softmax gives a simdgroup 4 values a lane; longer rows go over several, in another order."""


def _source(name: str, inputs: tuple[str, ...]) -> Source:
    return replace(read_source(_FOLDER, name, inputs, ("inds", "scores")), header=(_FOLDER / "pick.h").read_text())


SOFTMAX_KEYS, _PICK, SOFTMAX_SCORES = (
    (_FOLDER / f"softmax_{part}.gpu").read_text() for part in ("keys", "pick", "scores")
)
SOFTMAX = Source(
    "router_softmax",
    ("gates",),
    ("inds", "scores"),
    SOFTMAX_KEYS + _PICK + SOFTMAX_SCORES,
    (_FOLDER / "pick.h").read_text(),
)
LOGITS = _source("router_logits", ("gates",))
SIGMOID = _source("router_sigmoid", ("gates", "correction", "scale"))

Template = list[tuple[str, mx.Dtype | int | bool]]


def _launch(source: Source, inputs: list[mx.array], k: int, scores: mx.Dtype, template: Template) -> Launch:
    *leading, experts = inputs[0].shape
    tokens = inputs[0].size // experts
    shape = (*leading, k)
    return Launch(
        source,
        inputs,
        [shape, shape],
        [mx.uint32, scores],
        (LANES, tokens, 1),
        (LANES, 1, 1),
        [("E", experts), ("K", k), *template],
    )


def plan_softmax(gates: mx.array, k: int, normalize: bool, backend: str) -> Launch:
    """Softmax, stock: gates (..., E) -> inds (..., k) uint32, scores (..., k) in the gates' dtype.

    A lane holds as many neighbouring experts as in the backend's own softmax: 4 on Metal, 16 bytes on CUDA.
    """
    on_cuda = backend == "cuda"
    reads = 16 // gates.dtype.size if on_cuda else 4
    template: Template = [("T", gates.dtype), ("READS", reads), ("ONLINE", on_cuda), ("NORMALIZE", normalize)]
    template.append(("STRIDE", gates.shape[-1]))
    return _launch(SOFTMAX, [gates], k, gates.dtype, template)


def plan_logits(gates: mx.array, k: int) -> Launch:
    """Softmax on logits: gates (..., E) -> inds (..., k) uint32, scores (..., k) in the gates' dtype."""
    reads = -(-gates.shape[-1] // LANES)
    return _launch(LOGITS, [gates], k, gates.dtype, [("T", gates.dtype), ("READS", reads)])


def plan_sigmoid(gates: mx.array, correction: mx.array, scale: mx.array, k: int, normalize: bool) -> Launch:
    """Sigmoid: gates (..., E), correction (E,), scale (1,) float32 -> inds (..., k) uint32, scores (..., k) float32."""
    reads = -(-gates.shape[-1] // LANES)
    template: Template = [("READS", reads), ("NORMALIZE", normalize), ("STRIDE", gates.shape[-1])]
    return _launch(SIGMOID, [gates, correction, scale], k, mx.float32, template)
