"""The launches on CUDA for one token of one sequence, as MLX 0.32.4 rounds its steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from zmlx_bench.measured.api import Unavailable

from .._lib.gpu.cuda import CudaLaunch, CudaSource, Template, read_cuda
from .._lib.gpu.cuda_rows import ON_TENSOR_CORES, check_rows, mma_bytes
from .._lib.gpu.launch import WORDS
from .._lib.gpu.packed import GROUP, SERVED, weights_of
from .._lib.gpu.settle import bits
from ..gate_router.cuda import GATES_8BIT
from ..gather_qmm_swiglu import cuda as swiglu
from ..moe_router.gpu import LANES, MOST_EXPERTS, SOFTMAX
from ..qk_norm_rope.gpu import TURN_HEAD
from ..qk_norm_rope.heads import Heads
from ..residual_norm.gpu import spread

_HERE = Path(__file__).resolve().parent
ADD_NORM = (_HERE / "add_norm.h").read_text()
COPY_BLOCK = (_HERE / "copy_block.h").read_text()
MOST_SHARED = 227 * 1024
"""Bytes of shared memory that one block may have on compute capability 9.0."""


def _read(name: str, inputs: tuple[str, ...], outputs: tuple[str, ...], *rest: str) -> CudaSource:
    read = read_cuda(_HERE, name, inputs, outputs, "cuda_qmm.h")
    return replace(read, body="\n".join((read.body, *rest)), header=read.header + WORDS["cuda"])


def _heads() -> CudaSource:
    inputs = ("x", "r", "norm_weight", "w", "s", "z", "q_weight", "k_weight", "offsets", "tickets")
    read = _read("heads", inputs, ("h", "q", "k", "v"), (_HERE / "heads_turn.cu").read_text())
    return replace(read, header=read.header + ADD_NORM + COPY_BLOCK + TURN_HEAD)


def _gates() -> CudaSource:
    inputs = ("residual", "r", "norm_weight", "gate_w", "gate_s", "gate_b")
    after = (_HERE / "gates_after.cu").read_text()
    read = _read("gates_before", inputs, ("h", "normed", "all_gates"), GATES_8BIT, after)
    return replace(read, name="add_norm_gates", header=read.header + ADD_NORM)


def _experts() -> CudaSource:
    inputs = ("x", "gates", *swiglu.MMA.inputs[2:])
    after = (_HERE / "choose_after.cu").read_text()
    tickets = (_HERE / "tickets.cu").read_text()
    read = _read("choose_before", inputs, ("h", "chosen", "weights"), SOFTMAX.body, after, tickets, swiglu.MMA.body)
    return replace(read, name="router_experts_mma", header=read.header + SOFTMAX.header)


HEADS = _heads()
ROWS = replace(HEADS, inputs=HEADS.inputs[:6], body=(_HERE / "heads.cu").read_text())
"""HEADS without norm and rotation: q and k as the projection gives them."""
GATES = _gates()
EXPERTS = _experts()


def _norm(norm: nn.RMSNorm, dtype: mx.Dtype) -> dict[str, int]:
    if norm.weight.dtype != dtype:
        raise Unavailable(f"a norm is {norm.weight.dtype} and the weights' scales {dtype}")
    try:
        threads, chunks, reads = spread(norm.weight.size, dtype.size, "cuda")
    except ValueError as error:
        raise Unavailable(str(error)) from error
    return {"NORM_READS": reads, "NORM_CHUNKS": chunks, "NORM_THREADS": threads, "NORM_EPS": bits(norm.eps)}


@dataclass(frozen=True)
class Cut:
    """How the rows of q, k and v are cut: rows a block, its warps, and the stages in which its rows are copied."""

    rows: int = 32
    """A quarter of a head: whole heads would leave two thirds of the multiprocessors idle."""
    warps: int = 16
    stages: int = 2


CUT = Cut()


def plan_heads(
    norm: nn.RMSNorm,
    heads: Heads,
    d: int,
    dtype: mx.Dtype,
    *,
    add: bool,
    first_ticket: int = 0,
    source: CudaSource = HEADS,
    cut: Cut = CUT,
) -> CudaLaunch:
    """Return the launch for x, r (1, 1, d), the norm's weight (d,), the joined projection of q, k and v with
    (Hq + 2 Hk) * hd rows of scales `dtype`, the weights of the heads' norms (hd,), offsets int32 (1,) and tickets
    uint32: from `first_ticket` on Hq + Hk zeros that no other launch counts in.

    Outputs: h (1, 1, d), x + r or x, q (1, Hq, 1, hd), k and v (1, Hk, 1, hd).
    """
    hq, hk, hd = heads.of_q, heads.of_k, heads.size
    check_rows((hq + 2 * hk) * hd, d, on_tensor_cores=False, rows=hd)
    groups = d // GROUP * 2
    shared = cut.rows * (d // 2 + 2 * groups)
    own: Template = {"D": d, "ADD": add, "OWN_ROWS": cut.rows, "WARPS": cut.warps, "STAGES": cut.stages}
    places: Template = {"PARTS": hd // cut.rows, "V_STRIDE": hd, "V_FIRST": 0}
    template = dict(heads.template(1, 1)) | _norm(norm, dtype) | dict(own) | dict(places)
    rows = (hq + 2 * hk) * hd
    if source is HEADS:
        rows = hd
        template["FIRST_TICKET"] = first_ticket
    if rows % cut.rows or cut.rows % (cut.warps * cut.stages) or shared > MOST_SHARED:
        raise Unavailable(f"{rows} rows of {d} weights do not go into blocks of {cut.rows}")
    return CudaLaunch(
        source,
        template=template,
        blocks=((hq + 2 * hk) * hd // cut.rows, 1),
        threads=cut.warps * LANES,
        outputs=[((1, 1, d), dtype), *(((1, n, 1, hd), dtype) for n in (hq, hk, hk))],
        shared_memory=shared,
    )


def plan_gates(norm: nn.RMSNorm, gate: Any) -> CudaLaunch:
    """Return the launch for x, r (1, 1, D), the norm's weight (D,) and the gate's 8-bit weights.

    Outputs: h = x + r and its norm (1, 1, D), gates (1, 1, E).
    """
    if not isinstance(gate, nn.QuantizedLinear) or "bias" in gate:
        raise Unavailable("decoder_step needs a quantised gate without bias")
    dtype = gate.scales.dtype
    if (gate.mode, gate.bits, gate.group_size) != ("affine", 8, GROUP) or dtype not in SERVED:
        raise Unavailable(f"the gate is {gate.mode}, {gate.bits} bit; affine 8 bit in groups of {GROUP} is served")
    experts, d = gate.weight.shape[0], gate.weight.shape[1] * 4
    constants = _norm(norm, dtype)
    warps = constants["NORM_THREADS"] // LANES
    if experts % warps or d % 256 or d > 32 * GROUP:
        raise Unavailable(f"a gate of {experts} rows of {d} weights is not served")
    template: Template = {"T": dtype, "D": d, "E": warps, "WARPS": warps, **constants}
    return CudaLaunch(
        GATES,
        template=template,
        blocks=(experts // warps, 1),
        threads=warps * LANES,
        outputs=[((1, 1, d), dtype), ((1, 1, d), dtype), ((1, 1, experts), dtype)],
    )


def plan_experts(block: Any, tickets: int = 0) -> CudaLaunch:
    """Return the launch for x (1, 1, D), gates (1, 1, E) and the experts' gate and up weights.

    Outputs: h (1, 1, k, I), inds and behind them as many zeros as `tickets` (k + tickets,) uint32, scores (1, 1, k).
    """
    packed = weights_of(block.switch_mlp.gate_proj)
    experts, i, d, dtype = packed.w.shape[0], packed.w.shape[1], packed.w.shape[2] * 8, packed.scales.dtype
    k, warps = block.top_k, swiglu.WARPS
    if k < ON_TENSOR_CORES:
        raise Unavailable(f"top-{k}; MLX multiplies fewer than {ON_TENSOR_CORES} rows by another algorithm")
    if experts > MOST_EXPERTS or k > experts:
        raise Unavailable(f"top-{k} of {experts} experts is not served")
    check_rows(i, d, on_tensor_cores=True, rows=8 * warps)
    constants: Template = {"T": dtype, "D": d, "I": i, "TOP": k, "WARPS": warps}
    router: Template = {"E": experts, "K": k, "READS": 16 // dtype.size, "ONLINE": True, "STRIDE": 0}
    shape = (1, 1, k)
    return CudaLaunch(
        EXPERTS,
        template={**constants, **router, "NORMALIZE": block.norm_topk_prob, "TICKETS": tickets},
        blocks=(i // (8 * warps), k),
        threads=LANES * warps,
        outputs=[((*shape, i), dtype), ((k + tickets,), mx.uint32), (shape, dtype)],
        shared_memory=warps * mma_bytes(d) + d * 2,
    )
