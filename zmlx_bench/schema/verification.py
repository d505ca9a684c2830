"""`verifications/*.json`: which kernels gave the unpatched model's bits on a device, mode by mode."""

from __future__ import annotations

from typing import Literal

from zmlx_bench.schema.base import Count, Name, NonEmpty, Positive, Sha256, Status, StrictModel, UtcTime
from zmlx_bench.schema.kernel import Numerics, Site
from zmlx_bench.schema.machine import Machine

SizesName = Literal["published", "tiny"]


class Probe(StrictModel):
    """One property of the compiler or the device that the kernels' arithmetic rests on."""

    name: NonEmpty
    found: NonEmpty
    expected: NonEmpty | None
    """Null where either answer is right and the kernels do not depend on it."""

    @property
    def holds(self) -> bool:
        """Whether it is as expected."""
        return self.expected is None or self.found == self.expected


class VerifiedRow(StrictModel):
    """One mode of one kernel at one module, or in a whole model, in all calls that were compared."""

    kernel: Name
    mode: Name
    numerics: Numerics
    family: Name
    sites: tuple[Site, ...]
    sizes: SizesName | None
    """Which configuration's; null where it came to none."""
    module: str | None
    """Name of the module that it was bound to, `model` where whole models were compared; null where it came to none."""
    status: Status
    reason: str | None = None
    """Why nothing was compared."""
    calls: Count = 0
    compared: Count = 0
    """Elements of the outputs."""
    differing: Count = 0
    """Elements whose bits are not stock's."""

    @property
    def breaks_word(self) -> bool:
        """Whether it contradicts its declaration: a failure, or `stock` that is not stock's."""
        return self.status not in ("ok", "unavailable") or (self.numerics == "stock" and self.differing > 0)


class Verification(StrictModel):
    """The whole answer of `zmlx kernels verify`."""

    schema_version: Literal[1]
    time: UtcTime
    machine: Machine
    mlx: NonEmpty
    mlx_lm: NonEmpty
    zmlx: NonEmpty
    seed: Count
    seconds: Positive
    kernels: dict[Name, Sha256]
    """Digest of each kernel's sources for the backend, as in a variant's identity."""
    probes: tuple[Probe, ...]
    rows: tuple[VerifiedRow, ...]
