"""Resolved variants made by hand."""

from __future__ import annotations

from zmlx_bench.schema.variant import ResolvedKernel, ResolvedVariant


def variant(family: str, *kernels: str) -> ResolvedVariant:
    """`site+site=kernel.mode` each; the mode is `stock` where none is named."""
    resolved = []
    for text in kernels:
        sites, _, reference = text.partition("=")
        kernel, _, mode = reference.partition(".")
        fields = {"kernel": kernel, "mode": mode or "stock", "sites": sites.split("+"), "numerics": "stock"}
        resolved.append(ResolvedKernel.model_validate({**fields, "source_sha256": "0" * 64}))
    return ResolvedVariant(name="made", family=family, why="a test", kernels=tuple(resolved))
