"""What a session's processes are given: the checkpoint that they load, and prompts as token ids."""

from __future__ import annotations

from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.checkpoints import context
from zmlx_bench.checkpoints.resolve import Located, locate
from zmlx_bench.schema.machine import Machine
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.session import known_ids
from zmlx_bench.session.request import Request, check_batch
from zmlx_bench.workspace import Workspace


def located(workspace: Workspace, request: Request, machine: Machine) -> Located:
    """Return the checkpoint that is asked for, with the errors of `locate`."""
    return locate(
        request.family,
        request.checkpoint,
        machine,
        workspace=workspace,
        seed=request.seed,
        trust_remote_code=request.trust_remote_code,
        force=request.force,
        layers=request.layers,
    )


def encoded(request: Request, checkpoint: Located, prompts: PromptSet) -> Encoded:
    """Return the prompts as token ids, those of before where weights and texts are the same.

    UnusableInput where they do not fit the model's context or the batch asked for; else as `known_ids.encoded`.
    """
    before = request.encoded_before
    same = (checkpoint.checkpoint.digest, prompts.sha256)
    known = before.encoded if before is not None and (before.checkpoint, before.prompts_sha256) == same else None
    asked = request.conditions.context
    pieces = () if asked is None else prompt_catalog.context_pieces()
    found = known or known_ids.encoded(checkpoint, prompts, pieces)
    context.check(checkpoint, found, max(request.tokens), asked or 0)
    check_batch(request.batch, found)
    return found
