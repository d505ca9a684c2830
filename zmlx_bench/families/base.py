"""What the harness asks of a model family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from zmlx_bench.patch.host import Host


class Family(ABC):
    """A model family. A new one is one file with a subclass, listed in `families.registry`."""

    name: ClassVar[str]
    title: ClassVar[str]
    """Name of the published model."""
    model_type: ClassVar[str]
    """`model_type` in config.json: mlx-lm's architecture."""
    hub_id: ClassVar[str]
    """The published 4-bit checkpoint."""
    full_gb: ClassVar[float]
    """Memory that the published checkpoint takes, GB, as the predecessor's ledger reports it."""
    published_config: ClassVar[dict[str, Any]]
    """Sizes of the published model, for `synthetic`."""

    @abstractmethod
    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module of a loaded mlx-lm model that has sites."""
