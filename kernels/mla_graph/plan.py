"""The launches and products of a decode step of a whole stack with latent attention."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx

from zmlx_bench.measured.api import Unavailable

from .._lib.gpu.cuda import DEVICE, CudaLaunch, Template
from .._lib.gpu.cuda_rows import ROW_STEP, check_rows
from .._lib.gpu.launch import WORDS
from .._lib.gpu.packed import Weights, weights_of
from .._lib.gpu.settle import bits
from .._lib.graph.embedding import Embedding, plan_begin
from .._lib.graph.launches import Link, Multiplied, Parameter, Planned, array, by_name, named, planned
from ..decoder_step import cuda as step
from ..gather_qmm_moe import cuda as moe
from ..gather_qmm_swiglu import cuda as swiglu
from ..mla_decode.gpu import READS, SOFTMAX, THREADS
from ..mla_norm_rope import cuda as norm_rope
from ..mla_norm_rope.kernel import front_of
from ..moe_router.gpu import LANES, SIGMOID
from ..residual_norm.gpu import plan_stock, spread
from .shape import Between, Shape, packed

_HERE = Path(__file__).resolve().parent
_GPU = _HERE.parent / "_lib" / "gpu"


def _read(*names: str) -> str:
    return "".join((_HERE / f"{name}.cu").read_text() for name in names)


_GATES_DENSE = (_HERE.parent / "gate_router" / "gates_dense.cu").read_text()
_GATES_AFTER = (_HERE.parent / "decoder_step" / "gates_after.cu").read_text()
HEADERS = "".join(
    (
        DEVICE,
        (_GPU / "cuda_qmm.h").read_text(),
        WORDS["cuda"],
        (_GPU / "mla_words.h").read_text(),
        step.ADD_NORM,
        step.COPY_BLOCK,
        SIGMOID.header,
    )
)
Q_B = _read("front_before") + norm_rope.SOURCE.body
GATES = "\n".join((_read("gates_before"), _GATES_DENSE, _GATES_AFTER))
EXPERTS = "\n".join(
    (_read("route_before"), SIGMOID.body, _read("route_after"), moe.ALL_EXPERTS.body, _read("experts_after"))
)
DOWNS = _read("downs_before") + moe.ALL_DOWNS.body
WAIT = "inputs_ready();\n"
SOFTMAX_OF_SUM = WAIT + SOFTMAX["cuda"].body
IN_CACHE = {
    "kv_latent": "(latents + size_t(offsets[0]) * RANK)",
    "k_pe": "(places + size_t(offsets[0]) * ROPE)",
}
LENGTH = {"by_latent_shape": "(offsets - 2)"}
"""softmax_online.gpu asks by_latent's shape for its fourth number, which stands second in `offsets`."""
HEAD_WARPS = {"embed": 4, "unembed": 2}
OUT_WARPS = 8
FRONT_ROWS = 16
"""Rows of the first projections a block, a warp each."""
POSITION, KEYS, KIND = range(3)
"""Which of the step's numbers are the new token's position, the number of keys with it and what the step is given."""


class Plan:
    """Makes the links of a stack."""

    def __init__(self, stack: Any, shape: Shape, extension: ModuleType, embedding: Embedding) -> None:
        self.stack, self.s, self.extension, self.embedding = stack, shape, extension, embedding
        self.between = Between(shape)

    def buffer(self, name: str, index: int) -> Parameter:
        """Return one of the step's buffers: of each layer latents and positions' parts, then three of scores."""
        return Parameter(name, self.extension.Buffer(index), self.s.dtype)

    def links(self) -> list[Link]:
        """Return the launches and products of one step in their order."""
        b = self.between
        found: list[Link] = [self._begin()]
        for i, layer in enumerate(self.stack.pipeline_layers):
            found += [self._front(i, layer, b.x[0], b.x[1]), *self._attention(i, layer)]
            if "switch_mlp" in layer.mlp:
                found += [self._gates(layer, b.x[1], b.x[0]), self._experts(layer), self._downs(layer)]
            else:
                found += [self._norm(layer, b.x[1], b.x[0]), self._dense(layer)]
                found.append(self._rows("dense_down", layer.mlp.down_proj, b.inner, b.r))
        return [*found, self._end(b.x[0], b.x[1])]

    def _begin(self) -> Planned:
        b, position = self.between, Parameter("position", self.extension.Number(POSITION))
        return plan_begin(self.extension, self.embedding, b.x[0], KIND, _read("begin"), position, made=b.offsets)

    def _front(self, i: int, layer: Any, x: Parameter, h: Parameter) -> Planned:
        b, s, rows = self.between, self.s, self.s.q_rank + self.s.rank + self.s.rope
        check_rows(rows, s.d, on_tensor_cores=False, rows=FRONT_ROWS)
        norm = layer.input_layernorm
        constants: Template = {
            **norm_constants(norm, s.dtype),
            "T": s.dtype,
            "D": s.d,
            "ADD": i > 0,
            "OWN_ROWS": FRONT_ROWS,
            "WARPS": FRONT_ROWS,
            "STAGES": 1,
            # All rows are q's, a head each.
            "HQ": rows,
            "HK": 0,
            "HD": 1,
            "V_STRIDE": 0,
            "V_FIRST": 0,
        }
        weights = zip(("w", "s", "z"), joined(layer), strict=True)
        return Planned(
            "front",
            step.ROWS.body,
            constants,
            [x, b.r, array("norm_weight", norm.weight), *(array(name, each) for name, each in weights)],
            [named("h", h), *(named(name, b.projected) for name in ("q", "k", "v"))],
            (rows // FRONT_ROWS, 1, 1),
            FRONT_ROWS * LANES,
            shared_memory=FRONT_ROWS * (s.d // 2 + s.d // 64 * 4),
        )

    def _attention(self, i: int, layer: Any) -> list[Link]:
        b, s, attention = self.between, self.s, layer.self_attn
        latents, places = self.buffer("latents", 2 * i), self.buffer("places", 2 * i + 1)
        by_latent, by_place, weights = (
            self.buffer(name, 2 * s.layers + at) for at, name in enumerate(("by_latent", "by_place", "weights"))
        )
        scale = rounded(attention.scale, s.dtype)
        keys, product = self.extension.Number(KEYS), Multiplied
        return [
            self._q_b(attention, latents, places, scale),
            product(b.q_pe, places, by_place, s.heads, keys, s.rope, transposed=True, aside=True),
            self._head_rows("embed", attention.embed_q, b.q_nope, b.q_latent, scale),
            product(b.q_latent, latents, by_latent, s.heads, keys, s.rank, transposed=True),
            self._softmax(by_latent, by_place, weights),
            product(weights, latents, b.attended, s.heads, s.rank, keys, transposed=False),
            self._head_rows("unembed", attention.unembed_out, b.attended, b.out, 1.0),
            self._rows("o_proj", attention.o_proj, b.out, b.r),
        ]

    def _q_b(self, attention: Any, latents: Parameter, places: Parameter, scale: float) -> Planned:
        b, s, front = self.between, self.s, front_of(attention, "cuda")
        norms, heads = front.norms(1, 1), front.heads(1, 1, (1.0, scale), rows=True)
        warps, rows = norm_rope.WARPS, norm_rope.ROWS
        weights = weights_of(attention.q_b_proj)
        check_rows(weights.w.shape[0], s.q_rank, on_tensor_cores=False, rows=warps * rows)
        if s.nope % rows or s.rope % rows or s.rope > 2 * warps * LANES or weights.scales.dtype != s.dtype:
            raise Unavailable(f"heads of {s.nope} and {s.rope} elements are not served")
        norm_weights = attention.q_a_layernorm.weight, attention.kv_a_layernorm.weight
        return Planned(
            "norms_q_b_heads",
            Q_B,
            {**dict(norms.template), **dict(heads.template), "WARPS": warps, "ROWS": rows},
            [
                b.projected,
                *(array(name, each) for name, each in zip(("q_weight", "kv_weight"), norm_weights, strict=True)),
                *(array(name, each) for name, each in zip(("w", "s", "z"), weights, strict=True)),
                b.offsets,
            ],
            [b.q_nope, b.q_pe, latents, places],
            (weights.w.shape[0] // (warps * rows) + 2, 1, 1),
            warps * LANES,
            macros=IN_CACHE,
        )

    def _head_rows(self, name: str, layer: Any, x: Parameter, out: Parameter, scale: float) -> Planned:
        weights, warps = weights_of(layer), HEAD_WARPS[name]
        heads, n, k = weights.w.shape[0], weights.w.shape[1], weights.w.shape[2] * 8
        if heads != self.s.heads or n % 128 or k % 64 or weights.scales.dtype != self.s.dtype:
            raise Unavailable(f"{heads} heads of {n} rows of {k} weights are not served")
        return Planned(
            name,
            _read("head_rows"),
            {"T": self.s.dtype, "N": n, "K": k, "WARPS": warps, "SCALE": bits(scale)},
            [named("x", x), *(array(part, each) for part, each in zip(("w", "s", "z"), weights, strict=True))],
            [named("out", out)],
            (n // (16 * warps), heads, 1),
            warps * LANES,
        )

    def _softmax(self, by_latent: Parameter, by_place: Parameter, weights: Parameter) -> Planned:
        return Planned(
            "softmax",
            SOFTMAX_OF_SUM,
            {"T": self.s.dtype, "READS": READS["cuda"], "THREADS": THREADS},
            [by_latent, by_place, self.between.offsets],
            [weights],
            (1, self.s.heads, 1),
            THREADS,
            macros=LENGTH,
        )

    def _rows(self, name: str, layer: Any, x: Parameter, out: Parameter) -> Planned:
        weights = weights_of(layer)
        n, k = weights.w.shape[0], weights.w.shape[1] * 8
        if n % OUT_WARPS or k % ROW_STEP or weights.scales.dtype != self.s.dtype:
            raise Unavailable(f"a projection of {k} to {n} is not served")
        return Planned(
            name,
            _read("out_rows"),
            {"T": self.s.dtype, "K": k, "WARPS": OUT_WARPS},
            [named("x", x), *(array(part, each) for part, each in zip(("w", "s", "z"), weights, strict=True))],
            [named("out", out)],
            (n // OUT_WARPS, 1, 1),
            OUT_WARPS * LANES,
        )

    def _gates(self, layer: Any, x: Parameter, h: Parameter) -> Planned:
        b, s, norm, gate = self.between, self.s, layer.post_attention_layernorm, layer.mlp.gate
        constants = norm_constants(norm, s.dtype)
        warps = constants["NORM_THREADS"] // LANES
        experts = gate.weight.shape[0]
        if experts % warps or s.d % 128 or s.d > 4096 or gate.weight.dtype != s.dtype:
            raise Unavailable(f"a gate of {experts} rows of {s.d} weights is not served")
        return Planned(
            "add_norm_gates",
            GATES,
            {**constants, "T": s.dtype, "D": s.d, "E": warps, "WARPS": warps},
            [
                named("residual", x),
                b.r,
                array("norm_weight", norm.weight),
                array("gate_w", gate.weight),
            ],
            [named("h", h), b.normed, b.gates],
            (experts // warps, 1, 1),
            warps * LANES,
        )

    def _moe(self, layer: Any) -> tuple[CudaLaunch, CudaLaunch]:
        packed_gate = weights_of(layer.mlp.switch_mlp.gate_proj)
        return moe.plan(self.s.top, self.s.d, packed_gate.w.shape[1], self.s.dtype, mx.float32)

    def _experts(self, layer: Any) -> Planned:
        b, s, block = self.between, self.s, layer.mlp
        launch, _ = self._moe(layer)
        gate, switch, shared = block.gate, block.switch_mlp, block.shared_experts
        correction = gate.e_score_correction_bias
        scale = mx.full((64,), gate.routed_scaling_factor, mx.float32)
        mx.eval(scale)
        down = weights_of(switch.down_proj).w
        router = {
            "E": gate.weight.shape[0],
            "K": s.top,
            "READS": -(-gate.weight.shape[0] // LANES),
            "STRIDE": 0,
            "NORMALIZE": s.top > 1 and gate.norm_topk_prob,
            "DOWN_WORDS": down[0].size,
        }
        given = [
            *packed("gate_", weights_of(switch.gate_proj)),
            *packed("up_", weights_of(switch.up_proj)),
            *packed("shared_gate_", weights_of(shared.gate_proj)),
            *packed("shared_up_", weights_of(shared.up_proj)),
        ]
        return Planned(
            "experts",
            EXPERTS,
            {**launch.template, **router},
            [
                named("x", b.normed),
                named("gates", b.gates),
                array("correction", correction),
                array("scale", scale),
                *given,
                array("down_w", down),
                array("shared_down_w", weights_of(shared.down_proj).w),
            ],
            [b.inner, b.chosen, b.scores],
            (*launch.blocks, 1),
            launch.threads,
        )

    def _downs(self, layer: Any) -> Planned:
        b = self.between
        _, launch = self._moe(layer)
        values = by_name(
            b.inner,
            named("inds", b.chosen),
            named("scores", b.scores),
            *packed("down_", weights_of(layer.mlp.switch_mlp.down_proj)),
            *packed("shared_down_", weights_of(layer.mlp.shared_experts.down_proj)),
            named("out", b.r),
        )
        return replace(planned(launch, values, {}), body=DOWNS)

    def _dense(self, layer: Any) -> Planned:
        b, s = self.between, self.s
        gate, up = weights_of(layer.mlp.gate_proj), weights_of(layer.mlp.up_proj)
        rows = gate.w.shape[0]
        launch = swiglu.plan_slots(
            swiglu.DENSE, {"T": s.dtype, "D": s.d, "I": rows, "TOP": 1}, 1, [((rows,), s.dtype)], "stock"
        )
        values = by_name(named("x", b.normed), *packed("gate_", gate), *packed("up_", up), b.inner)
        found = planned(launch, values, {"CHOSEN": "0"})
        return replace(found, name="dense", body=WAIT + found.body)

    def _norm(self, layer: Any, x: Parameter, h: Parameter) -> Planned:
        return self._stock_norm("add_norm", layer.post_attention_layernorm, x, h, self.between.normed)

    def _end(self, x: Parameter, h: Parameter) -> Planned:
        made = Parameter("normed", self.extension.Output(), self.s.dtype)
        return self._stock_norm("end", self.stack.norm, x, h, made)

    def _stock_norm(self, name: str, norm: Any, x: Parameter, h: Parameter, normed: Parameter) -> Planned:
        row = mx.zeros((1, 1, self.s.d), self.s.dtype)
        launch = plan_stock(row, row, norm.weight, norm.eps, "cuda")
        return Planned(
            name,
            WAIT + launch.source.body,
            dict(launch.template),
            [x, self.between.r, array("weight", norm.weight)],
            [named("h", h), named("normed", normed)],
            (1, 1, 1),
            launch.threadgroup[0],
        )


def norm_constants(norm: Any, dtype: mx.Dtype) -> dict[str, int]:
    """Return how add_norm.h spreads a norm's row over threads; raise Unavailable for a row that it does not serve."""
    if norm.weight.dtype != dtype:
        raise Unavailable(f"a norm is {norm.weight.dtype} and the model {dtype}")
    try:
        threads, chunks, reads = spread(norm.weight.size, dtype.size, "cuda")
    except ValueError as error:
        raise Unavailable(str(error)) from error
    return {"NORM_READS": reads, "NORM_CHUNKS": chunks, "NORM_THREADS": threads, "NORM_EPS": bits(norm.eps)}


def rounded(scale: float, dtype: mx.Dtype) -> float:
    """Return the number of this dtype that is next to `scale`."""
    value: Any = mx.array(scale, dtype).item()
    return float(value)


def joined(layer: Any) -> Weights:
    """Return where the joined projections begin: mla_norm_rope made q_a's arrays the beginning of those of both."""
    return weights_of(layer.self_attn.q_a_proj)
