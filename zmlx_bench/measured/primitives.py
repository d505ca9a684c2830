"""What kernels ask of the MLX that is loaded: functions that a patched build brings and a released one may lack.

`python -m zmlx_bench.measured.primitives NAME...` says as JSON on standard output which module of MLX has each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.variant import Variant


def present(name: str) -> str | None:
    """Return which module of MLX has the primitive, `mlx.core` or `mlx.core.fast`; None for neither."""
    return next((place for place, module in _places().items() if callable(getattr(module, name, None))), None)


def lacking(needs: Sequence[str]) -> str | None:
    """Say which of the primitives MLX lacks here; None where it has all, or none is asked for."""
    missing = [name for name in needs if present(name) is None]
    if not missing:
        return None
    version = vars(_places()["mlx.core"])["__version__"]
    return f"needs {', '.join(missing)}, which neither {' nor '.join(_places())} of this MLX ({version}) has"


def require_primitive(kernel: str, name: str) -> Callable[..., Any]:
    """Return the function of that name, of `mlx.core` or else of its `fast`; raise Unavailable where neither has it."""
    place = present(name)
    if place is None:
        raise Unavailable(f"{kernel} {lacking([name])}")
    found: Callable[..., Any] = getattr(_places()[place], name)
    return found


def check_needs(variant: Variant) -> None:
    """Raise Unavailable where MLX lacks what a kernel of the variant needs."""
    for use in variant.kernels:
        reason = lacking(use.needs)
        if reason is not None:
            raise Unavailable(f"{use.kernel} {reason}")


def _places() -> dict[str, Any]:
    # Lists of kernels are made where nothing else needs MLX.
    import mlx.core as mx

    return {"mlx.core": mx, "mlx.core.fast": mx.fast}


if __name__ == "__main__":
    json.dump({name: present(name) for name in sys.argv[1:]}, sys.stdout)
