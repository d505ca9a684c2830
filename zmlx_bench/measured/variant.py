"""A variant as the measured process takes it: which kernel, in which mode, at which sites."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KernelUse:
    """One kernel of a variant."""

    kernel: str
    """Folder of the kernel."""
    mode: str
    sites: tuple[str, ...]
    max_tokens: int | None = None
    """Most tokens (batch x sequence) of one call it serves; None: any."""
    max_batch: int | None = None
    """Most sequences that are decoded at once where it serves; None: any."""
    caches: tuple[str, ...] | None = None
    """Kinds of cache that it serves (`measured.conditions.asked.Kind`); None: any."""
    needs: tuple[str, ...] = ()
    """Primitives that MLX must have for it: `measured.primitives`."""


@dataclass(frozen=True)
class Variant:
    """The kernels to apply together. Its environment variables stand before the process starts."""

    name: str
    family: str
    kernels: tuple[KernelUse, ...]
