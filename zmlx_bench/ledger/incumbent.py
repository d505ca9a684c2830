"""The variant that is promoted for a group now."""

from __future__ import annotations

from zmlx_bench.analysis.decision.adapter import key_of
from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.ledger import promotions
from zmlx_bench.machine.backend import installed
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.workspace import Workspace


def incumbent_of(
    workspace: Workspace, family: str, located: Located, machine: Machine, conditions: Conditions
) -> str | None:
    """Return the name of the variant promoted for this family, checkpoint, machine and these conditions."""
    key = key_of(family, located.checkpoint, conditions, machine, installed("mlx"), installed("mlx-lm"))
    return promotions.incumbent(promotions.read(workspace), key)
