"""A kernel's declaration: `kernels/<name>/kernel.toml`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from zmlx_bench.schema.base import Backend, Name, NonEmpty, Positive, StrictModel

Site = Literal[
    "router",
    "experts",
    "down",
    "combine",
    "shared_experts",
    "qkv",
    "qk_norm_rope",
    "residual_norm",
    "attention",
    "linear",
]
"""A place in the decoder layer where a kernel can be plugged; `measured.contract` gives each one's inputs."""

Numerics = Literal["stock", "bf16_rounded", "fp32", "fp32_no_fma", "other"]


class Mode(StrictModel):
    """One numerical form of a kernel."""

    numerics: Numerics
    """`stock` is bit-identical to the unpatched model on the same backend; the others change a rounding."""
    backends: tuple[Backend, ...] = Field(min_length=1)
    """Where it runs."""
    changes: str = ""
    """What it changes against the unpatched model; empty for `stock`, needed for everything else."""

    @model_validator(mode="after")
    def _says_what_changes(self) -> Mode:
        if (self.numerics == "stock") != (self.changes == ""):
            raise ValueError("`changes` must be empty for numerics 'stock' and must say what changes for any other")
        return self


Cache = Literal["plain", "rotating", "quantised"]
"""A cache that grows in the model's own type, one that holds the last tokens only, one of fewer bits."""


class Serves(StrictModel):
    """Under which conditions a kernel serves decoding; asked for others, it is unavailable."""

    batch: Positive | Literal["any"] = "any"
    """Most sequences decoded at once."""
    caches: Annotated[tuple[Cache, ...], Field(min_length=1)] | None = None
    """Kinds of cache; null: any, for a kernel that never sees one."""

    @property
    def most_batch(self) -> int | None:
        """Most sequences; None for any."""
        return None if self.batch == "any" else self.batch


class Weights(StrictModel):
    """Packings of quantised weights that a kernel multiplies by: each of `bits` in each of `groups`."""

    mode: Literal["affine", "mxfp4", "mxfp8", "nvfp4"]
    """MLX's mode; all but `affine` have one number of bits and one group size."""
    bits: tuple[Positive, ...] = ()
    groups: tuple[Positive, ...] = ()
    backends: tuple[Backend, ...] = Field(min_length=1)
    """Where."""

    part: NonEmpty | None = None
    """Which of the weights; null: all of them."""

    def __str__(self) -> str:
        """Return it in words."""
        size = f" {_listed(self.bits)} bit in groups of {_listed(self.groups)}" if self.bits else ""
        return f"{self.mode}{size}{f' ({self.part})' if self.part else ''}"

    @model_validator(mode="after")
    def _says_how_where_it_has_to(self) -> Weights:
        if (self.mode == "affine") != bool(self.bits and self.groups) or bool(self.bits) != bool(self.groups):
            raise ValueError("mode 'affine' needs `bits` and `groups`; no other mode has them")
        return self


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


Primitive = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""Name of a function of `mlx.core` or of its `fast`."""


class KernelDeclaration(StrictModel):
    """What a kernel folder offers, readable without importing MLX."""

    schema_version: Literal[1]
    summary: NonEmpty
    """One line for `zmlx kernels`."""
    sites: tuple[Site, ...] = Field(min_length=1)
    """The sites it covers at once; several are contiguous in the data flow and fused."""
    max_tokens: Positive | Literal["any"]
    """Most tokens (batch x sequence) of one call it serves; larger calls stay with the unpatched model."""
    serves: Serves = Serves()
    """Which batch and cache it serves; by default any."""
    needs: tuple[Primitive, ...] = ()
    """Primitives of a patched MLX; where neither `mlx.core` nor its `fast` has one, the kernel is unavailable."""
    weights: tuple[Weights, ...] = ()
    """The packings that it multiplies by, for a kernel of quantised weights; `bind` refuses all others."""
    mode: dict[Name, Mode] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _is_found_or_asked(cls, data: Any) -> Any:
        if isinstance(data, dict) and "families" in data:
            raise ValueError(
                "`families` is no longer declared; delete the line: `bind` looks at the module that it is given "
                "and raises Unavailable where it cannot serve it"
            )
        if isinstance(data, dict) and "uses" in data:
            raise ValueError("`uses` is no longer declared; delete the line: it is found from the kernel's imports")
        return data
