"""The launches of a decode step of a whole stack, each with the arrays that it reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np

from zmlx_bench.measured.api import Unavailable

from .._lib.gpu.cuda import DEVICE
from .._lib.gpu.cuda_rows import ROW_STEP, mma_bytes
from .._lib.gpu.launch import WORDS
from .._lib.gpu.packed import Weights, weights_of
from .._lib.gpu.settle import bits
from .._lib.graph.embedding import Embedding, plan_begin
from .._lib.graph.launches import Parameter, Planned, array, by_name, named, planned
from ..decoder_step import cuda as step
from ..gather_qmm_down_combine import cuda as down
from ..moe_router.gpu import SOFTMAX, SOFTMAX_KEYS, SOFTMAX_SCORES
from ..qk_norm_rope.gpu import TURN_HEAD
from ..qk_norm_rope.heads import Heads
from ..qkv_joined.kernel import projections
from ..residual_norm.gpu import plan_stock

_HERE = Path(__file__).resolve().parent
_GPU = _HERE.parent / "_lib" / "gpu"


def _read(*names: str) -> str:
    return "".join((_HERE / name).read_text() for name in names)


HEADERS = "".join(
    (
        DEVICE,
        (_GPU / "cuda_qmm.h").read_text(),
        WORDS["cuda"],
        step.ADD_NORM,
        step.COPY_BLOCK,
        TURN_HEAD,
        SOFTMAX.header,
        _read("early.h", "attend.h"),
    )
)
ATTEND = {
    False: _read("attend_before.cu", "attend_one_pass.cu", "attend_turn.cu", "attend_one_pass_after.cu"),
    True: _read("attend_before.cu", "attend_turn.cu", "attend_two_passes.cu"),
}
EXPERTS = "\n".join(
    (
        _read("experts_before.cu"),
        SOFTMAX_KEYS,
        _read("experts_pick.cu", "experts_request.cu"),
        SOFTMAX_SCORES,
        _read("experts_after.cu"),
    )
)
ONE_PASS = 1024
"""Keys up to which MLX 0.32.4 attends in one pass."""
PARTS = 32
"""Parts of a head's attention that are joined at the end: chains of keys in one pass, blocks in two."""
ATTEND_WARPS = {False: 4, True: 8}
"""Warps a block in one pass and in two. A cluster's blocks find room at once where two share a multiprocessor."""
O_WARPS = 16
EXPERT_WARPS = 4
"""Each has eight rows of gate and eight of up."""
POSITION, CAPACITY, STEP, KIND = range(4)
"""Which of a step's numbers are the token's position, the caches' capacity, the step's own and what it is given."""
HEAD_CUT = step.Cut(stages=1)
V_IN_CACHE = {"V_STRIDE": "(size_t(capacity) * HD)", "V_FIRST": "(size_t(offsets[0]) * HD)"}
HEARD = {"CHOSEN": "heard(inds + slot, offsets[1])"}


@dataclass(frozen=True)
class Shape:
    """The sizes of a stack: hidden size, heads of q and of k, their size, layers, experts, those of a token, an
    expert's rows, and the dtype of everything."""

    d: int
    hq: int
    hk: int
    hd: int
    layers: int
    experts: int
    top: int
    inner: int
    dtype: mx.Dtype


def shape_of(stack: Any) -> Shape:
    """Return the sizes of a stack; raise Unavailable for heads that the attention does not serve."""
    layers = stack.pipeline_layers
    attention = layers[0].self_attn
    heads = Heads.of(attention, "cuda")
    if heads.size != 128 or heads.of_q % heads.of_k:
        raise Unavailable(f"{heads.of_q} heads on {heads.of_k} of {heads.size}; decoder_graph serves heads of 128")
    d, dtype = stack.norm.weight.size, stack.norm.weight.dtype
    if dtype != mx.bfloat16:
        raise Unavailable(f"the model is {dtype}; decoder_graph has been compared with stock in bfloat16 only")
    if any((each.self_attn.n_heads, each.self_attn.n_kv_heads) != (heads.of_q, heads.of_k) for each in layers):
        raise Unavailable("decoder_graph needs layers with the same heads")
    experts, inner = weights_of(layers[0].mlp.switch_mlp.gate_proj).w.shape[:2]
    top = layers[0].mlp.top_k
    return Shape(d, heads.of_q, heads.of_k, heads.size, len(layers), experts, top, inner, dtype)


class Between:
    """The arrays that launches hand over to each other; one set, since steps follow each other."""

    def __init__(self, s: Shape) -> None:
        def room(name: str, *size: int, dtype: mx.Dtype = s.dtype) -> Parameter:
            return Parameter(name, mx.zeros(size, dtype), dtype)

        # An add reads one residual stream and writes the other.
        self.x = (room("x", s.d), room("x", s.d))
        self.q, self.k, self.attended = room("q", s.hq * s.hd), room("k", s.hk * s.hd), room("out", s.hq * s.hd)
        self.r, self.normed = room("r", s.d), room("normed", s.d)
        self.gates, self.inner = room("all_gates", s.experts), room("h", s.top * s.inner)
        self.early = [room("early", s.top, dtype=mx.uint64) for _ in range(s.layers)]
        self.weights = room("slot_weights", s.top)
        self.offsets = room("offsets", 64, dtype=mx.int32)  # MLX keeps 8 bytes and less with the host
        self.partials = room("partials", s.hq * PARTS * s.hd, dtype=mx.float32)
        self.tops, self.totals = (room(name, s.hq * PARTS, dtype=mx.float32) for name in ("tops", "totals"))
        self.tickets = room("tickets", s.hq, dtype=mx.uint32)
        rooms = [*self.x, *self.early, *(each for each in vars(self).values() if isinstance(each, Parameter))]
        mx.eval([each.value for each in rooms])


class Plan:
    """Makes the launches of a stack; `long` is the attention of more than ONE_PASS keys."""

    def __init__(self, stack: Any, shape: Shape, extension: ModuleType, embedding: Embedding) -> None:
        self.stack, self.s, self.extension, self.embedding = stack, shape, extension, embedding
        self.between = Between(shape)
        self.capacity = Parameter("capacity", extension.Number(CAPACITY))

    def launches(self, *, long: bool) -> list[Planned]:
        """Return the launches of one step in their order."""
        b = self.between
        found = [self._begin()]
        layers = self.stack.pipeline_layers
        for i, layer in enumerate(layers):
            found += [
                self._heads(i, layer, b.x[0], b.x[1]),
                self._attend(i, layer, long=long),
                self._o_proj(layer, layers[(i + 1) % len(layers)]),
                self._gates(layer, b.x[1], b.x[0]),
                self._experts(i, layer),
                self._down(i, layer),
            ]
        return [*found, self._end(b.x[0], b.x[1])]

    def _begin(self) -> Planned:
        more = [Parameter(name, self.extension.Number(i)) for i, name in ((POSITION, "position"), (STEP, "step"))]
        b, body = self.between, (_HERE / "begin.cu").read_text()
        return plan_begin(self.extension, self.embedding, b.x[0], KIND, body, *more, made=b.offsets)

    def _cache(self, layer: int) -> list[Parameter]:
        return [
            Parameter(name, self.extension.Buffer(2 * layer + at), self.s.dtype)
            for at, name in enumerate(("keys", "v"))
        ]

    def _heads(self, i: int, layer: Any, x: Parameter, h: Parameter) -> Planned:
        b, attention = self.between, layer.self_attn
        launch = step.plan_heads(
            layer.input_layernorm,
            Heads.of(attention, "cuda"),
            self.s.d,
            self.s.dtype,
            add=i > 0,
            source=step.ROWS,
            cut=HEAD_CUT,
        )
        values = by_name(
            x,
            b.r,
            array("norm_weight", layer.input_layernorm.weight),
            *(array(name, each) for name, each in zip(("w", "s", "z"), joined(layer), strict=True)),
            named("h", h),
            b.q,
            b.k,
            self._cache(i)[1],
            b.offsets,
            self.capacity,
        )
        return planned(launch, values, V_IN_CACHE, "offsets", "capacity")

    def _attend(self, i: int, layer: Any, *, long: bool) -> Planned:
        s, b = self.s, self.between
        # MLX multiplies the scale by log2(e) in double precision for one pass and in single precision for two.
        scale = np.float32(layer.self_attn.scale)
        scaled = scale * np.float32(1.44269504089) if long else np.float32(float(scale) * 1.4426950408889634)
        heads, warps = Heads.of(layer.self_attn, "cuda"), ATTEND_WARPS[long]
        parts = PARTS if long else PARTS // warps
        keys, values = self._cache(i)
        made = [b.attended, keys]
        if long:
            made += [b.partials, b.tops, b.totals, b.tickets]
        q_weight, k_weight = heads.weights
        return Planned(
            "attend",
            ATTEND[long],
            {**dict(heads.template(1, 1)), "SCALE": bits(float(scaled)), "PARTS": parts, "WARPS": warps},
            [
                b.q,
                b.k,
                named("values", values),
                array("q_weight", q_weight),
                array("k_weight", k_weight),
                b.offsets,
                self.capacity,
            ],
            made,
            (s.hq, parts, 1),
            warps * 32,
            shared_memory=0 if long else ONE_PASS * 2 * s.hd * s.dtype.size * warps // PARTS,
            cluster=1 if long else parts,
        )

    def _o_proj(self, layer: Any, after: Any) -> Planned:
        s, b = self.s, self.between
        weights = o_weights(layer, s)
        return Planned(
            "o_proj",
            (_HERE / "o_proj.cu").read_text(),
            {"T": s.dtype, "K": s.hq * s.hd, "D": s.d, "WARPS": O_WARPS, "NEXT_ROWS": (s.hq + 2 * s.hk) * s.hd},
            [
                named("x", b.attended),
                *(array(name, each) for name, each in zip(("w", "s", "z"), weights, strict=True)),
                *(array(f"next_{name}", each) for name, each in zip(("w", "s", "z"), joined(after), strict=True)),
            ],
            [named("out", b.r)],
            (s.d // O_WARPS, 1, 1),
            O_WARPS * 32,
        )

    def _gates(self, layer: Any, x: Parameter, h: Parameter) -> Planned:
        b, norm, gate = self.between, layer.post_attention_layernorm, layer.mlp.gate
        values = by_name(
            named("residual", x),
            b.r,
            array("norm_weight", norm.weight),
            array("gate_w", gate.weight),
            array("gate_s", gate.scales),
            array("gate_b", gate.biases),
            named("h", h),
            b.normed,
            b.gates,
        )
        return planned(step.plan_gates(norm, gate), values, {})

    def _experts(self, i: int, layer: Any) -> Planned:
        b, switch = self.between, layer.mlp.switch_mlp
        names = ("gate_w", "gate_s", "gate_b", "up_w", "up_s", "up_b")
        weights = (*weights_of(switch.gate_proj), *weights_of(switch.up_proj))
        launch = step.plan_experts(layer.mlp)
        return Planned(
            "experts",
            EXPERTS,
            {name: each for name, each in launch.template.items() if name != "TICKETS"} | {"WARPS": EXPERT_WARPS},
            [
                named("x", b.normed),
                named("gates", b.gates),
                *(array(name, each) for name, each in zip(names, weights, strict=True)),
                b.offsets,
            ],
            [b.inner, b.early[i], b.weights],
            (self.s.inner // (EXPERT_WARPS * 8), self.s.top, 1),
            EXPERT_WARPS * 32,
            EXPERT_WARPS * mma_bytes(self.s.d) + self.s.d * 2,
        )

    def _down(self, i: int, layer: Any) -> Planned:
        b, s = self.between, self.s
        weights = weights_of(layer.mlp.switch_mlp.down_proj)
        launch = down.plan((1, 1, s.top), s.d, s.inner, s.dtype, s.dtype, "stock")
        values = by_name(
            b.inner,
            named("inds", b.early[i]),
            named("scores", b.weights),
            *(array(name, each) for name, each in zip(("w", "scales", "biases"), weights, strict=True)),
            named("out", b.r),
            b.offsets,
        )
        return planned(launch, values, HEARD, "offsets", resident=2)

    def _end(self, x: Parameter, h: Parameter) -> Planned:
        b, s, norm = self.between, self.s, self.stack.norm
        row = mx.zeros((1, 1, s.d), s.dtype)
        launch = plan_stock(row, row, norm.weight, norm.eps, "cuda")
        return Planned(
            "end",
            launch.source.body,
            dict(launch.template),
            [x, b.r, array("weight", norm.weight)],
            [named("h", h), Parameter("normed", self.extension.Output(), s.dtype)],
            (1, 1, 1),
            launch.threadgroup[0],
            waits=False,
        )


def joined(layer: Any) -> Weights:
    """Return where the joined projections begin: decoder_step made q's arrays the beginning of those of all three."""
    return weights_of(projections(layer.self_attn)[0])


def o_weights(layer: Any, s: Shape) -> Weights:
    """Return the output projection's packed weights; raise Unavailable for sizes that o_proj.cu does not serve."""
    weights = weights_of(layer.self_attn.o_proj)
    if s.hq * s.hd % ROW_STEP or s.d % O_WARPS or weights.scales.dtype != s.dtype:
        raise Unavailable(f"an output projection of {s.hq * s.hd} to {s.d} is not served")
    return weights
