"""What the harness asks of a model family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from zmlx_bench.measured.host import Host
from zmlx_bench.measured.steps import Block


class Family(ABC):
    """A model family. A new one is a folder with `facts.toml` and, in `family.py`, the subclass that it names."""

    blocks: ClassVar[tuple[Block, ...]]
    """Every block that `hosts` may return, for the docs: what kernels of this family are given."""

    def __init__(self, name: str, facts: Mapping[str, Any]) -> None:
        self.name = name
        self.facts = facts
        """What `facts.toml` holds."""

    @abstractmethod
    def hosts(self, model: Any) -> Sequence[Host]:
        """Return every module of a loaded mlx-lm model that has sites."""
