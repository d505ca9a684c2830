"""Workers that do what the name of their variant says: `<phase>_<fault>`; the stock arms answer as they should.

Phases: load, prefill, decode. What a fault forks is written to the file that `FAULTY_PIDS` names.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.reliability import standin

FORKED = "import time; time.sleep(3600)"
SIGNALS = {"sigkill": signal.SIGKILL, "sigsegv": signal.SIGSEGV, "sigbus": signal.SIGBUS, "sigabrt": signal.SIGABRT}
LEFT_FREE = 64 << 20


def work(told: dict[str, Any], fd: int) -> None:
    """Answer as the stand-in does and break where the variant says."""
    variant = told["variant"]
    phase, _, fault = (variant["name"] if variant else "").partition("_")

    def at(here: str) -> None:
        if here == phase:
            print(f"the last words while in {here}", file=sys.stderr, flush=True)
            if fault == "retokenises":
                told["prompts"][0]["token_ids"].append(0)
            else:
                break_down(fault, fd)

    standin.work(told, fd, at)


def break_down(fault: str, fd: int) -> None:
    """Do what `fault` names; return where the worker lives on."""
    if fault in SIGNALS:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), SIGNALS[fault])
    elif fault == "hangs":
        time.sleep(3600)
    elif fault == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    elif fault == "garbage":
        os.write(fd, os.urandom(4096).replace(b"\n", b" ") + b"\n")
        time.sleep(3600)
    elif fault == "megabytes":
        for _ in range(8):
            os.write(1, b"\xff\x00out " * 100_000)
            os.write(2, b"\xfe\x1b[2Jerr" * 100_000)
    elif fault == "endless":
        while True:
            os.write(1, b"x" * (1 << 20))
    elif fault == "closes":
        os.close(fd)
        time.sleep(3600)
    elif fault == "forks":
        forked(os.fork())
        os._exit(5)
    elif fault == "children":
        forked(subprocess.Popen([sys.executable, "-c", FORKED]).pid)
    elif fault == "imports":
        import a_module_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401
    elif fault == "space":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + LEFT_FREE, used + LEFT_FREE))
        bytearray(4 * LEFT_FREE)
    elif fault == "group":
        (Path(os.environ["FAULTY_GROUP"]) / "cgroup.procs").write_text(str(os.getpid()))
        bytearray(b"x") * (4 * LEFT_FREE)
    else:
        raise ValueError(fault)


def forked(pid: int) -> None:
    """Note a child; in the child itself hold on to everything that was open, the pipe too."""
    if pid == 0:
        time.sleep(3600)
    with Path(os.environ["FAULTY_PIDS"]).open("a") as file:
        file.write(f"{pid}\n")


COMMAND = (
    "from zmlx_bench.cli.main import main; from zmlx_bench.session import runner; "
    "runner.WORKER_MODULE = 'tests.reliability.faulty'; main()"
)
"""Python that runs `zmlx` with these workers; the checkout must be the working directory."""

if __name__ == "__main__":
    work(json.loads(sys.stdin.read()), int(sys.argv[1]))
