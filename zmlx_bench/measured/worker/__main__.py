"""`python -m zmlx_bench.measured.worker FD`: one JSON object of instructions on standard input, events to FD."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Literal

from zmlx_bench.measured import messages
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.worker.lean import import_loop
from zmlx_bench.measured.worker.opened import Opened
from zmlx_bench.measured.worker.pipe import Pipe

_OOM_WORDS = (
    "out of memory", "outofmemory", "insufficient memory", "cannot allocate memory", "bad_alloc", "[malloc",
    "cudamalloc",
)  # fmt: skip


def main() -> int:
    """Do the job; 0 when every token was reported, 1 when the last event says why not."""
    opened = Opened()
    pipe = Pipe(int(sys.argv[1]))
    pipe.leave_with_reader()
    # The supervisor resolved and checked the checkpoint: nothing is fetched from here.
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        instructions = messages.instructions(sys.stdin.buffer.read())
        from zmlx_bench.measured.worker import device

        device.take(instructions.backend)
        import_loop()
        from zmlx_bench.measured.worker.job import measure

        device.check_generation_stream()
        measure(instructions, pipe)
        files = opened.files(Path(instructions.kernels).parent, [Path(instructions.path)])
        pipe.send(messages.Opened(tuple(files)))
    except Exception as error:  # noqa: BLE001 - whatever a kernel raises is reported, not lost
        traceback.print_exc()
        pipe.send(messages.Failed(status=_classify(error), message=f"{type(error).__name__}: {error}"))
        return 1
    return 0


def _classify(error: Exception) -> Literal["crash", "oom", "unavailable"]:
    if isinstance(error, Unavailable):
        return "unavailable"
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _OOM_WORDS):
        return "oom"
    return "crash"


if __name__ == "__main__":
    sys.exit(main())
