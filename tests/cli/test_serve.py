"""`zmlx serve`: the real server streams the same text with the promoted variant as without, and ends in order."""

from __future__ import annotations

import contextlib
import importlib
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_models
from tests.use.promoted import promote, promotion
from tests.use.serving import SECONDS, serve
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.measured import loader
from zmlx_bench.workspace import Workspace

PROMPT = "Explain the difference between TCP and UDP."
NATIVE = {"qwen3": "qwen_native", "glm47": "glm_native"}


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    """A workspace where each family's native variant is promoted for this machine, or a no-op where none is built."""
    made = make_workspace("no_op", "raises_late")
    loader.open_kernels(made.kernels)
    built = importlib.import_module("zmlx_kernels._lib.native.wiring").probe("stock", "cpu") is None
    promote(made, *(promotion(made, family, NATIVE[family] if built else "no_op") for family in ("glm47", "qwen3")))
    return made


@pytest.mark.parametrize("family", ["qwen3", pytest.param("glm47", marks=pytest.mark.slow)])
def test_streams_are_the_same_with_the_promoted_variant(place: Workspace, family: str, tmp_path: Path) -> None:
    with (
        serve(place, family, "none", tmp_path / "stock") as stock,
        serve(place, family, "promoted", tmp_path / "promoted") as promoted,
    ):
        expected = stock.stream(PROMPT, 32)
        assert promoted.stream(PROMPT, 32) == expected
        assert len(expected) > 20, "an event for each token that ends a piece of text"
        assert ": promoted for" in promoted.said
        assert "variant none: mlx-lm's own model" in stock.said
        assert stock.end(signal.SIGTERM) == 143
        assert promoted.end(signal.SIGINT) == 130


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_streams_at_once_are_the_same_too(place: Workspace, family: str, tmp_path: Path) -> None:
    asked = (PROMPT, "Write a short story about a lighthouse keeper.")
    said = {}
    for variant in ("none", "promoted"):
        with serve(place, family, variant, tmp_path / variant) as server, ThreadPoolExecutor(len(asked)) as pool:
            said[variant] = list(pool.map(lambda prompt, to=server: to.stream(prompt, 32), asked))
            assert server.end(signal.SIGTERM) == 143
    assert said["promoted"] == said["none"]


def test_a_server_stopped_before_any_request_ends_in_order(place: Workspace, tmp_path: Path) -> None:
    with serve(place, "qwen3", "promoted", tmp_path / "log") as server:
        assert server.end(signal.SIGTERM) == 143
        assert "terminate called" not in server.said


def test_a_port_that_is_taken(zmlx: Callable[..., Any], place: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = zmlx("serve", str(TINY / "tiny_qwen3"), "--port", port, cwd=place.root)
    assert done.returncode == 4
    assert "qwen3, checkpoint tiny-qwen3\n" in done.stdout + done.stderr, "a folder in FAMILY's place"
    assert done.stderr.endswith("zmlx: mlx_lm.server: Address already in use; choose another --host or --port\n")


@pytest.mark.slow
def test_a_variant_that_cannot_serve_the_model_ends_the_server(zmlx: Callable[..., Any], place: Workspace) -> None:
    folder = tiny_models.save("llama", place.root / "a model")
    done = zmlx("serve", str(folder), "--variant", "any_native_experts", "--port", "0", cwd=place.root)
    assert done.returncode == 4
    assert "any-llama, checkpoint a-model\n" in done.stdout + done.stderr
    assert "any_native_experts cannot be applied: " in done.stderr


def test_a_checkpoint_that_cannot_be_served_ends_the_server_in_one_line(
    zmlx: Callable[..., Any], place: Workspace
) -> None:
    arguments = ("serve", "qwen3", "--checkpoint", "tiny", "--adapter-path", "not/there", "--port", "0")
    done = zmlx(*arguments, cwd=place.root)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("zmlx: mlx_lm.server: The adapter path does not exist: not/there; all of it is in /")
    assert "load_adapters" in Path(last.rpartition(" ")[2]).read_text()


@pytest.mark.slow
def test_a_kernel_that_fails_while_it_serves_ends_the_server_in_one_line(place: Workspace, tmp_path: Path) -> None:
    with serve(place, "qwen3", "raises_late", tmp_path / "log") as server:
        with contextlib.suppress(OSError):
            server.stream(PROMPT, 4)
        assert server.process.wait(SECONDS) == 4
        assert "Traceback" not in server.said
        assert "zmlx: mlx_lm.server: RuntimeError: planted in decode; all of it is in /" in server.said
