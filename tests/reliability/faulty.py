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

FORKED = "import time; time.sleep(3600)"
SIGNALS = {"sigkill": signal.SIGKILL, "sigsegv": signal.SIGSEGV, "sigbus": signal.SIGBUS, "sigabrt": signal.SIGABRT}
LEFT_FREE = 64 << 20


def work(told: dict[str, Any]) -> None:
    """Answer every prompt with the tokens 0, 1, 2... and break where the variant says."""
    fd, variant = told["events_fd"], told["variant"]
    phase, _, fault = (variant["name"] if variant else "").partition("_")

    def send(event: str, **fields: Any) -> None:
        os.write(fd, json.dumps({"event": event, **fields}).encode() + b"\n")

    def at(here: str) -> None:
        if here == phase:
            print(f"the last words while in {here}", file=sys.stderr, flush=True)
            break_down(fault, fd)

    at("load")
    sites = [site for kernel in variant["kernels"] for site in kernel["sites"]] if variant else []
    send("loaded", load_s=0.1, mlx="0", mlx_lm="0", chat_template=False)
    if variant:
        send("patched", hosts=dict.fromkeys(sites, 1))
    send("warmed", warm_up_s=0.1, calls_per_token=dict.fromkeys(sites, 1.0))
    for prompt in told["prompts"]:
        start = time.perf_counter_ns()
        send("prompt", prompt=prompt["id"], prompt_tokens=3, t_ns=start, active_before_gb=0.0)
        at("prefill")
        for token in range(told["tokens"]):
            time.sleep(float(os.environ.get("FAULTY_TOKEN_S", "0")))
            send("token", id=token, t_ns=max(time.perf_counter_ns(), start + 1), margin=None)
            if token == 1:
                at("decode")
        send("prompt_end", prompt=prompt["id"], peak_mem_gb=0.1, cache_gb=0.0)
    cpu_s = time.process_time()
    send("done", peak_rss_gb=0.1, page_faults_minor=1, page_faults_major=0, cpu_s=cpu_s)


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
    work(json.loads(sys.stdin.read()))
