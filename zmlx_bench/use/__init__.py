"""The winner in use: a loaded mlx-lm model with the variant promoted for what it is and where it runs."""

from zmlx_bench.use.model import apply
from zmlx_bench.use.outcome import Applied, NotApplied

__all__ = ["Applied", "NotApplied", "apply"]
