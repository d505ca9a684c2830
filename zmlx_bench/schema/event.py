"""What a worker says on its pipe, checked, and what `events.jsonl` keeps of it; `measured.messages` is its own side."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zmlx_bench.schema.audit import ArmTrace
from zmlx_bench.schema.base import (
    Count,
    Name,
    NonEmpty,
    NonNegative,
    Positive,
    Sha256,
    Status,
    StrictModel,
    UtcTime,
)
from zmlx_bench.schema.kernel import Site
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.schema.run import CacheKind, Depth, Filled


class Loaded(StrictModel):
    """The checkpoint is in memory."""

    event: Literal["loaded"] = "loaded"
    load_s: NonNegative
    mlx: NonEmpty
    mlx_lm: NonEmpty
    chat_template: bool | None = None
    """In logs from before prompts were made token ids once a session; null since."""


class Patched(StrictModel):
    """The variant is applied; how many modules each site was found in."""

    event: Literal["patched"] = "patched"
    hosts: dict[Site, Positive]


class Filling(StrictModel):
    """So many tokens of the context are in the cache: said after each chunk."""

    event: Literal["filling"] = "filling"
    tokens: Positive


class FilledEvent(Filled):
    """The context is prefilled."""

    event: Literal["filled"] = "filled"


class Caches(StrictModel):
    """What the caches were after the first token."""

    event: Literal["caches"] = "caches"
    caches: tuple[CacheKind, ...]


class Deepened(StrictModel):
    """What a prompt's answer took as it grew; told after its end."""

    event: Literal["deepened"] = "deepened"
    prompt: Name
    depths: tuple[Depth, ...]


class Warmed(StrictModel):
    """Warm-up is over."""

    event: Literal["warmed"] = "warmed"
    warm_up_s: NonNegative
    calls_per_token: dict[Site, NonNegative]


class Prompts(StrictModel):
    """What will be prefilled, told before the first prompt goes in: SHA-256 of each one's token ids."""

    event: Literal["prompts"] = "prompts"
    sha256: dict[Name, Sha256]


class PromptStart(StrictModel):
    """A prompt goes in; `t_ns` is the worker's clock (perf_counter) at that moment."""

    event: Literal["prompt"] = "prompt"
    prompt: Name
    prompt_tokens: Positive
    t_ns: Count
    active_before_gb: NonNegative


class Token(StrictModel):
    """One generated token and when the worker had it."""

    event: Literal["token"] = "token"
    id: Count
    t_ns: Count
    margin: NonNegative | None = None
    others: tuple[Count, ...] | None = None
    """Those of the sequences decoded beside it in the same step; null where it is decoded alone."""


class Prefix(StrictModel):
    """A shorter budget is generated, and the prompt goes on: what the process had used when its last token was out."""

    event: Literal["prefix"] = "prefix"
    tokens: Positive
    peak_mem_gb: NonNegative
    cache_gb: NonNegative
    peak_rss_gb: NonNegative
    page_faults_minor: Count
    page_faults_major: Count
    peak_footprint_gb: NonNegative | None = None
    """On macOS."""


class PromptEnd(StrictModel):
    """The budget is generated."""

    event: Literal["prompt_end"] = "prompt_end"
    prompt: Name
    peak_mem_gb: NonNegative
    cache_gb: NonNegative


class Forced(StrictModel):
    """The audit has an arm's logits after a prompt."""

    event: Literal["forced"] = "forced"
    arm: Literal["baseline", "variant", "reference"]
    prompt: Name


class Audited(StrictModel):
    """A prompt's logits are compared with the reference's."""

    event: Literal["audited"] = "audited"
    prompt: Name
    baseline: ArmTrace
    variant: ArmTrace


class Opened(StrictModel):
    """The files of the workspace and of the measured room that a worker opened: absolute paths."""

    event: Literal["opened"] = "opened"
    files: tuple[NonEmpty, ...]


class Done(StrictModel):
    """A worker did its job: nothing is measured after it."""

    event: Literal["done"] = "done"
    peak_rss_gb: NonNegative
    peak_footprint_gb: NonNegative | None = None
    page_faults_minor: Count
    page_faults_major: Count
    cpu_s: NonNegative


class Failed(StrictModel):
    """The last event of a worker that knows why it failed."""

    event: Literal["failed"] = "failed"
    status: Literal["crash", "oom", "unavailable"]
    message: NonEmpty


WorkerEvent = Annotated[
    Loaded
    | Patched
    | Prompts
    | Filling
    | FilledEvent
    | Caches
    | Warmed
    | Deepened
    | PromptStart
    | Token
    | Prefix
    | PromptEnd
    | Forced
    | Audited
    | Opened
    | Done
    | Failed,
    Field(discriminator="event"),
]


class JobStart(StrictModel):
    """A job's process is about to start; an earlier, unfinished attempt at the same job is void."""

    kind: Literal["start"] = "start"
    job: Count
    time: UtcTime
    at: NonNegative | None = None
    """By the clock that stamps the events; null in logs from before it was told."""
    since_boot_s: NonNegative | None = None
    """When `time` was read, by the clock that nobody sets; null in logs from before it was told."""
    resumed: Count = 0
    """How often the session had been taken up again: clocks compare only within one time."""
    waited_s: NonNegative | None = None
    """Seconds waited before for the machine to cool down; null where it was not to."""
    compiled_s: NonNegative | None = None
    """Seconds that a process before took to compile kernels of variants; null where none did."""
    before: MachineState


class JobEvent(StrictModel):
    """A worker's event and when the supervisor had it (seconds, its own perf_counter)."""

    kind: Literal["event"] = "event"
    job: Count
    at: NonNegative
    event: WorkerEvent


class JobEnd(StrictModel):
    """A job's process has ended."""

    kind: Literal["end"] = "end"
    job: Count
    time: UtcTime
    at: NonNegative | None = None
    """By the clock that stamps the events; null in logs from before it was told."""
    since_boot_s: NonNegative | None = None
    """When `time` was read, by the clock that nobody sets; null in logs from before it was told."""
    status: Status
    message: str | None = None
    exit_code: int | None = None
    energy_j: NonNegative | None = None
    """Of a timed job: what the device used from the first token to the end of the prompt; null where unknown."""
    prefix_energy_j: dict[Positive, NonNegative] = {}
    """The same to the last token of each shorter budget that the job serves, where known."""
    after: MachineState


LogLine = Annotated[JobStart | JobEvent | JobEnd, Field(discriminator="kind")]
