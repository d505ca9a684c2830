"""Whether the prompts fit the model's context, before any process is started for them."""

from __future__ import annotations

from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.prompts import Encoded


def check(located: Located, encoded: Encoded, tokens: int) -> None:
    """Raise UnusableInput when a prompt and `tokens` generated tokens exceed the context."""
    if located.context is None:
        return
    for name, ids in encoded.token_ids.items():
        if len(ids) + tokens > located.context:
            raise UnusableInput(
                f"prompt {name!r}: {len(ids)} tokens and {tokens} to generate exceed the context of "
                f"{located.context}; shorten the prompt or lower --tokens"
            )
