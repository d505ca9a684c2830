"""Prompt sets: `zmlx_bench/data/prompts.toml` and files given with `--prompts`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from zmlx_bench.schema.base import Name, NonEmpty, StrictModel, content_hash


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
