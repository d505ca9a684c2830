"""What a variant's evidence is bound to, as a session recorded it."""

from __future__ import annotations

from zmlx_bench.schema.base import Name, Positive, Sha256, StrictModel


class Identity(StrictModel):
    """The meaning of what ran between two tokens, whole and in the parts that it is made of."""

    formula: Positive
    """Number of the formula; digests of two formulas never agree."""
    digest: Sha256
    """Over the parts: evidence with another one is of other code."""
    declaration: Sha256
    """Family, backend, kernels by mode and site, environment."""
    kernels: dict[Name, Sha256]
    """Each kernel's sources for the backend, as found from its imports."""
    path: Sha256
    """The part of the harness that runs between two tokens."""
