"""A worker that follows a script instead of measuring: speaks the real protocol over the real pipe.

`SCRIPT` names a function below; the tests run it with `python -m`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

told = json.loads(sys.stdin.read()) if os.environ.get("SCRIPT") != "deaf" else {}
fd = int(sys.argv[1])

LOADED = {"event": "loaded", "load_s": 0.1, "mlx": "1", "mlx_lm": "1"}
PROMPTS = {"event": "prompts", "sha256": {"p": "0" * 64}}
WARMED = {"event": "warmed", "warm_up_s": 0.1, "calls_per_token": {}}
PROMPT = {"event": "prompt", "prompt": "p", "prompt_tokens": 3, "t_ns": 1, "active_before_gb": 0.0}
END = {"event": "prompt_end", "prompt": "p", "peak_mem_gb": 0.1, "cache_gb": 0.0}
DONE = {"event": "done", "peak_rss_gb": 0.1, "page_faults_minor": 1, "page_faults_major": 0, "cpu_s": 0.25}


def send(*events: dict[str, Any]) -> None:
    for event in events:
        os.write(fd, json.dumps(event).encode() + b"\n")


def token(i: int) -> dict[str, Any]:
    return {"event": "token", "id": i, "t_ns": i}


def good() -> None:
    send(LOADED, PROMPTS, WARMED, PROMPT, token(1), token(2), END, DONE)


def slow_but_alive() -> None:
    send(LOADED, WARMED, PROMPT)
    for i in range(8):
        time.sleep(0.1)
        send(token(i))
    send(END, DONE)


def byte_by_byte() -> None:
    for byte in b"".join(json.dumps(e).encode() + b"\n" for e in (LOADED, WARMED, DONE)):
        os.write(fd, bytes([byte]))


def prints() -> None:
    print(json.dumps(DONE), flush=True)
    print('{"event": "token"', file=sys.stderr, flush=True)
    good()


def silent_at_load() -> None:
    time.sleep(60)


def silent_in_warm_up() -> None:
    send(LOADED)
    time.sleep(60)


def silent_in_prefill() -> None:
    send(LOADED, WARMED, PROMPT)
    time.sleep(60)


def silent_in_decode() -> None:
    send(LOADED, WARMED, PROMPT, token(1))
    time.sleep(60)


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    send(LOADED)
    time.sleep(60)


def lingers() -> None:
    good()
    os.close(fd)
    time.sleep(60)


def forks() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(child.pid, flush=True)
    good()


def garbage() -> None:
    os.write(fd, b"\xff\xfe not json\n")
    time.sleep(60)


def unknown_event() -> None:
    send({"event": "surprise"})
    time.sleep(60)


def nan() -> None:
    os.write(fd, b'{"event":"loaded","load_s":NaN,"mlx":"1","mlx_lm":"1"}\n')
    time.sleep(60)


def endless_line() -> None:
    for _ in range(40):
        os.write(fd, b"x" * 65536)
    time.sleep(60)


def half_a_line() -> None:
    send(LOADED)
    os.write(fd, b'{"event":"tok')


def exits() -> None:
    send(LOADED)
    print("the last words", file=sys.stderr, flush=True)
    os._exit(7)


def exits_after_done() -> None:
    good()
    os._exit(7)


def leaves_early() -> None:
    send(LOADED, WARMED)


def killed() -> None:
    send(LOADED)
    os.kill(os.getpid(), signal.SIGKILL)


def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def says_oom() -> None:
    send({"event": "failed", "status": "oom", "message": "no memory"})
    sys.exit(1)


def says_unavailable() -> None:
    send({"event": "failed", "status": "unavailable", "message": "not here"})
    sys.exit(1)


def deaf() -> None:
    os._exit(3)


def chatty() -> None:
    print("x" * 100_000 + "END OF LOG", flush=True)
    os._exit(1)


globals()[os.environ["SCRIPT"]]()
