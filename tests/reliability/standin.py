"""A worker that measures nothing and speaks the real protocol at once: for tests that need many processes.

`STANDIN_TOKEN_S` makes each token take as long.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from zmlx_bench.measured.messages import digest


def work(told: dict[str, Any], fd: int, at: Callable[[str], None] = lambda _: None) -> None:
    """Answer every prompt with the tokens 0, 1, 2... on the descriptor `fd`.

    `at` is called in each phase: load, prefill, decode.
    """
    pause = float(os.environ.get("STANDIN_TOKEN_S", "0"))

    def send(event: str, **fields: Any) -> None:
        os.write(fd, json.dumps({"event": event, **fields}).encode() + b"\n")

    at("load")
    variant = told["variant"]
    sites = [site for kernel in variant["kernels"] for site in kernel["sites"]] if variant else []
    send("loaded", load_s=0.1, mlx="0", mlx_lm="0")
    if variant:
        send("patched", hosts=dict.fromkeys(sites, 1))
    send("prompts", sha256={prompt["id"]: digest(prompt["token_ids"]) for prompt in told["prompts"]})
    send("warmed", warm_up_s=0.1, calls_per_token=dict.fromkeys(sites, 1.0))
    for prompt in told["prompts"]:
        start = time.perf_counter_ns()
        length = len(prompt["token_ids"])
        send("prompt", prompt=prompt["id"], prompt_tokens=length, t_ns=start, active_before_gb=0.0)
        at("prefill")
        for token in range(told["tokens"]):
            time.sleep(pause)
            send("token", id=token, t_ns=max(time.perf_counter_ns(), start + 1), margin=None)
            if prompt == told["prompts"][0] and token + 1 in told["prefixes"]:
                used = {"peak_rss_gb": 0.1, "page_faults_minor": 1, "page_faults_major": 0}
                send("prefix", tokens=token + 1, peak_mem_gb=0.1, cache_gb=0.0, **used)
            if token == 1:
                at("decode")
        send("prompt_end", prompt=prompt["id"], peak_mem_gb=0.1, cache_gb=0.0)
    cpu_s = time.process_time()
    send("done", peak_rss_gb=0.1, page_faults_minor=1, page_faults_major=0, cpu_s=cpu_s)


COMMAND = (
    "from zmlx_bench.cli.main import main; from zmlx_bench.session import runner; "
    "runner.WORKER_MODULE = 'tests.reliability.standin'; main()"
)
"""Python that runs `zmlx` with these workers; the checkout must be the working directory."""

if __name__ == "__main__":
    work(json.loads(sys.stdin.read()), int(sys.argv[1]))
