"""Promotions as `zmlx promote` writes them, of what nobody measured."""

from __future__ import annotations

from typing import Any

from zmlx_bench.checkpoints.resolve import locate
from zmlx_bench.ledger import promotions
from zmlx_bench.machine import facts
from zmlx_bench.schema.promotion import PromotedCapsule, Promotion, Promotions
from zmlx_bench.workspace import Workspace

_CAPSULE = PromotedCapsule(
    capsule="capsules/s/c.json", capsule_sha256="0" * 64, tokens=200, speedup=1.1, speedup_low=1.0, speedup_high=1.2,
    null_speedup=1.0, matched_tokens=1, total_tokens=1,
)  # fmt: skip


def promotion(place: Workspace, variant: str, **changes: Any) -> Promotion:
    """Return the promotion of a variant of the tiny Qwen3 on the CPU here."""
    machine = facts.read("cpu")
    plain: dict[str, Any] = {
        "family": "qwen3", "checkpoint": "tiny", "backend": "cpu", "device": machine.device, "cores": machine.cores,
        "checkpoint_digest": locate("qwen3", "tiny", machine, workspace=place).checkpoint.digest,
        "mlx": "0.0.1", "mlx_lm": "0.0.2", "variant": variant, "identity": "0" * 64, "since": "2030-01-01T00:00:00Z",
        "policy_sha256": "0" * 64, "sessions": ("a", "b"), "capsules": (_CAPSULE, _CAPSULE),
    }  # fmt: skip
    return Promotion(**(plain | changes))


def promote(place: Workspace, *found: Promotion) -> None:
    """Write them."""
    promotions.path_of(place).write_bytes(promotions.dump(Promotions(promotion=found)))
