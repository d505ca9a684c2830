"""The variant that is promoted for a group now."""

from __future__ import annotations

from zmlx_bench.analysis.decision.evidence import GroupKey
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.ledger import promotions
from zmlx_bench.machine.backend import installed
from zmlx_bench.schema.machine import Machine
from zmlx_bench.workspace import Workspace


def incumbent_of(workspace: Workspace, family: str, located: Located, machine: Machine) -> str | None:
    """Return the name of the variant promoted for this family, checkpoint, backend, device and MLX version."""
    key = GroupKey(family, located.checkpoint.id, machine.backend, machine.device, installed("mlx") or "none")
    return promotions.incumbents(promotions.read(workspace)).get(key)
