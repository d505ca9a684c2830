"""What a worker is told and what it tells: plain data, so that it needs no other library and any environment will do.

The supervisor checks what it reads with the models of the same names in `schema.event`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from zmlx_bench.measured.variant import KernelUse, Variant

PROTOCOL = 4
"""Version of the instructions and of the events; a worker refuses instructions of another one."""


@dataclass(frozen=True)
class Prompt:
    """What to answer, as the token ids that all processes of a session are given."""

    id: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How the model is run where that is not the default way."""

    context: tuple[int, ...] = ()
    """Token ids that stand before every prompt; each process prefills them once."""
    batches: tuple[tuple[str, ...], ...]
    """The prompts that are answered in turn, each with those decoded beside it: every tuple as long as the batch."""
    kv_bits: int | None = None
    max_kv_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Instructions:
    """All that a worker is told: one JSON object on its standard input, in UTF-8."""

    family_folder: str
    """Folder with the family's facts.toml and family.py."""
    checkpoint_kind: str
    path: str
    """Folder of the checkpoint; nothing is read from it for `synthetic`."""
    seed: int
    """Of the synthetic weights."""
    layers: int | None = None
    """For `synthetic`: decoder layers to build; None builds all."""
    trust_remote_code: bool = False
    backend: str
    """`cpu`, `cuda` or `metal`."""
    variant: Variant | None
    kernels: str
    """Folder of the workspace's kernels."""
    tokens: int
    prefixes: tuple[int, ...] = ()
    """Shorter budgets, ascending, whose end is reported on the way."""
    prompts: tuple[Prompt, ...]
    margins: bool
    """Whether to record the top-1/top-2 margin of every token (slow; only where nothing is timed)."""
    elsewhere: bool = False
    """Whether this is another environment than the supervisor's: what it lacks is no fault of the arm."""
    forced: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """For the audit: the tokens to force after each prompt, in place of generating. Empty: generate."""
    conditions: Conditions | None = None
    """None: one sequence after the other, with nothing before it, and the model's own cache."""

    def encoded(self) -> bytes:
        """Return the JSON that `instructions` reads; escapes alone, so that any path comes through."""
        return json.dumps({"protocol": PROTOCOL, **dataclasses.asdict(self)}, allow_nan=False).encode("ascii")


def instructions(data: bytes) -> Instructions:
    """Read what `Instructions.encoded` wrote; ValueError for another protocol."""
    told = json.loads(data.decode("utf-8"))
    if (protocol := told.pop("protocol", None)) != PROTOCOL:
        raise ValueError(
            f"instructions of protocol {protocol}, and this worker knows {PROTOCOL}: "
            "run the zmlx_bench of the process that gave them"
        )
    if (variant := told["variant"]) is not None:
        uses = tuple(_kernel_use(use) for use in variant["kernels"])
        told["variant"] = Variant(**{**variant, "kernels": uses})
    told["prompts"] = tuple(Prompt(prompt["id"], tuple(prompt["token_ids"])) for prompt in told["prompts"])
    told["prefixes"] = tuple(told["prefixes"])
    told["forced"] = {prompt: tuple(tokens) for prompt, tokens in told["forced"].items()}
    if (asked := told["conditions"]) is not None:
        batches = tuple(tuple(batch) for batch in asked["batches"])
        told["conditions"] = Conditions(**{**asked, "context": tuple(asked["context"]), "batches": batches})
    return Instructions(**told)


def _kernel_use(use: dict[str, Any]) -> KernelUse:
    caches = None if use["caches"] is None else tuple(use["caches"])
    return KernelUse(**{**use, "sites": tuple(use["sites"]), "caches": caches, "needs": tuple(use["needs"])})


def digest(token_ids: Sequence[int]) -> str:
    """Return the SHA-256 (hex) by which token ids are compared: `schema.base.content_hash` of their list."""
    return hashlib.sha256(json.dumps(list(token_ids), separators=(",", ":")).encode("ascii")).hexdigest()


@dataclass(frozen=True)
class Event:
    """What goes through the pipe; a token does so too, but is formatted by `Pipe.token`."""

    event: ClassVar[str]

    def encoded(self) -> bytes:
        """Return one JSON object without a line's end; ValueError where a number is NaN or infinite."""
        fields = {"event": self.event, **dataclasses.asdict(self)}
        return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


@dataclass(frozen=True)
class Loaded(Event):
    """The checkpoint is in memory."""

    event = "loaded"
    load_s: float
    mlx: str
    mlx_lm: str


@dataclass(frozen=True)
class Patched(Event):
    """The variant is applied; how many modules each site was found in."""

    event = "patched"
    hosts: dict[str, int]


@dataclass(frozen=True)
class Depth:
    """Memory when every sequence had `length` tokens in the cache, those of the context included."""

    length: int
    active_gb: float
    cache_gb: float
    peak_gb: float


@dataclass(frozen=True)
class Filling(Event):
    """So many tokens of the context are in the cache: said after each chunk, for a long one takes minutes."""

    event = "filling"
    tokens: int


@dataclass(frozen=True)
class Filled(Event):
    """The context is prefilled: how many tokens of which `digest`, how long it took, and what it took on the way."""

    event = "filled"
    tokens: int
    sha256: str
    seconds: float
    depths: tuple[Depth, ...]


@dataclass(frozen=True)
class CacheKind:
    """The caches of one class that a model has."""

    name: str
    layers: int
    bits: int | None = None
    group_size: int | None = None
    max_size: int | None = None


@dataclass(frozen=True)
class Caches(Event):
    """What the caches were after the first token."""

    event = "caches"
    caches: tuple[CacheKind, ...]


@dataclass(frozen=True)
class Deepened(Event):
    """What a prompt's answer took as it grew; told after its end."""

    event = "deepened"
    prompt: str
    depths: tuple[Depth, ...]


@dataclass(frozen=True)
class Warmed(Event):
    """Warm-up is over."""

    event = "warmed"
    warm_up_s: float
    calls_per_token: dict[str, float]


@dataclass(frozen=True)
class Prompts(Event):
    """What will be prefilled, told before the first prompt goes in: the `digest` of each one's token ids."""

    event = "prompts"
    sha256: dict[str, str]


@dataclass(frozen=True)
class PromptStart(Event):
    """A prompt goes in; `t_ns` is this process's clock (perf_counter) at that moment."""

    event = "prompt"
    prompt: str
    prompt_tokens: int
    t_ns: int
    active_before_gb: float


@dataclass(frozen=True)
class Prefix(Event):
    """A shorter budget is generated, and the prompt goes on: what this process had used when its last token was out."""

    event = "prefix"
    tokens: int
    peak_mem_gb: float
    cache_gb: float
    peak_rss_gb: float
    page_faults_minor: int
    page_faults_major: int
    peak_footprint_gb: float | None = None


@dataclass(frozen=True)
class PromptEnd(Event):
    """The budget is generated."""

    event = "prompt_end"
    prompt: str
    peak_mem_gb: float
    cache_gb: float


@dataclass(frozen=True)
class Forced(Event):
    """The audit has an arm's logits after a prompt."""

    event = "forced"
    arm: Literal["baseline", "variant", "reference"]
    prompt: str


@dataclass(frozen=True)
class ArmTrace:
    """One arm against the reference, position by position."""

    kl: tuple[float, ...]
    """Kullback-Leibler divergence of the arm's distribution of the next token from the reference's, nats."""
    agrees: tuple[bool, ...]
    """Whether the arm's most likely token is the reference's."""
    max_error: tuple[float, ...]
    """Largest absolute difference of any logit."""


@dataclass(frozen=True)
class Audited(Event):
    """A prompt's logits are compared with the reference's."""

    event = "audited"
    prompt: str
    baseline: ArmTrace
    variant: ArmTrace


@dataclass(frozen=True)
class Opened(Event):
    """The files of the workspace and of the measured room that were opened: absolute paths."""

    event = "opened"
    files: tuple[str, ...]


@dataclass(frozen=True)
class Done(Event):
    """The job is done: nothing is measured after it."""

    event = "done"
    peak_rss_gb: float
    page_faults_minor: int
    page_faults_major: int
    cpu_s: float
    peak_footprint_gb: float | None = None


@dataclass(frozen=True)
class Failed(Event):
    """The last event of a worker that knows why it failed."""

    event = "failed"
    status: Literal["crash", "oom", "unavailable"]
    message: str
