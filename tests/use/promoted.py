"""A promotion as `zmlx promote` would write it, for this machine; its figures are made up and name no real capsule."""

from __future__ import annotations

from typing import Any

from tests.builders import SOFTWARE, Made, add_session
from zmlx_bench.analysis.decision import RULE
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.checkpoints.resolve import locate
from zmlx_bench.ledger import promotions
from zmlx_bench.machine import facts
from zmlx_bench.machine.backend import installed
from zmlx_bench.schema.promotion import Promotion, Promotions
from zmlx_bench.workspace import Workspace


def promotion(workspace: Workspace, family: str, variant: str, /, **other: Any) -> Promotion:
    """The promotion of `variant` for the tiny checkpoint on this machine's CPU; `other` replaces fields."""
    machine, catalog = facts.read("cpu"), Catalog(workspace, family)
    identity = catalog.identify(catalog.resolve(variant), "cpu").identity if variant in catalog.specs else None
    capsule = {"capsule_sha256": "0" * 64, "speedup": 1.25, "speedup_low": 1.2, "speedup_high": 1.3}
    capsule |= {"null_speedup": 1.0, "matched_tokens": 5, "total_tokens": 5}
    capsules = [
        capsule | {"capsule": f"capsules/{session}/t{tokens}.json", "tokens": tokens}
        for session in ("later", "earlier")
        for tokens in (200, 1024)
    ]
    fields = {
        "family": family,
        "checkpoint": "tiny",
        "checkpoint_digest": locate(family, "tiny", machine).checkpoint.digest,
        "backend": "cpu",
        "device": machine.device,
        "cores": machine.cores,
        "mlx": installed("mlx"),
        "mlx_lm": installed("mlx-lm"),
        "variant": variant,
        "identity": identity.digest if identity else "0" * 64,
        "parts": identity,
        "rule": RULE,
        "since": "2026-01-01T00:00:00Z",
        "policy_sha256": "0" * 64,
        "sessions": ["later", "earlier"],
        "capsules": capsules,
    }
    return Promotion.model_validate(fields | other)


def promote(workspace: Workspace, *found: Promotion) -> None:
    """Make these the promotions of the workspace."""
    promotions.write(workspace, promotions.read(workspace), Promotions(promotion=found))


def fail_here(workspace: Workspace, family: str, variant: str, /, **other: Any) -> str:
    """Record a session in which the variant said other tokens than the tiny model; return its name.

    On this machine, of which `other` replaces what the session says.
    """
    machine, wrong = facts.read("cpu").model_copy(update=other), Made(variant, wrong_at=7)
    software = SOFTWARE.model_copy(update={"mlx": installed("mlx"), "mlx_lm": installed("mlx-lm")})
    checkpoint = locate(family, "tiny", machine).checkpoint
    return add_session(
        workspace, 0, [wrong], family=family, checkpoint=checkpoint, machine=machine, software=software
    ).session
