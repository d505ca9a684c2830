"""What `generate` and `serve` say of hostile promotions, kernels, names and requests: shown, never obeyed."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Zmlx
from tests.hostile.evil import EVIL
from tests.use.promoted import promote, promotion
from tests.use.serving import serve
from zmlx_bench.workspace import Workspace


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    """A workspace whose promotions are of other machines with evil names, and whose kernel gives an evil reason."""
    made = make_workspace("no_op", "unavailable")
    kernel = made.kernels / "unavailable" / "kernel.py"
    kernel.write_text(kernel.read_text().replace("'needs a machine that is not here'", json.dumps(EVIL)))
    promote(made, promotion(made, "qwen3", "no_op", device=EVIL, mlx=EVIL))
    return made


def harmless(said: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in said)


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("generate", ("--variant", "unavailable"), 4),
        ("generate", ("--variant", EVIL), 3),
        ("generate", ("--checkpoint", EVIL), 3),
        ("generate", (f"--{EVIL}",), 3),
        ("serve", ("--max-tokens", EVIL), 3),
    ],
)
def test_what_cannot_be_used_is_shown_as_text(
    zmlx_inside: Callable[..., Any], place: Workspace, tool: str, arguments: tuple[str, ...], code: int
) -> None:
    named = () if "--checkpoint" in arguments else ("--checkpoint", "tiny")
    refused(zmlx_inside(tool, "qwen3", *named, *arguments, cwd=place.root), code)


@pytest.mark.slow
def test_a_server_that_a_kernel_keeps_from_starting_shows_its_words_as_text(zmlx: Zmlx, place: Workspace) -> None:
    # In a process of its own: mlx-lm's server begins with a warning, which is an error here.
    refused(zmlx("serve", "qwen3", "--checkpoint", "tiny", "--variant", "unavailable", cwd=place.root), 4)


def refused(done: subprocess.CompletedProcess[str], code: int) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "script>" in done.stderr
    assert harmless(done.stderr), done.stderr


def test_neither_a_promotion_nor_a_request_is_obeyed_by_the_servers_terminal(place: Workspace, tmp_path: Path) -> None:
    with serve(place, "qwen3", "promoted", tmp_path / "log") as server:
        for path, body in (
            ("/v1/\x1b[2J\u009b31m", b"{}"),
            ("/v1/completions", json.dumps({"model": EVIL, "prompt": EVIL, "max_tokens": 1}).encode()),
            ("/v1/chat/completions", "\x1b[2J\u009b31m".encode()),
        ):
            asked = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            asked._validate_path = lambda _: None  # type: ignore[attr-defined,method-assign]
            asked._encode_request = lambda line: line.encode("latin-1")  # type: ignore[attr-defined,method-assign]
            asked.request("POST", path, body, {"Content-Type": "application/json"})
            assert asked.getresponse().status >= 400
            asked.close()
        assert server.end(signal.SIGTERM) == 143
        assert "promoted elsewhere: no_op for" in server.said
        assert server.said.count("<script>") == 2
        assert r"Raw body: \x1b[2J\x9b31m" in server.said
        assert harmless(server.said), server.said
