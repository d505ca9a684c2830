"""The plan of a session: its arms, and every process to run, in order."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from zmlx_bench.schema.base import (
    Backend,
    CheckpointKind,
    Count,
    Digest,
    Estimator,
    Name,
    NonEmpty,
    NonNegative,
    Positive,
    Role,
    Sha256,
    StrictModel,
    WeightFile,
)
from zmlx_bench.schema.prompts import Encoded, PromptSet
from zmlx_bench.schema.variant import ResolvedVariant

JobKind = Literal["warmup", "timed", "fidelity", "audit"]


class Conditions(StrictModel):
    """How the model is run, whatever the kernels; evidence never crosses them."""

    context: Positive | None = None
    """Tokens of text in the cache before the prompt goes in; null is none."""
    batch: Positive = 1
    """Sequences at once."""
    kv_bits: Positive | None = None
    """Bits of a quantised cache; null is the model's own type."""
    max_kv_size: Positive | None = None
    """Tokens that the cache holds at most; null is all."""

    @property
    def default(self) -> bool:
        """Whether this is how a model is run where nothing else is asked for."""
        return self == DEFAULT

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `zmlx run` that ask for it."""
        asked = [(name, getattr(self, name)) for name in type(self).model_fields]
        changed = [(name, value) for name, value in asked if value != getattr(DEFAULT, name)]
        return tuple(part for name, value in changed for part in (f"--{name.replace('_', '-')}", str(value)))


DEFAULT = Conditions()
"""How a model is run where nothing else is asked for."""


class Checkpoint(StrictModel):
    """The weights measured, and what identifies them."""

    kind: CheckpointKind
    label: Name
    """Short name for file names and tables: the kind, or a slug of the path or hub id."""
    digest: Digest
    """Identity, whatever the kind: over the config and the SHA-256 of each weight file, or over config and recipe."""
    source: NonEmpty
    """Hub id with its resolved commit, the synthetic recipe, or the folder's name (never its whole path)."""
    config_sha256: Sha256
    weights: dict[WeightFile, Sha256] = {}
    """SHA-256 of each weight file; empty where a recipe makes them (`synthetic`), and in evidence of version 1."""
    blobs: dict[str, str] = {}
    """Hub blob id of each file, for `full` and hub checkpoints."""
    recipe: str | None = None
    """For `synthetic`: recipe, seed, MLX version and backend."""
    layers: Positive | None = None
    """For `synthetic`: decoder layers built; null is all of them."""
    trust_remote_code: bool = False


class Arm(StrictModel):
    """What one process measures."""

    name: Name
    role: Role
    variant: ResolvedVariant | None = None
    """Null for the stock model (baseline and null arm)."""

    @model_validator(mode="after")
    def _variant_fits_role(self) -> Arm:
        if (self.variant is None) != (self.role in ("baseline", "null")):
            raise ValueError("baseline and null arms have no variant; incumbent and variant arms have one")
        return self


class Job(StrictModel):
    """One process: an arm at a budget in a block, a discarded warm-up, the untimed fidelity prompts of an arm, or
    a variant's audit."""

    id: Count
    kind: JobKind
    arm: Name
    tokens: Positive
    """Tokens to generate for each prompt; in an audit to force after each."""
    prompts: tuple[Name, ...] = Field(min_length=1)
    block: Positive | None = None
    """Block of a timed job, from 1."""
    position: Positive | None = None
    """Place of a timed job among the arms of its block and budget, from 1."""
    prefixes: tuple[Positive, ...] = ()
    """Shorter budgets, ascending, that a timed job serves with its first tokens."""

    @property
    def budgets(self) -> tuple[int, ...]:
        """Every budget that the process serves, ascending."""
        return (*self.prefixes, self.tokens)


class Timeouts(StrictModel):
    """Longest silence allowed from a worker in each phase, seconds."""

    load_s: NonNegative = 900.0
    prefill_s: NonNegative = 300.0
    decode_s: NonNegative = 60.0


class Contrast(StrictModel):
    """What a session that is a step of a bisection stops by, in the place of its variants' verdicts: by decode speed,
    whether two arms differ, or which of them a third one is like."""

    good: Name
    bad: Name
    asked: Name | None = None
    """Null: whether the bad one differs from the good one."""
    sign: Literal[-1, 1] | None = None
    """Of ln(bad / good), as an earlier session found it; null with `asked`."""

    @model_validator(mode="after")
    def _sign_goes_with_asked(self) -> Contrast:
        if (self.asked is None) != (self.sign is None):
            raise ValueError("asked and sign go together")
        return self


class Within(StrictModel):
    """What a session that asks whether a promotion holds in another environment stops by: the verdict on one arm, as
    if the stock model in that environment were the baseline. All three arms run there."""

    stock: Name
    """The stock model there, in the place of the baseline."""
    again: Name
    """The same once more, in the place of the null arm."""
    asked: Name
    of: Name
    """The variant that the asked arm is there, as it is called here."""


class Plan(StrictModel):
    """Everything a session will do; fixed before its first process starts and never changed by a resume."""

    algorithm: Positive
    """Number of the way in which the processes were drawn up from the rest of the plan."""
    family: Name
    checkpoint: Checkpoint
    conditions: Conditions
    backend: Backend
    tokens: tuple[Positive, ...] = Field(min_length=1)
    """Budgets, ascending."""
    blocks: Positive
    """Blocks of all arms: at each budget under algorithm 1, of every budget together since. Where there are looks, the
    most."""
    estimator: Estimator = "mean"
    """What every ratio of the session's blocks is estimated with; sessions from before there was a choice: the mean."""
    looks: tuple[Positive, ...] = ()
    """After how many blocks the decision is asked whether to stop, the last of them `blocks`; empty where all blocks
    are run whatever they show."""
    contrast: Contrast | None = None
    """What its looks ask in the place of its variants' verdicts; null in all sessions but a bisection's."""
    within: Within | None = None
    """The arms whose verdict its looks ask for; null in all sessions but those of `zmlx upgrade-check`."""
    seed: Count
    cooldown_s: NonNegative = 0.0
    cool_at_most_s: NonNegative | None = None
    """Longest wait before a timed process for the machine to be as cool as at the session's start; null: none."""
    timeouts: Timeouts = Timeouts()
    audit_positions: Positive | None = None
    """Tokens of each prompt's answer that the audit forces; null without an audit."""
    prompts: PromptSet
    encoded: Encoded | None = None
    """The prompts as token ids; null in evidence from before they were made once a session."""
    arms: tuple[Arm, ...] = Field(min_length=1)
    jobs: tuple[Job, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _encoded_fits_prompts(self) -> Plan:
        if self.encoded is not None:
            self.encoded.check(self.prompts)
        return self

    @model_validator(mode="after")
    def _context_fits(self) -> Plan:
        if self.encoded is not None and (self.conditions.context is not None) != bool(self.encoded.context_pieces):
            raise ValueError("encoded.context_pieces: must be there where, and only where, there is a context")
        return self

    def token_ids(self, prompt: str) -> tuple[int, ...]:
        """Return a prompt's token ids; KeyError where it is none of the plan's, or the plan has none."""
        if self.encoded is None:
            raise KeyError(prompt)
        return self.encoded.token_ids[prompt]

    def arm(self, name: str) -> Arm:
        """Return the arm called `name`; KeyError when there is none."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise KeyError(name)
