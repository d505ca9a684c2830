"""What a worker is told, made by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import small
from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import plain
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.measured.messages import Instructions, Prompt
from zmlx_bench.measured.worker.job import measure
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.schema.variant import ResolvedVariant

TOKEN_IDS = ((1, 323, 468, 67, 616, 1448, 79, 331, 302, 732, 0, 2), (1, 1325, 313, 466, 821, 28, 0, 2))
"""What "The sea was calm that night" and "def main():" are to the tiny models, with their chat template."""
TOKENS = 6


def instructions(
    family: str,
    kernels: Path = Path("kernels"),
    resolved: ResolvedVariant | None = None,
    limits: Mapping[str, int | None] | None = None,
    **changes: Any,
) -> Instructions:
    """Two prompts and a few tokens of the tiny checkpoint; `changes` replace fields."""
    variant = None
    if resolved is not None:
        variant = plain(resolved, {**{use.kernel: None for use in resolved.kernels}, **(limits or {})})
    fields: dict[str, Any] = {
        "family_folder": str(families.folder(family)), "checkpoint_kind": "tiny", "path": str(TINY / f"tiny_{family}"),
        "seed": 0, "backend": "cpu", "variant": variant, "kernels": str(kernels), "tokens": TOKENS, "margins": False,
        "prompts": tuple(Prompt(f"p{i}", ids) for i, ids in enumerate(TOKEN_IDS)),
    }  # fmt: skip
    return Instructions(**{**fields, **changes})


def small_instructions(family: str, *given: Any, **changes: Any) -> Instructions:
    """The same of the smallest checkpoint of the family, where nobody looks at what the model says."""
    return instructions(family, *given, **{"checkpoint_kind": "path", "path": str(small.folder(family)), **changes})


def events(told: Instructions, folder: Path) -> list[dict[str, Any]]:
    """Run the worker's measurement here, with a file in place of the pipe."""
    path = folder / "events"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        measure(told, Pipe(descriptor))
    finally:
        os.close(descriptor)
    return [json.loads(line) for line in path.read_text().splitlines()]
