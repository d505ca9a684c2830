"""`python -m zmlx_bench.bench FD`: measures the tasks that standard input names and sends rows to FD.

A kernel may take the process with it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from zmlx_bench.bench.schema import AllDone, BenchInstructions, BenchRow, BenchTask, RowMeasured, TaskStarted
from zmlx_bench.measured.contract import BindRequest, Unavailable
from zmlx_bench.measured.worker.lean import import_loop
from zmlx_bench.measured.worker.pipe import Pipe


def main() -> int:
    """Measure every task; what one raises becomes its row."""
    told = BenchInstructions.model_validate_json(sys.stdin.buffer.read())
    pipe = Pipe(int(sys.argv[1]))
    pipe.leave_with_reader()
    os.environ["HF_HUB_OFFLINE"] = "1"
    import mlx.core as mx

    from zmlx_bench.measured.worker import device

    device.take(told.backend)
    import_loop()
    from zmlx_bench.bench import modules
    from zmlx_bench.bench.chain import copy_gb_s
    from zmlx_bench.measured import loader
    from zmlx_bench.measured.families import loading

    loader.open_kernels(Path(told.kernels))
    copied = copy_gb_s(told.backend != "cpu")
    layer = modules.build(
        loading.load(Path(told.family_folder)),
        told.seed,
        told.sizes,
        whole_vocabulary=any("linear" in task.sites for task in told.tasks),
    )
    for index, task in enumerate(told.tasks):
        pipe.line(_line(TaskStarted(index=index)))
        for row in measure(told, task, layer, copied):
            pipe.line(_line(RowMeasured(row=row)))
            mx.clear_cache()
    pipe.line(_line(AllDone()))
    return 0


def _line(event: TaskStarted | RowMeasured | AllDone) -> bytes:
    return event.model_dump_json().encode()


def measure(told: BenchInstructions, task: BenchTask, layer: Any, copied: float) -> Iterator[BenchRow]:
    """Yield the rows of one task: each module to which the kernel can be bound, each batch."""
    sites, places = "+".join(task.sites), layer.places(task.sites)
    if not places:
        yield BenchRow.of(task, told.family, "unavailable", f"no site {sites} here")
    for place in places:
        if place.span is None:
            reason = f"attention runs between the launches of {sites}: zmlx run measures it"
            yield BenchRow.of(task, told.family, "unavailable", reason)
            continue
        for batch in told.batches:
            yield _at(told, task, layer, place, batch, copied)


def _at(
    told: BenchInstructions,
    task: BenchTask,
    layer: Any,
    place: Any,
    batch: int,
    copied: float,
) -> BenchRow:
    import mlx.core as mx

    from zmlx_bench.bench.measure import prepare
    from zmlx_bench.measured import loader

    row = partial(BenchRow.of, task, told.family, module=place.name, batch=batch)
    if task.max_tokens is not None and batch > task.max_tokens:
        return row("unavailable", f"serves at most {task.max_tokens} tokens")
    request = BindRequest(task.sites, task.mode, told.backend, place.kinds)
    mx.random.seed(told.seed + batch)
    try:
        bind = loader.load_bind(task.kernel)
        bench = prepare(
            place.span, place.module, layer.config, batch, lambda copy: bind(copy, request), copied, told.effort
        )
        return row("ok").model_copy(update={"figures": bench.figures()})
    except Unavailable as error:
        return row("unavailable", str(error))
    except Exception as error:  # noqa: BLE001 - whatever a kernel raises is reported, not lost
        traceback.print_exc()
        return row("crash", f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
