"""A decode step of a whole stack of MoE layers for one sequence, started by the host as one CUDA graph.

The launches are decoder_step's with attention and output projection between them, MLX's order of every sum included.
Keys and values are written where mlx-lm's own caches hold them; what the graph does not serve takes the model's own
calls. CUDA only.
"""

from __future__ import annotations

from typing import Any

from zmlx_bench.measured.api import Binding, BindRequest, Unavailable, require_kind, require_parts

from .._lib.gpu.launch import require
from .._lib.graph import NotBuilt, load, missing
from .._lib.graph.embedding import Embedding
from ..decoder_step.kernel import decoder_step
from .graph import GraphSteps


def probe(mode: str, backend: str) -> str | None:
    """Return why the mode cannot run on `backend` here, or None."""
    return missing() or None


def bind(module: Any, request: BindRequest) -> Binding:
    """Bind to the stack of decoder layers; raise Unavailable where one is not served or the extension is missing."""
    require("decoder_graph", request)
    require_kind("decoder_graph", request, "router", "softmax")
    return decoder_graph(module)


def decoder_graph(stack: Any) -> Binding:
    """Return the step of a stack of layers; join the projections of all its attentions."""
    try:
        extension = load()
    except NotBuilt as error:
        raise Unavailable(str(error)) from error
    require_parts("decoder_graph", stack, "embed_tokens")
    joined = decoder_step(stack)
    embedding = Embedding(stack.embed_tokens, stack.norm.weight.dtype)

    def undo() -> None:
        embedding.undo()
        if joined.undo is not None:
            joined.undo()

    try:
        return Binding(GraphSteps(stack, extension, embedding), undo)
    except BaseException:
        undo()
        raise
