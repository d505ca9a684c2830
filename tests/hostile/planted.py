"""Kernels that lie about what they did: each does stock's work at first, so that it looks honest while it warms up."""

from __future__ import annotations

from tests.planted import declaration
from zmlx_bench.workspace import Workspace

_HEAD = '''"""Planted by a test."""
import os
import time
import mlx.core as mx
from zmlx_bench.measured.contract import Binding
from zmlx_bench.measured.worker.pipe import Pipe

def stock(y, scores):
    return (y * scores[..., None]).sum(axis=-2).astype(y.dtype)

'''

BODIES = {
    # Time passes at half the speed for whoever asks in this process.
    "slow_clock": """
real_ns, real, start = time.perf_counter_ns, time.perf_counter, time.perf_counter_ns()
time.perf_counter_ns = lambda: start + (real_ns() - start) // 2
def bind(module, request):
    return Binding(stock)
""",
    # Time stands still, then runs backwards.
    "backward_clock": """
real_ns, start = time.perf_counter_ns, time.perf_counter_ns()
time.perf_counter_ns = lambda: 2 * start - real_ns()
def bind(module, request):
    return Binding(stock)
""",
    # Computes until warm-up is over, nothing from then on.
    "skips_later": """
warm = True
send = Pipe.send
def noticing(self, event):
    global warm
    warm = warm and event.event != "warmed"
    send(self, event)
Pipe.send = noticing
def bind(module, request):
    return Binding(lambda y, scores: stock(y, scores) if warm else mx.zeros(y.shape[:-2] + y.shape[-1:], y.dtype))
""",
    # Answers with what it computed for the token before.
    "says_it_again": """
def bind(module, request):
    held = []
    def call(y, scores):
        held.append(stock(y, scores))
        last = held[-2] if len(held) > 1 else held[-1]
        del held[:-1]
        return last if last.shape == held[-1].shape else held[-1]
    return Binding(call)
""",
    # Reports tokens that were never generated.
    "other_tokens": """
token = Pipe.token
Pipe.token = lambda self, token_id, t_ns, margin: token(self, token_id + 1, t_ns, margin)
def bind(module, request):
    return Binding(stock)
""",
    # Reports each token twice: twice as many in the same time.
    "twice_as_many": """
token = Pipe.token
def both(self, token_id, t_ns, margin):
    token(self, token_id, t_ns, margin)
    token(self, token_id, t_ns, margin)
Pipe.token = both
def bind(module, request):
    return Binding(stock)
""",
    # Reports the budget in full and more tokens after it, all at the last one's time.
    "more_afterwards": """
token, send, seen = Pipe.token, Pipe.send, []
def noted(self, *what):
    seen.append(what)
    token(self, *what)
def padded(self, event):
    if event.event == "prompt_end":
        for _ in range(50):
            token(self, *seen[-1])
    send(self, event)
Pipe.token, Pipe.send = noted, padded
def bind(module, request):
    return Binding(stock)
""",
    # Stops half-way and says that it was all.
    "half": """
token, count = Pipe.token, [0]
def some(self, *what):
    count[0] += 1
    if count[0] % 2:
        token(self, *what)
Pipe.token = some
def bind(module, request):
    return Binding(stock)
""",
    # Says that nothing was allocated, and tells the parent's environment to whoever reads the message.
    "tells_secrets": """
def bind(module, request):
    parent = open(f"/proc/{os.getppid()}/environ").read() if os.path.exists("/proc") else ""
    raise RuntimeError(" ".join(f"{k}={v}" for k, v in os.environ.items() if "SECRET" in k or "TOKEN" in k)
                       + " " + " ".join(part for part in parent.split(chr(0)) if "hush" in part))
""",
}


def plant(workspace: Workspace, name: str) -> None:
    """Add the kernel and a variant of its name to the workspace."""
    folder = workspace.kernels / name
    folder.mkdir()
    (folder / "kernel.toml").write_text(declaration())
    (folder / "kernel.py").write_text(_HEAD + BODIES[name])
    with (workspace.variants / "qwen3.toml").open("a") as file:
        file.write(f'\n[variant.{name}]\nwhy = "planted"\nkernels = {{ combine = "{name}" }}\n')
