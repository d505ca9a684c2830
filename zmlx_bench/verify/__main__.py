"""`python -m zmlx_bench.verify FD`: compares the kernels that standard input names with stock and sends rows to FD.

A kernel may take the process with it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from zmlx_bench.bench.schema import AllDone, TaskStarted
from zmlx_bench.measured.worker.lean import import_loop
from zmlx_bench.measured.worker.pipe import Pipe
from zmlx_bench.schema.base import StrictModel
from zmlx_bench.verify.schema import Compared, Instructions, Probed


def main() -> int:
    """Compare every task; what one raises becomes its row."""
    told = Instructions.model_validate_json(sys.stdin.buffer.read())
    pipe = Pipe(int(sys.argv[1]))
    pipe.leave_with_reader()

    def send(event: StrictModel) -> None:
        pipe.line(event.model_dump_json().encode())

    os.environ["HF_HUB_OFFLINE"] = "1"
    from zmlx_bench.measured.worker import device

    device.take(told.backend)
    import_loop()
    from zmlx_bench.measured import loader
    from zmlx_bench.verify import probes

    if told.probe:
        for probe in probes.ask(told.backend):
            send(Probed(probe=probe))
    loader.open_kernels(Path(told.kernels))
    from zmlx_bench.verify.compare import Comparison

    comparison = Comparison(told)
    for index, task in enumerate(told.tasks):
        send(TaskStarted(index=index))
        for row in comparison.rows(task):
            send(Compared(row=row))
    send(AllDone())
    return 0


if __name__ == "__main__":
    sys.exit(main())
