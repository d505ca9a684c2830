"""What the harness asks of a model family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from zmlx_bench.measured.host import Host


class Family(ABC):
    """A model family. A new one is one file with a subclass, listed in `families.registry`."""

    name: ClassVar[str]

    @abstractmethod
    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module of a loaded mlx-lm model that has sites."""
