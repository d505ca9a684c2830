"""The launches: one simdgroup a token, the top-k included. One source for Metal and CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from .._lib.gpu.launch import Launch, Source, read_source
from ..moe_router.gpu import LANES

_FOLDER = Path(__file__).resolve().parent
_PICK = (_FOLDER.parent / "moe_router" / "pick.h").read_text()


def _source(name: str, *inputs: str) -> Source:
    read = read_source(_FOLDER, name, ("gates", *inputs), ("inds", "scores"))
    return replace(read, name=f"router_{name}", header=_PICK)


TOP_K_SOFTMAX = _source("top_k_softmax", "of_expert")
SIGMOID_GROUPS = _source("sigmoid_groups", "correction", "scale")
SIGMOID_OWN = _source("sigmoid_own", "correction", "scale")

Template = list[tuple[str, mx.Dtype | int | bool]]


def _launch(source: Source, inputs: Sequence[mx.array], k: int, scores: mx.Dtype, template: Template) -> Launch:
    *leading, experts = inputs[0].shape
    tokens, shape = inputs[0].size // experts, (*leading, k)
    known: Template = [("T", scores), ("E", experts), ("K", k), ("READS", -(-experts // LANES))]
    return Launch(
        source,
        inputs,
        [shape, shape],
        [mx.uint32, scores],
        (LANES, tokens, 1),
        (LANES, 1, 1),
        [*known, *template],
    )


def plan_top_k_softmax(gates: mx.array, of_expert: mx.array, k: int, *, precise: bool, scaled: bool) -> Launch:
    """Gates (..., E), of_expert (E,) in their dtype, read where `scaled` -> inds (..., k) uint32, scores (..., k)."""
    template: Template = [("PRECISE", precise), ("SCALED", scaled)]
    return _launch(TOP_K_SOFTMAX, [gates, of_expert], k, gates.dtype, template)


def plan_sigmoid_groups(
    gates: mx.array,
    correction: mx.array,
    scale: mx.array,
    k: int,
    scores: mx.Dtype,
    *,
    normalize: bool,
    guarded: bool,
    groups: int = 1,
    kept: int = 1,
) -> Launch:
    """Gates (..., E), correction (E,), scale (1,) float32 -> inds (..., k) uint32, scores (..., k) in `scores`."""
    template: Template = [("NORMALIZE", normalize), ("GUARDED", guarded), ("GROUPS", groups), ("KEPT", kept)]
    return _launch(SIGMOID_GROUPS, [gates, correction, scale], k, scores, template)


def plan_sigmoid_own(
    gates: mx.array, correction: mx.array, scale: mx.array, k: int, *, normalize: bool, corrected: bool
) -> Launch:
    """Gates (..., E), correction (E,) float32, scale (1,) float32 -> inds (..., k) uint32, scores (..., k)."""
    steps = mx.float32 if gates.dtype == mx.float16 else gates.dtype
    template: Template = [("S", steps), ("NORMALIZE", normalize), ("CORRECTED", corrected)]
    return _launch(SIGMOID_OWN, [gates, correction, scale], k, gates.dtype, template)
