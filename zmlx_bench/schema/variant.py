"""Variants: the TOML under `variants/`, and the resolved form that sessions and capsules carry."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from zmlx_bench.schema.base import KernelRef, Name, NonEmpty, Sha256, StrictModel
from zmlx_bench.schema.environment import Environment
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.kernel import Numerics, Site

ALLOWED_ENV = re.compile(r"^(ZMLX|MLX)_[A-Z0-9_]+$")


def _allowed_env(env: dict[str, str]) -> dict[str, str]:
    for name in env:
        if not ALLOWED_ENV.fullmatch(name):
            raise ValueError(f"{name!r} may not be set by a variant; only ZMLX_* and MLX_* may")
    return env


VariantEnv = Annotated[dict[str, str], AfterValidator(_allowed_env)]


FidelityRule = Literal["identical", "near"]
"""What a variant's output is held to: every token of the baseline, or to be as near to a float32 reference as stock is.
"""


class VariantSpec(StrictModel):
    """One `[variant.NAME]` table."""

    why: NonEmpty
    """The question that this variant answers, in one line."""
    extends: Name | None = None
    """A variant of the same file whose kernels and environment this one takes over."""
    kernels: dict[Site, KernelRef] = {}
    """`site = "kernel"` or `site = "kernel.mode"`. A fused kernel stands at each of its sites."""
    env: VariantEnv = {}
    """Environment of the worker; only ZMLX_* and MLX_*."""
    environment: NonEmpty | None = None
    """The Python environment of the worker: a name of `variants/environments.toml`; null is the one that zmlx is in."""
    default: bool = False
    """Whether `zmlx run` measures it without being asked by name; at most four in a family."""
    fidelity: FidelityRule | None = None
    """What its output is held to; null is what it extends is held to, and where it extends nothing `identical`."""


class VariantFile(StrictModel):
    """A file `variants/<family>.toml`."""

    schema_version: Literal[1] = 1
    family: Name
    variant: dict[Name, VariantSpec] = Field(default={})


class ResolvedKernel(StrictModel):
    """One kernel of a resolved variant, with what identifies its source."""

    kernel: Name
    mode: Name
    sites: tuple[Site, ...]
    numerics: Numerics
    source_sha256: Sha256
    """SHA-256 over the bytes of its sources. They are provenance; evidence is bound to `ResolvedVariant.identity`."""


class ResolvedVariant(StrictModel):
    """A variant with `extends` followed and every kernel found: what a worker applies and a capsule records."""

    name: Name
    family: Name
    why: NonEmpty
    kernels: tuple[ResolvedKernel, ...]
    env: VariantEnv = {}
    identity: Identity | None = Field(default=None, exclude_if=lambda value: value is None)
    """What it is on the backend that it is measured on; absent from what was recorded before there was one."""
    environment: Environment | None = Field(default=None, exclude_if=lambda value: value is None)
    """The environment that its processes ran in; absent where that is the one that zmlx is in."""
    fidelity: FidelityRule = Field(default="identical", exclude_if=lambda value: value == "identical")
    """What its output is held to; absent where that is every token of the baseline."""
