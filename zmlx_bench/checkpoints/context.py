"""Whether the prompts fit the model's context, before any process is started for them."""

from __future__ import annotations

from zmlx_bench.checkpoints.resolve import Located
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.prompts import PromptSet


def check(located: Located, prompts: PromptSet, tokens: int) -> None:
    """Raise UnusableInput when a prompt and `tokens` generated tokens exceed the context.

    Counts the bare prompt; what a chat template adds is small and counted by the worker.
    """
    path = located.path / "tokenizer.json"
    if located.context is None or not path.is_file():
        return
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    for prompt in prompts.prompt:
        length = len(tokenizer.encode(prompt.text).ids)
        if length + tokens > located.context:
            raise UnusableInput(
                f"prompt {prompt.id!r}: {length} tokens and {tokens} to generate exceed the context of "
                f"{located.context}; shorten the prompt or lower --tokens"
            )
