"""Raw records: what one process measured. Everything else in a capsule is derived from these."""

from __future__ import annotations

from pydantic import model_validator

from zmlx_bench.schema.base import Count, Name, NonEmpty, NonNegative, Positive, Role, Sha256, Status, StrictModel
from zmlx_bench.schema.kernel import Site
from zmlx_bench.schema.machine import MachineState


class Depth(StrictModel):
    """MLX's memory when every sequence had `length` tokens, those of the context included."""

    length: Positive
    active_gb: NonNegative
    cache_gb: NonNegative
    peak_gb: NonNegative
    """Since the prompt went in; of the context since it did."""


class Filled(StrictModel):
    """The context that a process prefilled once, before every prompt."""

    tokens: Positive
    sha256: Sha256
    """Of its token ids."""
    seconds: NonNegative
    depths: tuple[Depth, ...] = ()


class CacheKind(StrictModel):
    """The caches of one class that a model had after the first token."""

    name: NonEmpty
    layers: Positive
    bits: Positive | None = None
    group_size: Positive | None = None
    """Values that share a scale."""
    max_size: Positive | None = None
    """Most tokens that one holds; null: all."""


class Beside(StrictModel):
    """A sequence that was decoded in the same steps as the prompt's own."""

    prompt: Name
    prompt_tokens: Positive
    prompt_sha256: Sha256 | None
    output: Sha256
    """Hash of its generated token ids, as many as the prompt's own."""


class Generation(StrictModel):
    """One prompt answered by one process."""

    prompt: Name
    prompt_tokens: Positive
    prompt_sha256: Sha256 | None = None
    """Of the token ids that the process prefilled; null in evidence from before processes told it."""
    output: Sha256
    """Hash of the generated token ids; the ids stand in the capsule's `outputs`."""
    tokens: Positive
    """How many tokens were generated."""
    ttft_s: NonNegative
    """Time to first token, worker's clock."""
    decode_s: NonNegative
    """From the first to the last token, worker's clock."""
    supervisor_decode_s: NonNegative
    """The same tokens by the supervisor's clock."""
    token_us: tuple[Count, ...]
    """Microseconds between successive tokens, `tokens - 1` of them; empty for untimed prompts."""
    peak_mem_gb: NonNegative
    """`mx.get_peak_memory()`, reset before this prompt."""
    active_before_gb: NonNegative
    """`mx.get_active_memory()` before this prompt: the weights."""
    cache_gb: NonNegative
    """`mx.get_cache_memory()` after this prompt."""
    margins: tuple[NonNegative, ...] = ()
    """Top-1 minus top-2 log-probability at each token; only where the untimed process recorded them."""
    beside: tuple[Beside, ...] = ()
    """The other sequences of the batch; empty where one is decoded at once. `tokens` and times are of the steps."""
    depths: tuple[Depth, ...] = ()
    """Memory at each power of two of the length and at the last one; empty under the default conditions."""


class Run(StrictModel):
    """One process of an arm."""

    arm: Name
    role: Role
    job: Count
    """Index into the plan's jobs."""
    block: Positive | None = None
    position: Positive | None = None
    tokens: Positive
    """Budget."""
    of_tokens: Positive | None = None
    """How many tokens the process went on to generate, where this budget is their prefix; null where it is all."""
    status: Status
    message: str | None = None
    """Why the status is not `ok`: one line, then the end of standard error."""
    exit_code: int | None = None
    """Of the worker; negative is a signal."""
    load_s: NonNegative | None = None
    warm_up_s: NonNegative | None = None
    generations: tuple[Generation, ...] = ()
    calls_per_token: dict[Site, NonNegative] = {}
    """How often each replaced site ran per decoded token, counted in the process."""
    filled: Filled | None = None
    """The context that stood before every prompt; null where there was none."""
    caches: tuple[CacheKind, ...] = ()
    """What the caches were after the first token; empty under the default conditions."""
    peak_rss_gb: NonNegative | None = None
    """Peak resident set of the process (on macOS getrusage's, which leaves out what Metal wires)."""
    peak_footprint_gb: NonNegative | None = None
    """macOS: peak phys_footprint of the process, which holds what was wired, compressed and swapped of it too."""
    energy_j: NonNegative | None = None
    """Joules that the device used from the first token of a timed run to the last; null where no counter tells."""
    page_faults_minor: Count | None = None
    page_faults_major: Count | None = None
    waited_s: NonNegative | None = None
    """Seconds for which the session waited before it for the machine to cool down; null where it was not to."""
    before: MachineState | None = None
    after: MachineState | None = None

    @model_validator(mode="after")
    def _status_fits_fields(self) -> Run:
        if self.status == "ok" and not self.generations:
            raise ValueError("a run with status 'ok' needs its generations")
        if self.status != "ok" and not self.message:
            raise ValueError(f"a run with status {self.status!r} needs a message")
        return self


class RunSet(StrictModel):
    """All processes that one capsule rests on: one budget, one variant, and what it is compared with."""

    baseline: tuple[Run, ...] = ()
    null: tuple[Run, ...] = ()
    incumbent: tuple[Run, ...] = ()
    """Empty where no incumbent was measured beside the variant, or where the variant is the incumbent."""
    variant: tuple[Run, ...] = ()

    @property
    def by_role(self) -> tuple[tuple[Role, tuple[Run, ...]], ...]:
        """Each role with its runs, the stock model's first."""
        return (
            ("baseline", self.baseline),
            ("null", self.null),
            ("incumbent", self.incumbent),
            ("variant", self.variant),
        )

    @property
    def every(self) -> tuple[Run, ...]:
        """All runs, in the order of `by_role`."""
        return tuple(run for _, runs in self.by_role for run in runs)
