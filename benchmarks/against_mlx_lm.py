"""Is the harness's decode speed what mlx-lm's own benchmark says, and what does the worker's loop cost?

Side by side in one run, on the tiny checkpoints:
1. rounds of `python -m mlx_lm benchmark` and of a zmlx worker process, same checkpoint, prompt length and budget;
2. in one process, turns of a bare `stream_generate` loop and of the worker's loop that reports every token.

mlx-lm divides n tokens by the time after the first one; zmlx divides the n - 1 tokens that this time produced. The
table compares the same quantity: mlx-lm's figure times (n - 1) / n.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zmlx_bench.analysis.decision.statistics import mean_interval
from zmlx_bench.catalog import families
from zmlx_bench.catalog import prompts as prompt_catalog
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.measured.encode import encode, load_tokenizer
from zmlx_bench.measured.messages import Instructions, Prompt
from zmlx_bench.schema.event import PromptStart, Token, WorkerEvent
from zmlx_bench.schema.plan import Timeouts
from zmlx_bench.session.supervise import Worker


def first_prompt(family: str) -> Prompt:
    """Return the prompt that sessions time."""
    prompt = prompt_catalog.load(None).prompt[0]
    tokenizer = load_tokenizer(TINY / f"tiny_{family}", trust_remote_code=False)
    return Prompt(prompt.id, tuple(encode(tokenizer, prompt.text)))


def worker_speed(family: str, tokens: int, scratch: Path) -> tuple[float, int]:
    """Return (decode tok/s by the worker's clock, prompt tokens) of one stock worker process."""
    instructions = Instructions(
        family_folder=str(families.folder(family)),
        checkpoint_kind="tiny",
        path=str(TINY / f"tiny_{family}"),
        seed=0,
        backend="cpu",
        variant=None,
        kernels=str(scratch),
        tokens=tokens,
        prompts=(first_prompt(family),),
        margins=False,
    )
    times: list[int] = []
    lengths: list[int] = []

    def on_event(_at: float, event: WorkerEvent) -> None:
        if isinstance(event, Token):
            times.append(event.t_ns)
        elif isinstance(event, PromptStart):
            lengths.append(event.prompt_tokens)

    outcome = Worker(instructions, dict(os.environ), scratch / "worker.log", "zmlx_bench.measured.worker").watch(
        Timeouts(), on_event
    )
    if outcome.status != "ok":
        sys.exit(f"the worker failed: {outcome.message}")
    return (len(times) - 1) / ((times[-1] - times[0]) / 1e9), lengths[0]


def mlx_lm_speed(family: str, prompt_tokens: int, tokens: int) -> float:
    """Return decode tok/s as `mlx_lm benchmark` prints it, for the n - 1 tokens after the first."""
    command = [sys.executable, "-m", "mlx_lm", "benchmark", "--model", str(TINY / f"tiny_{family}")]
    command += ["-p", str(prompt_tokens), "-g", str(tokens), "-n", "1"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Averages:.*generation_tps=([0-9.]+)", printed)
    if found is None:
        sys.exit(f"mlx_lm benchmark printed no average:\n{printed}")
    return float(found[1]) * (tokens - 1) / tokens


def loop_cost(family: str, tokens: int, turns: int) -> list[float]:
    """Return ln(worker's loop / bare loop) of decode time for each pair of turns in one process."""
    import mlx.core as mx
    from mlx_lm import load, stream_generate

    from zmlx_bench.measured.worker.generate import run_prompt, streamer
    from zmlx_bench.measured.worker.pipe import Pipe
    from zmlx_bench.measured.worker.usage import Usage

    mx.set_default_device(mx.cpu)
    model, tokenizer = load(str(TINY / f"tiny_{family}"))[:2]
    tokenizer.eos_token_ids = ()
    ids = list(first_prompt(family).token_ids)
    generate, usage = streamer(model), Usage()
    read_end, write_end = os.pipe()
    reader = subprocess.Popen(["cat"], stdin=read_end, stdout=subprocess.DEVNULL)

    def bare() -> float:
        first = last = 0.0
        for i, _ in enumerate(stream_generate(model, tokenizer, ids, max_tokens=tokens)):
            last = time.perf_counter()
            if i == 0:
                first = last
        return last - first

    def reporting() -> float:
        stamped: list[int] = []

        class Stamps(Pipe):
            def token(self, token: int, t_ns: int, margin: float | None) -> None:
                stamped.append(t_ns)
                super().token(token, t_ns, margin)

        run_prompt(Stamps(write_end), usage, generate, "prompt", ids, tokens, prefixes=(tokens // 5,))
        return (stamped[-1] - stamped[0]) / 1e9

    bare()
    logs = []
    for turn in range(turns):
        first, second = (bare, reporting) if turn % 2 == 0 else (reporting, bare)
        a, b = first(), second()
        logs.append(math.log(b / a) if turn % 2 == 0 else math.log(a / b))
    os.close(write_end)
    os.close(read_end)
    reader.wait()
    return logs


def show(name: str, logs: list[float]) -> None:
    """Print one row: the ratio and its 90% interval."""
    mean, low, high = mean_interval(logs, 0.90)
    print(f"| {name} | {math.exp(mean):.4f} | {math.exp(low):.4f} to {math.exp(high):.4f} | {len(logs)} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=8, help="pairs of processes")
    parser.add_argument("--turns", type=int, default=20, help="pairs of loops in one process")
    parser.add_argument("--family", choices=("qwen3", "glm47"), action="append")
    arguments = parser.parse_args()
    print("| ratio | value | 90% interval | pairs |\n|---|---|---|---|")
    for family in arguments.family or ("qwen3", "glm47"):
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = [], []
            _, prompt_tokens = worker_speed(family, 8, Path(folder))
            for round_number in range(arguments.rounds):
                if round_number % 2 == 0:
                    ours.append(worker_speed(family, arguments.tokens, Path(folder))[0])
                    theirs.append(mlx_lm_speed(family, prompt_tokens, arguments.tokens))
                else:
                    theirs.append(mlx_lm_speed(family, prompt_tokens, arguments.tokens))
                    ours.append(worker_speed(family, arguments.tokens, Path(folder))[0])
        show(f"{family}: zmlx / mlx_lm benchmark", [math.log(a / b) for a, b in zip(ours, theirs, strict=True)])
        print(f"| {family}: medians, tok/s | {statistics.median(ours):.1f} / {statistics.median(theirs):.1f} | | |")
        cost = loop_cost(family, arguments.tokens, arguments.turns)
        show(f"{family}: time of the worker's loop / bare stream_generate", cost)


if __name__ == "__main__":
    main()
