"""`variants/identities.toml`: what evidence from before there were identities is bound to, written once by a tool."""

from __future__ import annotations

from typing import Literal

from zmlx_bench.schema.base import Backend, Name, NonEmpty, Positive, Sha256, StrictModel
from zmlx_bench.schema.identity import Identity


class CarriedVariant(StrictModel):
    """A variant as old capsules and promotions recorded it, by the bytes of its kernels' sources."""

    name: Name
    backend: Backend
    bytes_sha256: Sha256
    """Hash of the resolved variant with the hashes of those bytes: the identity of that time."""
    sites_sha256: Sha256
    """Of the modules that composed its sites in `tree`."""
    commits: dict[NonEmpty, Sha256]
    """The same at the commit of each session: where it is another, the session ran another path."""
    identity: Identity
    """What it has in `tree` under the formula."""


class Carried(StrictModel):
    """The file."""

    schema_version: Literal[1] = 1
    formula: Positive
    tree: NonEmpty
    """The commit whose sources the identities were taken from."""
    variant: tuple[CarriedVariant, ...] = ()
