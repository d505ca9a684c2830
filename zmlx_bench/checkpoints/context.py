"""Whether the prompts fit the model's context, before any process is started for them."""

from __future__ import annotations

from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.prompts import Encoded


def check(located: Located, encoded: Encoded, tokens: int, before: int = 0) -> None:
    """Raise UnusableInput when a prompt, the tokens `before` it and `tokens` generated ones exceed the context."""
    if located.context is None:
        return
    for name, ids in encoded.token_ids.items():
        if before + len(ids) + tokens > located.context:
            filled = f"{before} of --context, " if before else ""
            remedy = "lower --context or --tokens" if before else "shorten the prompt or lower --tokens"
            raise UnusableInput(
                f"prompt {name!r}: {filled}{len(ids)} tokens and {tokens} to generate exceed the context of "
                f"{located.context}; {remedy}"
            )
