"""`python -m zmlx_bench.measured.worker FD`: one JSON object of instructions on standard input, events to FD."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from zmlx_bench.measured import messages
from zmlx_bench.measured.worker.failing import failed
from zmlx_bench.measured.worker.lean import import_loop
from zmlx_bench.measured.worker.opened import Opened
from zmlx_bench.measured.worker.pipe import Pipe


def main() -> int:
    """Do the job; 0 when every token was reported, 1 when the last event says why not."""
    opened = Opened()
    pipe = Pipe(int(sys.argv[1]))
    pipe.leave_with_reader()
    # The supervisor resolved and checked the checkpoint: nothing is fetched from here.
    os.environ["HF_HUB_OFFLINE"] = "1"
    elsewhere = False
    try:
        instructions = messages.instructions(sys.stdin.buffer.read())
        elsewhere = instructions.elsewhere
        from zmlx_bench.measured.worker import device

        device.take(instructions.backend)
        import_loop()
        from zmlx_bench.measured.worker.job import measure

        device.check_generation_stream()
        measure(instructions, pipe)
        files = opened.files(Path(instructions.kernels).parent, [Path(instructions.path)])
        pipe.send(messages.Opened(tuple(files)))
    except Exception as error:  # noqa: BLE001 - whatever a kernel raises is reported, not lost
        told_last = failed(error, elsewhere=elsewhere)
        # An arm that is unavailable has said why in its sentence.
        if told_last.status != "unavailable":
            traceback.print_exc()
        pipe.send(told_last)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
