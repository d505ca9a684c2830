"""A family's decode step as one CUDA graph on an NVIDIA GPU against the unpatched model, bit for bit.

Stock's attention repeats its bits without cuDNN only: run with MLX_CUDA_USE_CUDNN_SDPA=0.
"""

from __future__ import annotations

import copy
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import load_prompt_cache, make_prompt_cache, save_prompt_cache, trim_prompt_cache

from tests.families import family
from tests.kernels import on_gpu
from zmlx_bench.measured import loader, synthetic
from zmlx_bench.measured.apply import Patch

KERNELS = {"qwen3": "decoder_graph", "glm47": "mla_graph"}
"""By family, the kernel of its whole step."""
WITHOUT_CUDNN = os.environ.get("MLX_CUDA_USE_CUDNN_SDPA") == "0"
pytestmark = [
    *on_gpu.NVIDIA,
    pytest.mark.skipif(not WITHOUT_CUDNN, reason="stock repeats its bits with MLX_CUDA_USE_CUDNN_SDPA=0 only"),
]

loader.open_kernels(Path(__file__).resolve().parents[2] / "kernels")
VOCABULARY = 4096
TOKENS = [(37 * i * i + 11 * i + 5) % VOCABULARY for i in range(9000)]
Model = Any
Script = Callable[[Model], list[mx.array]]


@pytest.fixture(scope="module", params=KERNELS)
def name(request: pytest.FixtureRequest) -> str:
    """The family's name."""
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str, gpu_as_default: None) -> Model:
    """Four layers of the published sizes with a small vocabulary: what is captured of three of them, the fourth's
    products follow from."""
    reason = importlib.import_module("zmlx_kernels._lib.graph").missing()
    if reason:
        pytest.skip(reason)
    return built(name, 0, 4)


def built(name: str, seed: int, layers: int) -> Model:
    found = synthetic.build(family(name), seed, layers=layers, sizes={"vocab_size": VOCABULARY})
    mx.eval(found.parameters())
    return found


def patched(name: str, model: Model) -> Patch:
    """The kernel at work in the model."""
    (host,) = (each for each in family(name).hosts(model) if each.whole)
    kernel = KERNELS[name]
    bound = getattr(importlib.import_module(f"zmlx_kernels.{kernel}.kernel"), kernel)(model.model)
    patch = Patch([(host, {host.whole_sites: (bound,)}, 1)])
    patch.install(count=False)
    return patch


@pytest.fixture
def as_stock(name: str, model: Model) -> Iterator[Callable[[Script], None]]:
    """What runs a script with the unpatched model and with the graph and compares every bit of its logits."""
    patches: list[Patch] = []

    def check(script: Script) -> None:
        stock = script(model)
        patches.append(patched(name, model))
        ours = script(model)
        assert len(ours) == len(stock)
        differing = [i for i, (a, b) in enumerate(zip(ours, stock, strict=True)) if not same(a, b)]
        assert differing == []

    yield check
    for each in patches:
        each.undo()


def same(a: mx.array, b: mx.array) -> bool:
    return bool(mx.array_equal(mx.view(a, mx.uint16), mx.view(b, mx.uint16)).item())


def prefill(model: Model, cache: Any, tokens: list[int]) -> mx.array:
    out: Any = None
    for start in range(0, len(tokens), 2048):
        out = model(mx.array([tokens[start : start + 2048]]), cache=cache)[:, -1:]
        mx.eval(out)
    return out


def steps(model: Model, cache: Any, tokens: list[int]) -> list[mx.array]:
    found = [model(mx.array([[token]]), cache=cache) for token in tokens]
    mx.eval(found)
    return found


def after(length: int, count: int = 3) -> Script:
    def script(model: Model) -> list[mx.array]:
        cache = make_prompt_cache(model)
        if length:
            prefill(model, cache, TOKENS[:length])
        return steps(model, cache, TOKENS[length : length + count])

    return script


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 255, 256, 511, 700, 1000, 1500, 2048, 2097, 4095, 8190])
def test_logits_are_stocks(as_stock: Any, length: int) -> None:
    as_stock(after(length))


def test_they_are_at_every_length(as_stock: Any) -> None:
    """One to 2,100 keys, token by token: every growth of the cache and both forms of attention."""

    def script(model: Model) -> list[mx.array]:
        cache, found = make_prompt_cache(model), []
        for start in range(0, 2100, 100):
            found += steps(model, cache, TOKENS[start : start + 100])
        return found

    as_stock(script)


def test_a_generation_that_is_broken_off_goes_on(as_stock: Any) -> None:
    def script(model: Model) -> list[mx.array]:
        cache, found = make_prompt_cache(model), []
        for start, count in ((0, 5), (100, 7)):
            generation = generate_step(mx.array(TOKENS[start : start + 40]), model, prompt_cache=cache, max_tokens=90)
            found += [next(generation)[1] for _ in range(count)]
            generation.close()  # a step is under way
        mx.eval(found)
        return [*found, *steps(model, cache, TOKENS[300:304])]

    as_stock(script)


def test_two_sequences_in_turn(as_stock: Any) -> None:
    def script(model: Model) -> list[mx.array]:
        caches = [make_prompt_cache(model) for _ in range(2)]
        prefill(model, caches[0], TOKENS[:50])
        prefill(model, caches[1], TOKENS[100:300])
        return [out for token in TOKENS[:6] for cache in caches for out in steps(model, cache, [token])]

    as_stock(script)


def test_two_sequences_in_turn_that_nobody_waits_for(as_stock: Any) -> None:
    """A step of one is launched piece by piece while the next of the other is being captured."""

    def script(model: Model) -> list[mx.array]:
        caches = [make_prompt_cache(model) for _ in range(2)]
        found = []
        for at, cache in enumerate(caches):
            prefill(model, cache, TOKENS[100 * at :][:60])
        for token in TOKENS[300:340]:
            for cache in caches:
                found.append(model(mx.array([[token]]), cache=cache))
                mx.async_eval(found[-1])
        mx.eval(found)
        return found

    as_stock(script)


def test_sequences_after_each_other(as_stock: Any) -> None:
    """Lengths begin anew at other remainders of eight, which decides between cuBLASLt's kernels."""
    ends = ((64, 60), (64, 33), (65, 62), (240, 41), (64, 36), (72, 64), (500, 21), (64, 58), (1000, 30), (64, 100))

    def script(model: Model) -> list[mx.array]:
        found = []
        for at, (length, count) in enumerate(ends):
            cache = make_prompt_cache(model)
            prefill(model, cache, TOKENS[17 * at :][:length])
            found += steps(model, cache, TOKENS[17 * at + length :][:count])
        return found

    as_stock(script)


def test_a_trimmed_cache_goes_on(as_stock: Any) -> None:
    def script(model: Model) -> list[mx.array]:
        cache = make_prompt_cache(model)
        prefill(model, cache, TOKENS[:60])
        found = steps(model, cache, TOKENS[60:70])
        trim_prompt_cache(cache, 7)
        return [*found, *steps(model, cache, TOKENS[200:206])]

    as_stock(script)


def test_copies_of_a_cache_go_their_own_ways(as_stock: Any) -> None:
    def script(model: Model) -> list[mx.array]:
        cache = make_prompt_cache(model)
        prefill(model, cache, TOKENS[:60])
        found = steps(model, cache, TOKENS[60:64])
        other = copy.deepcopy(cache)
        found += steps(model, cache, TOKENS[64:68])
        found += steps(model, other, TOKENS[164:168])
        return [*found, *steps(model, cache, TOKENS[68:70])]

    as_stock(script)


def test_a_second_turn_of_a_chat(as_stock: Any) -> None:
    def script(model: Model) -> list[mx.array]:
        cache = make_prompt_cache(model)
        prefill(model, cache, TOKENS[:250])
        found = steps(model, cache, TOKENS[250:260])
        found.append(prefill(model, cache, TOKENS[300:340]))
        return [*found, *steps(model, cache, TOKENS[340:346])]

    as_stock(script)


def test_rows_that_the_model_made_are_as_good_as_tokens(as_stock: Any) -> None:
    """A step makes the rows of tokens of 32 bits itself and takes those of others."""

    def script(model: Model) -> list[mx.array]:
        cache, found = make_prompt_cache(model), []
        prefill(model, cache, TOKENS[:40])
        for i, token in enumerate(TOKENS[40:70]):
            kind = (mx.int32, mx.uint32, mx.int64)[i % 3]
            found.append(model(mx.array([[token]], kind), cache=cache))
        mx.eval(found)
        return found

    as_stock(script)


def test_tokens_of_the_whole_vocabulary(as_stock: Any) -> None:
    """A step makes the token's row itself, with MLX's bits."""

    def script(model: Model) -> list[mx.array]:
        cache, found = make_prompt_cache(model), []
        prefill(model, cache, TOKENS[:40])
        for start in range(0, VOCABULARY, 128):
            found += steps(model, cache, list(range(start, start + 128, 2)))
            trim_prompt_cache(cache, 64)
        return found

    as_stock(script)


def test_a_saved_cache(as_stock: Any, tmp_path: Path) -> None:
    def script(model: Model) -> list[mx.array]:
        cache = make_prompt_cache(model)
        prefill(model, cache, TOKENS[:40])
        found = steps(model, cache, TOKENS[40:45])
        save_prompt_cache(str(tmp_path / "cache.safetensors"), cache)
        return [*found, *steps(model, load_prompt_cache(str(tmp_path / "cache.safetensors")), TOKENS[45:50])]

    as_stock(script)


def test_what_the_graph_does_not_serve_takes_the_models_own_calls(as_stock: Any) -> None:
    def script(model: Model) -> list[mx.array]:
        cache = make_prompt_cache(model)
        out = model(mx.array([TOKENS[:20], TOKENS[30:50]]), cache=cache)
        found = [out, model(mx.array([[5], [6]]), cache=cache)]
        short = make_prompt_cache(model, max_kv_size=64)
        prefill(model, short, TOKENS[:20])
        return [*found, *steps(model, short, TOKENS[20:24])]

    as_stock(script)


def test_two_models_in_turn(name: str, as_stock: Any) -> None:
    other = built(name, 1, 2)

    def alone() -> list[mx.array]:
        cache = make_prompt_cache(other)
        prefill(other, cache, TOKENS[:30])
        return steps(other, cache, TOKENS[30:36])

    stock = alone()
    patch = patched(name, other)

    def script(model: Model) -> list[mx.array]:
        caches = make_prompt_cache(model), make_prompt_cache(other)
        prefill(model, caches[0], TOKENS[:50])
        prefill(other, caches[1], TOKENS[:30])
        found = [
            steps(model, caches[0], [a]) + steps(other, caches[1], [b])
            for a, b in zip(TOKENS, TOKENS[30:36], strict=False)
        ]
        assert all(same(ours, each) for (_, ours), each in zip(found, stock, strict=True))
        return [each for each, _ in found]

    as_stock(script)
    patch.undo()


def test_two_threads(as_stock: Any) -> None:
    def script(model: Model) -> list[mx.array]:
        found: list[list[mx.array]] = [[], []]
        done, may_end = ([threading.Event() for _ in range(2)] for _ in range(2))

        def run(at: int) -> None:
            try:
                with mx.stream(mx.new_stream(mx.gpu)):
                    cache = make_prompt_cache(model)
                    prefill(model, cache, TOKENS[at * 100 : at * 100 + 40])
                    for token in TOKENS[300:340]:
                        # Waited for, so that outputs' buffers are taken again, by either thread.
                        found[at] += steps(model, cache, [token])
            finally:
                done[at].set()
                may_end[at].wait()

        threads = [threading.Thread(target=run, args=(at,)) for at in range(2)]
        for each in threads:
            each.start()
        for event in done:
            event.wait()
        # MLX destroys what a thread has of cuBLAS as it ends, and stock alone does not outlive that beside a capture.
        time.sleep(0.2)
        for event, each in zip(may_end, threads, strict=True):
            event.set()
            each.join()
        assert all(len(each) == 40 for each in found)
        return [*found[0], *found[1]]

    as_stock(script)


LEAVES = """
import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from tests.kernels.test_on_gpu_graph import built, patched
mx.set_default_device(mx.gpu)
model = built("NAME", 0, 2)
patched("NAME", model)
cache = make_prompt_cache(model)
for token in range(300):
    out = model(mx.array([[token]]), cache=cache)
    mx.async_eval(out)
print("leaves")
"""


def test_a_process_ends_while_steps_are_under_way(name: str, model: Model) -> None:
    # Steps let go of the graph on a thread of MLX's while the interpreter ends.
    for _ in range(3):
        command = [sys.executable, "-c", LEAVES.replace("NAME", name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "leaves\n"), done.stderr


def test_many_rows_are_stocks(model: Model) -> None:
    import mlx.nn as nn

    dtype = model.model.norm.weight.dtype
    linear = nn.Linear(2048, 1 << 15, bias=False)
    linear.weight = mx.random.normal(linear.weight.shape, key=mx.random.key(3)).astype(dtype)
    projection = linear.to_quantized(group_size=64, bits=4)
    ours = importlib.import_module("zmlx_kernels.many_rows.kernel").many_rows(projection)
    for seed in range(4):
        x = mx.random.normal((1, 1, 2048), key=mx.random.key(seed)).astype(dtype)
        assert same(ours(x), projection(x))
