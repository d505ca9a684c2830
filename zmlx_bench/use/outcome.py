"""What applying a variant to a model came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zmlx_bench.errors import CannotHere
from zmlx_bench.schema.promotion import Promotion

if TYPE_CHECKING:
    # MLX is imported with it.
    from zmlx_bench.measured.apply import Patch


class NotApplied(CannotHere):
    """No variant was applied and the model is as it was; the text says why and what to do (exit code 4)."""


@dataclass(frozen=True)
class Applied:
    """What `apply` did. True when a variant sits in the model, false when nothing was changed."""

    variant: str | None
    """The variant applied; None when the model is unchanged."""
    why: str
    """One sentence for people: on what evidence it was applied, or why nothing was."""
    sites: Mapping[str, int] = field(default_factory=dict)
    """How many modules of the model each replaced site was found in."""
    promotion: Promotion | None = field(default=None, repr=False)
    """The entry of promoted.toml that it rests on; None for a variant asked for by name."""
    patch: Patch | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.variant is not None

    def undo(self) -> None:
        """Give the unpatched model back; nothing happens where nothing was applied or all was undone already."""
        if self.patch is not None:
            self.patch.undo()
