"""`python -m zmlx_bench.measured.screening FD`: instructions on standard input, a line each, the stock model's first
and then each variant's; events of the cross-over to FD."""

from __future__ import annotations

import os
import sys
import traceback

from zmlx_bench.measured import messages
from zmlx_bench.measured.worker.failing import failed
from zmlx_bench.measured.worker.lean import import_loop
from zmlx_bench.measured.worker.pipe import Pipe


def main() -> int:
    """Cross over; 0 when every arm had its segments or was dropped, 1 when the last event says why not."""
    pipe = Pipe(int(sys.argv[1]))
    pipe.leave_with_reader()
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        told = [messages.instructions(line) for line in sys.stdin.buffer.read().splitlines()]
        from zmlx_bench.measured.worker import device

        device.take(told[0].backend)
        import_loop()
        from zmlx_bench.measured.worker.crossover import cross_over

        device.check_generation_stream()
        cross_over(told, pipe)
    except Exception as error:  # noqa: BLE001 - whatever a kernel raises is reported, not lost
        told_last = failed(error)
        # An arm that is unavailable has said why in its sentence.
        if told_last.status != "unavailable":
            traceback.print_exc()
        pipe.send(told_last)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
