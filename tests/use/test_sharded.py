"""A process that holds a part of the model, as under `mlx.launch`: tokens are the whole model's, or it is refused."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm import generate, load
from mlx_lm.utils import dequantize_model, load_model

import zmlx_bench
from tests.conftest import QUIET_ENV, ZMLX
from tests.planted import BODIES, HEAD, declaration
from tests.tiny import Tiny, equal
from tests.use.promoted import promote, promotion
from tests.use.serving import free_port
from zmlx_bench.catalog.families import TINY
from zmlx_bench.workspace import Workspace

LAUNCH = (sys.executable, "-c", "from mlx._distributed_utils.launch import main; main()")
PROMPT, TOKENS, SECONDS = "Once upon a time", 8, 90


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    made = make_workspace("no_op")
    folder = made.kernels / "mirror"
    shutil.copytree(made.kernels / "no_op", folder)
    (folder / "kernel.py").write_text(HEAD + BODIES["mirror"])
    (folder / "kernel.toml").write_text(declaration().replace("combine", "residual_norm"))
    for family in ("qwen3", "glm47"):
        with (made.variants / f"{family}.toml").open("a") as file:
            file.write('\n[variant.stack]\nwhy = "planted"\nkernels = { residual_norm = "mirror" }\n')
    return made


@contextlib.contextmanager
def with_attribute(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@pytest.fixture
def cut(tiny: Tiny) -> Iterator[Tiny]:
    """The tiny model as one of the processes that hold a part of every layer, where it is the only one."""
    group = mx.distributed.init()
    with contextlib.ExitStack() as stack:
        for layer in tiny.model.layers:
            if hasattr(layer.mlp, "sharding_group"):
                stack.enter_context(with_attribute(layer.mlp, "sharding_group", group))
        yield tiny


def test_no_promotion_says_anything_of_a_part(cut: Tiny, place: Workspace) -> None:
    promote(place, promotion(place, cut.name, "no_op"))
    applied = zmlx_bench.apply(cut.model, workspace=place.root)
    assert not applied
    assert "holds one of 1 parts of every layer, and promotions are measured with the whole model" in applied.why


def test_a_part_takes_a_variant_by_name(cut: Tiny, place: Workspace) -> None:
    stock = cut.logits(steps=1)
    applied = zmlx_bench.apply(cut.model, variant="no_op", workspace=place.root, strict=True)
    try:
        assert applied.sites == {"combine": cut.moe_layers}
        assert equal(cut.logits(steps=1), stock)
    finally:
        applied.undo()


def test_a_kernel_over_the_stack_is_refused_for_a_part(cut: Tiny, place: Workspace) -> None:
    with pytest.raises(zmlx_bench.NotApplied, match="stack cannot be applied: mirror works on the whole stack"):
        zmlx_bench.apply(cut.model, variant="stack", workspace=place.root, strict=True)


def test_a_kernel_over_the_stack_is_refused_for_a_stage(tiny: Tiny, place: Workspace) -> None:
    whole = zmlx_bench.apply(tiny.model, variant="stack", workspace=place.root, strict=True)
    whole.undo()
    with with_attribute(tiny.model.model, "pipeline_size", 2):
        applied = zmlx_bench.apply(tiny.model, variant="stack", workspace=place.root)
        assert "mirror works on the whole stack of layers" in applied.why
        promote(place, promotion(place, tiny.name, "no_op"))
        assert "this process holds stage 2 of 2 of a pipeline" in zmlx_bench.apply(tiny.model, workspace=place.root).why


def to_be_cut(family: str, folder: Path, *, matrices: bool) -> Path:
    """A tiny checkpoint that mlx-lm can share out: in float32 where matrices are cut, which groups do not allow."""
    shutil.copytree(TINY / f"tiny_{family}", folder)
    model, config = load_model(folder)
    if matrices:
        model = dequantize_model(model)
        model.set_dtype(mx.float32)
        plain = {name: value for name, value in config.items() if not name.startswith("quantization")}
        (folder / "config.json").write_text(json.dumps(plain))
    weights: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@contextlib.contextmanager
def launched(place: Workspace, port: int, log: Path, *arguments: str) -> Iterator[None]:
    """Run `zmlx serve` in two processes of one ring until the end of the block."""
    command = [*LAUNCH, "-n", "2", "--starting-port", str(free_port()), "--", *ZMLX, "serve", *arguments]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=place.root, env=QUIET_ENV, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def asked(port: int, log: Path) -> str:
    """What the server completes the prompt with, once it is up."""
    body = {"prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and "zmlx: " not in log.read_text():
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=SECONDS) as answer:
            text: str = json.loads(answer.read())["choices"][0]["text"]
            return text
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(not mx.distributed.is_available("ring"), reason="this build of MLX has no ring of processes")
@pytest.mark.parametrize(
    ("family", "how"),
    [
        ("qwen3", ()),
        pytest.param("qwen3", ("--pipeline",), marks=pytest.mark.slow),
        pytest.param("glm47", ("--pipeline",), marks=pytest.mark.slow),
    ],
)
def test_processes_that_share_a_model_answer_as_one(
    place: Workspace, tmp_path: Path, family: str, how: tuple[str, ...]
) -> None:
    folder = to_be_cut(family, tmp_path / "cut", matrices=not how)
    model, tokenizer = load(str(folder))[:2]
    expected = generate(model, tokenizer, tokenizer.encode(PROMPT), max_tokens=TOKENS)
    port, log = free_port(), tmp_path / "log"
    with launched(place, port, log, family, "--checkpoint", str(folder), "--variant", "no_op", *how):
        assert asked(port, log) == expected
        assert log.read_text().count("no_op: asked for by name") == 2
