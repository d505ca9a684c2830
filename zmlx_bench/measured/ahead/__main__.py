"""`python -m zmlx_bench.measured.ahead FD`: one JSON object on standard input, `instructions` of jobs and by variant a
`mark`; to FD lines as it goes on. Where a variant's kernels are compiled, a file of that name says which they are.

Whatever fails here, the job says: there MLX compiles what it does not find.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path

from zmlx_bench.measured import messages
from zmlx_bench.measured.worker.lean import import_loop
from zmlx_bench.measured.worker.pipe import Pipe

MARKS = Path("mlx") / "ahead"
"""Below the temporary folder; MLX's own folder is beside it."""


def main() -> int:
    """Compile; 0 when every variant was tried: one that fails has no mark."""
    # Who is silent for too long is ended, and says where it was.
    faulthandler.register(signal.SIGTERM, chain=True)
    pipe = Pipe(int(sys.argv[1]))
    pipe.leave_with_reader()
    os.environ["HF_HUB_OFFLINE"] = "1"
    told = json.loads(sys.stdin.buffer.read())
    jobs = [messages.instructions(json.dumps(each).encode("ascii")) for each in told["instructions"]]
    from zmlx_bench.measured.worker import device

    device.take(jobs[0].backend)
    import_loop()
    from zmlx_bench.measured.ahead.answer import compiled

    for name, files in compiled(jobs, lambda: pipe.line(b"{}")):
        if files is not None:
            mark(told["marks"][name], files)
    return 0


def mark(name: str, files: Iterable[Path]) -> None:
    """Write down which files of the temporary folder a variant's kernels are."""
    temporary = Path(tempfile.gettempdir())
    path = temporary / MARKS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = sorted({file.relative_to(temporary).as_posix() for file in files})
    handle, written = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(lines, file)
    Path(written).replace(path)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Exception:  # noqa: BLE001 - the jobs compile for themselves then
        traceback.print_exc()
        sys.exit(1)
