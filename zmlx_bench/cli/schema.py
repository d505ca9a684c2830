"""`zmlx schema`: the JSON Schema of an artifact."""

from __future__ import annotations

from typing import Annotated

import typer

from zmlx_bench.cli import complete
from zmlx_bench.cli.options import JsonOption


def schema(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help="Which artifact.", autocompletion=complete.artifact),
    ],
    as_json: JsonOption = False,  # noqa: ARG001
) -> None:
    """Print the JSON Schema of an artifact.

    KIND is capsule, session, matrix, entry, variant, kernel, prompts, environments, policy, promotion, legacy, bench,
    verification or screen.
    """
    from zmlx_bench.cli.artifacts import KINDS
    from zmlx_bench.cli.output import print_json
    from zmlx_bench.errors import unknown

    if kind not in KINDS:
        raise unknown("artifact", kind, KINDS)
    print_json(KINDS[kind].model_json_schema())
