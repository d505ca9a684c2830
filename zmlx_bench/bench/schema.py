"""What `zmlx kernels bench` measures: instructions of its process, the events on its pipe, and the report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zmlx_bench.schema.base import Backend, Count, Name, NonEmpty, NonNegative, Positive, Status, StrictModel, UtcTime
from zmlx_bench.schema.kernel import Numerics, Site
from zmlx_bench.schema.machine import Machine


class BenchTask(StrictModel):
    """One mode of one kernel for one family, to be measured or compared."""

    kernel: Name
    mode: Name
    numerics: Numerics
    sites: tuple[Site, ...]
    max_tokens: Positive | None
    """Null: any."""


class BenchInstructions(StrictModel):
    """All that a process is told: the tasks of one family."""

    family: Name
    family_folder: str
    """Its facts.toml and family.py."""
    backend: Backend
    kernels: str
    """Folder of the workspace's kernels."""
    tasks: tuple[BenchTask, ...]
    batches: tuple[Positive, ...]
    seed: Count
    sizes: dict[str, int | float | bool | str] = {}
    """Replaces sizes of the published model: for tests."""
    effort: NonNegative = 1.0
    """Scales the time that each figure may take."""


class Spread(StrictModel):
    """Median and range of repeated samples."""

    median: NonNegative
    low: NonNegative
    high: NonNegative


class Deviation(StrictModel):
    """How far an output is from the float32 reference on the same inputs."""

    largest: NonNegative
    """Largest absolute difference of any element."""
    relative: NonNegative
    """Euclidean norm of the difference over that of the reference."""


class BenchFigures(StrictModel):
    """One kernel at one batch, beside stock's own steps."""

    us: Spread
    """Microseconds a call in a chain of dependent calls with weights that are not in a cache; nothing subtracted."""
    stock_us: Spread
    speedup: Spread
    """Stock's time over the kernel's, of samples taken one after the other."""
    link_us: Spread
    """What a link of the chain costs by itself: it is part of `us` and `stock_us`."""
    samples: Positive
    calls: Positive
    """Calls in one sample: one evaluation."""
    copies: Positive
    """Distinct inputs that the calls rotate over."""
    weight_copies: Positive
    """Distinct copies of the weights that the calls rotate over."""
    weight_bytes: NonNegative
    """Weights that a call reads, mean over the copies."""
    activation_bytes: Count
    """Inputs and outputs of a call."""
    gb_s: NonNegative
    """Weights and activations over `us`."""
    copy_gb_s: NonNegative
    """A large array copied by MLX, bytes read and written, in the same process."""
    share: NonNegative
    """`gb_s` over `copy_gb_s`."""
    share_without_link: NonNegative | None
    """The same with the link's time taken off; null where the link takes all of it."""
    temporary_bytes: Count
    """Peak memory of a call above its inputs and outputs."""
    stock_temporary_bytes: Count
    differing: Count
    """Elements whose bits differ from stock's, of `compared`."""
    compared: Positive
    error: Deviation
    stock_error: Deviation

    @property
    def identical(self) -> bool:
        """Whether every bit is stock's."""
        return self.differing == 0


class BenchRow(StrictModel):
    """One mode of one kernel at one module and batch."""

    kernel: Name
    mode: Name
    numerics: Numerics
    family: Name
    sites: tuple[Site, ...]
    module: str | None
    """Name of the module it was bound to; null where it came to none."""
    batch: Positive | None
    """Sequences, each with one token; null where the reason holds for every batch."""
    status: Status
    reason: str | None = None
    """Why there are no figures."""
    figures: BenchFigures | None = None

    @classmethod
    def of(
        cls,
        task: BenchTask,
        family: str,
        status: Status,
        reason: str | None = None,
        *,
        module: str | None = None,
        batch: int | None = None,
    ) -> BenchRow:
        """Return the row of a task, without figures."""
        return cls(
            kernel=task.kernel,
            mode=task.mode,
            numerics=task.numerics,
            family=family,
            sites=task.sites,
            module=module,
            batch=batch,
            status=status,
            reason=reason,
        )


class TaskStarted(StrictModel):
    """The task at this index is being measured."""

    event: Literal["task"] = "task"
    index: Count


class RowMeasured(StrictModel):
    """A row is done."""

    event: Literal["row"] = "row"
    row: BenchRow


class AllDone(StrictModel):
    """The last event of a process that came through."""

    event: Literal["done"] = "done"


BenchEvent = Annotated[TaskStarted | RowMeasured | AllDone, Field(discriminator="event")]


class BenchReport(StrictModel):
    """The whole answer."""

    schema_version: Literal[1]
    time: UtcTime
    machine: Machine
    mlx: NonEmpty
    mlx_lm: NonEmpty
    zmlx: NonEmpty
    seed: Count
    shared_device: bool = False
    """Measured although another command may have measured on the device, on request."""
    rows: tuple[BenchRow, ...]
