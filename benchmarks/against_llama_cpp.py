"""Does a variant decode faster than llama.cpp, on one machine in one run?

    python benchmarks/against_llama_cpp.py qwen3 --variant qwen_graph --llama-bench PATH [--rounds 6] [--scratch DIR]

A round is a process of each arm, in an order that rotates from round to round: stock and the variant on the synthetic
full-size checkpoint, both with MLX_CUDA_USE_CUDNN_SDPA=0, under which stock repeats its bits; stock without it, as
users run it; and `llama-bench -fa 1` on a GGUF of the same shapes with random Q4_0 blocks (random_gguf.py, which needs
the `gguf` package; some 17 GB in --scratch). Every arm has 64 tokens in its cache and decodes 200 and 1,024 more,
MLX's at once (200 are the beginning), llama-bench one after the other.
Printed are the medians over the rounds and, paired by round, the ratio to llama.cpp with its 95% interval.
A GGUF that lies in a folder in memory (--scratch /dev/shm) loads sooner.

What the two time is not quite the same. MLX's arms are mlx-lm's own loop: greedy choice, log-probabilities and the
token's way to the host belong to a token. llama-bench feeds random tokens, copies the logits to the host and chooses
nothing. Its cache is float16, MLX's bfloat16; its router's gate is float32, MLX's 8 or 16 bit.

Run on an H200 with Qwen: kernels/decoder_graph/NOTES.md. On a CPU it ran with one layer, few tokens and the llama.cpp
of llama-cpp-python 0.3.36 (where AMX made `--repack 0` necessary); its figures say nothing there. That llama.cpp loads
and decodes the GGUF of either family was seen there too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from zmlx_bench.analysis.decision.statistics import mean_interval
from zmlx_bench.catalog import families
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.measured import synthetic
from zmlx_bench.measured.apply import apply
from zmlx_bench.measured.families.loading import load
from zmlx_bench.measured.worker.generate import streamer
from zmlx_bench.schema.base import Backend
from zmlx_bench.workspace import Workspace

REPOSITORY = Workspace(Path(__file__).resolve().parents[1])
STOCK, LLAMA = "stock", "llama.cpp"
WITH_CUDNN = "stock with cuDNN"
CUDNN = "MLX_CUDA_USE_CUDNN_SDPA"
OURS = ("ZMLX_TRACE", CUDNN)
"""What an arm's environment has only where the arm says so."""
BUDGETS = (200, 1024)
PROMPT = 64
WARM_UP = 16
LEVEL = 0.95


@dataclass(frozen=True)
class Sample:
    """What one process of an arm measured, by budget."""

    rates: Mapping[int, float]
    """Tokens a second."""
    tokens: Mapping[int, str]
    """Digests of the tokens; empty for llama.cpp."""
    about: str
    """What ran on what."""


def backend() -> Backend:
    """Return the backend of this machine's MLX."""
    if mx.cuda.is_available():
        return "cuda"
    return "metal" if mx.metal.is_available() else "cpu"


def measure(family_name: str, variant: str, budgets: Sequence[int], layers: int | None) -> Sample:
    """Return an MLX arm's figures, measured in this process."""
    where = backend()
    mx.set_default_device(mx.cpu if where == "cpu" else mx.gpu)
    family = load(families.folder(family_name))
    model = synthetic.build(family, 0, layers)
    if variant != STOCK:
        catalog = Catalog(REPOSITORY, family_name)
        apply(catalog.plain(catalog.resolve(variant)), family.hosts(model), where, REPOSITORY.kernels)
    generate = streamer(model)
    prompt: Any = mx.random.randint(0, 1000, (PROMPT,), key=mx.random.key(7)).tolist()
    for _ in generate(prompt, WARM_UP):
        pass
    said, times = [], []
    # The first token ends the prompt; decode is what follows. A budget is the beginning of the longest.
    for token, _ in generate(prompt, max(budgets) + 1):
        times.append(time.perf_counter())
        said.append(token)
    rates = {budget: budget / (times[budget] - times[0]) for budget in budgets}
    tokens = {budget: hashlib.sha256(json.dumps(said[: budget + 1]).encode()).hexdigest()[:12] for budget in budgets}
    device = mx.device_info(mx.default_device()).get("device_name", where)
    return Sample(rates, tokens, f"mlx {vars(mx)['__version__']} on {device}")


def run_mlx(family: str, variant: str, env: Mapping[str, str], budgets: Sequence[int], layers: int | None) -> Sample:
    """Return an MLX arm's figures from a process of its own."""
    command = [sys.executable, __file__, family, "--here", "--variant", variant]
    command += ["--budgets", *map(str, budgets), *([] if layers is None else ["--layers", str(layers)])]
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    row = json.loads(output_of(command, {**inherited, **env}).splitlines()[-1])
    rates, tokens = ({int(budget): each for budget, each in row[name].items()} for name in ("rates", "tokens"))
    return Sample(rates, tokens, row["about"])


def run_llama(llama_bench: str, model: Path, budgets: Sequence[int]) -> Sample:
    """Return llama.cpp's figures from a process of llama-bench."""
    command = [llama_bench, "-m", str(model), "-fa", "1", "-ngl", "99", "-p", "0", "-d", str(PROMPT), "-r", "1"]
    command += ["-n", ",".join(map(str, budgets)), "-o", "json"]
    return read_llama(output_of(command, dict(os.environ)), budgets)


def read_llama(printed: str, budgets: Sequence[int]) -> Sample:
    """Return the figures of llama-bench's JSON; ValueError where one of the budgets is missing."""
    rows = {row["n_gen"]: row for row in json.loads(printed)}
    missing = [str(each) for each in budgets if each not in rows]
    if missing:
        raise ValueError(f"llama-bench printed nothing for {', '.join(missing)} tokens")
    one = rows[budgets[0]]
    device = one["gpu_info"] or one["cpu_info"]
    return Sample({each: rows[each]["avg_ts"] for each in budgets}, {}, f"llama.cpp {one['build_commit']} on {device}")


def output_of(command: Sequence[str], env: Mapping[str, str]) -> str:
    """Return what a process prints; RuntimeError with the end of its errors where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed ({done.returncode}):\n{done.stderr[-2000:]}")
    return done.stdout


def in_turn(arms: Sequence[str], number: int) -> list[str]:
    """Return the arms in the order of a round: each is first, second and so on equally often."""
    first = number % len(arms)
    return [*arms[first:], *arms[:first]]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return the ratio of two arms' speeds and its interval at LEVEL, from pairs of the same round."""
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    mean, low, high = mean_interval(logs, LEVEL)
    return math.exp(mean), math.exp(low), math.exp(high)


def table(samples: Mapping[str, Sequence[Sample]], budgets: Sequence[int]) -> str:
    """Return the figures as a table in Markdown; the tokens are compared with stock's of every round."""
    lines = ["| tokens | arm | tok/s | to llama.cpp | 95% interval | its tokens |", "|---|---|---|---|---|---|"]
    for budget in budgets:
        theirs = [each.rates[budget] for each in samples[LLAMA]]
        stocks = {each.tokens[budget] for each in samples[STOCK]}
        for arm, rounds in samples.items():
            rates = [each.rates[budget] for each in rounds]
            cells = [f"{budget:,}", arm, f"{statistics.median(rates):.1f}"]
            if arm == LLAMA:
                cells += ["", "", ""]
            else:
                # Stock may have left after the first rounds.
                beside = theirs[: len(rates)]
                interval = ""
                if len(rates) > 1:
                    value, low, high = ratio(rates, beside)
                    interval = f"{low:.3f} to {high:.3f}"
                else:
                    value = rates[0] / beside[0]
                said = {each.tokens[budget] for each in rounds}
                known = len(stocks) == 1 and said == stocks
                cells += [f"{value:.3f}", interval, "stock's" if known else "others"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def compare(given: argparse.Namespace, scratch: Path) -> str:
    """Run all rounds and return the table."""
    # MLX's arms run in this file too, without the gguf package.
    try:
        import random_gguf
    except ModuleNotFoundError as error:
        raise RuntimeError(f"{error}: the GGUF is written with the gguf package (pip install gguf)") from error

    model = scratch / f"{given.family}-{given.layers or 'all'}-layers.gguf"
    if not model.exists():
        random_gguf.write(model, random_gguf.config_of(given.family, given.layers))
    of_variant = dict(Catalog(REPOSITORY, given.family).resolve(given.variant).env)
    ours = {STOCK: (STOCK, {CUDNN: "0"}), given.variant: (given.variant, of_variant | {CUDNN: "0"})}
    ours[WITH_CUDNN] = (STOCK, {})
    arms = [*ours, LLAMA]
    samples: dict[str, list[Sample]] = {arm: [] for arm in arms}
    for number in range(given.rounds):
        taking_part = arms if number < given.stock_rounds else [given.variant, LLAMA]
        for arm in in_turn(taking_part, number):
            if arm == LLAMA:
                found = run_llama(given.llama_bench, model, given.budgets)
            else:
                found = run_mlx(given.family, *ours[arm], given.budgets, given.layers)
            samples[arm].append(found)
            print(f"round {number + 1}, {arm}: {found.rates}", file=sys.stderr, flush=True)
    about = sorted({each.about for rounds in samples.values() for each in rounds})
    return "\n".join((*about, f"{given.rounds} rounds", "", table(samples, given.budgets)))


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=families.names())
    parser.add_argument("--variant", required=True)
    parser.add_argument("--llama-bench", metavar="PATH", help="llama.cpp's llama-bench, built for this machine")
    parser.add_argument("--rounds", type=int, default=6, help="processes of each arm")
    parser.add_argument(
        "--stock-rounds", type=int, metavar="N", help="leave stock, which is slow, out of the rounds after the first N"
    )
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="keeps the GGUF, which is written where it is not")
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, metavar="TOKENS")
    parser.add_argument("--layers", type=int, help="fewer layers than the published model's, for a try")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        print(json.dumps(vars(measure(given.family, given.variant, given.budgets, given.layers))))
        return 0
    if given.llama_bench is None or shutil.which(given.llama_bench) is None:
        parser.error(
            f"--llama-bench: '{given.llama_bench or ''}' is no program; give the path of llama.cpp's llama-bench"
        )
    if given.rounds < 2:
        parser.error("--rounds: an interval needs at least 2")
    if given.stock_rounds is None:
        given.stock_rounds = given.rounds
    if not 1 <= given.stock_rounds <= given.rounds:
        parser.error("--stock-rounds: stock is in one round at least and in no more than all")
    try:
        if given.scratch is not None:
            given.scratch.mkdir(parents=True, exist_ok=True)
            print(compare(given, given.scratch))
        else:
            with tempfile.TemporaryDirectory(prefix="zmlx-gguf-") as folder:
                print(compare(given, Path(folder)))
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
