"""The winner in use: a loaded mlx-lm model with the variant promoted for what it is and where it runs.

Its names are imported when they are asked for: a command says why MLX cannot be imported here before anything does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zmlx_bench.use.model import apply
    from zmlx_bench.use.outcome import Applied, NotApplied

__all__ = ["Applied", "NotApplied", "apply"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from zmlx_bench.use import model, outcome

        return model.apply if name == "apply" else getattr(outcome, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
