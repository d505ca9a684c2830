"""zmlx: does a kernel set make LLM decode in MLX faster without changing a token, and may it become the default?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zmlx_bench.use.model import apply
    from zmlx_bench.use.outcome import Applied, NotApplied

__version__ = "0.1.0"
__all__ = ["Applied", "NotApplied", "__version__", "apply"]


def __getattr__(name: str) -> Any:
    # MLX is imported with them, which `zmlx --help` must not wait for.
    if name in ("Applied", "NotApplied", "apply"):
        from zmlx_bench.use import model, outcome

        return model.apply if name == "apply" else getattr(outcome, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
