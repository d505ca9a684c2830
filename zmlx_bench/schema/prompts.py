"""Prompt sets: `zmlx_bench/data/prompts.toml` and files given with `--prompts`; and what they are to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from zmlx_bench.schema.base import Count, Name, NonEmpty, StrictModel, content_hash


class Prompt(StrictModel):
    """One prompt, before any chat template."""

    id: Name
    domain: NonEmpty
    text: NonEmpty


class PromptSet(StrictModel):
    """The prompts of a session; the first is timed in every block, the others are for fidelity alone."""

    schema_version: Literal[1] = 1
    prompt: tuple[Prompt, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_differ(self) -> PromptSet:
        ids = [prompt.id for prompt in self.prompt]
        if len(set(ids)) != len(ids):
            raise ValueError("two prompts have the same id")
        return self

    @property
    def sha256(self) -> str:
        """Content hash that versions the set."""
        return content_hash([prompt.model_dump() for prompt in self.prompt])


class Encoded(StrictModel):
    """A prompt set as token ids, made once a session: what each of its processes prefills."""

    chat_template: bool
    """Whether the tokenizer's chat template was applied."""
    token_ids: dict[Name, Annotated[tuple[Count, ...], Field(min_length=1)]]
    """Of each prompt by its id."""
    context_pieces: tuple[Annotated[tuple[Count, ...], Field(min_length=1)], ...] = ()
    """The sentences that a context is drawn from (`protocol.context`), without template; empty without a context."""

    def check(self, prompts: PromptSet) -> None:
        """Raise ValueError where these are not the prompts of the set."""
        if list(self.token_ids) != [prompt.id for prompt in prompts.prompt]:
            raise ValueError("encoded.token_ids: must be those of the prompts, in their order")


def ids_hash(token_ids: Sequence[int]) -> str:
    """Return the SHA-256 that a process tells of the token ids which it prefills."""
    return content_hash(list(token_ids))
