"""What mlx-lm raises is one line with a code of the contract, in a command as in a connection of its server."""

from __future__ import annotations

import contextlib
import errno
import http.client
import logging
import socket
import tempfile
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.use.failures import in_one_line
from zmlx_bench.use.outcome import NotApplied
from zmlx_bench.use.server import Connections


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (ValueError("Missing 1 parameters:\nmodel.norm.weight."), UnusableInput, "Missing 1 parameters: model.norm"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.json"), UnusableInput, "a.json; No such file"),
        (FileNotFoundError("Got: ConnectError\nPlease check"), UnusableInput, ": Got: ConnectError Please check; all"),
        (OSError(errno.ENOSPC, "No space left on device"), CannotHere, "mlx_lm.server: No space left on device"),
        (RuntimeError("[METAL] Command buffer\nexecution failed"), CannotHere, "Command buffer execution failed"),
        (MemoryError(), CannotHere, "mlx_lm.server: MemoryError"),
    ],
)
def test_an_error_is_one_line_and_its_traceback_is_kept(
    temporary: Path, error: Exception, kind: type[Exception], says: str
) -> None:
    line = in_one_line("server", error)
    assert type(line) is kind
    assert says in str(line)
    assert "\n" not in str(line)
    (kept,) = temporary.iterdir()
    assert str(line).endswith(f"; all of it is in {kept}")
    assert type(error).__name__ in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "error", [OSError(errno.EADDRINUSE, "Address already in use"), socket.gaierror(-2, "Name or service not known")]
)
def test_an_address_that_cannot_be_served_has_a_remedy_and_no_log(temporary: Path, error: OSError) -> None:
    line = str(in_one_line("server", error))
    assert line == f"mlx_lm.server: {error.strerror}; choose another --host or --port"
    assert not list(temporary.iterdir())


def test_what_is_a_line_already_stays() -> None:
    refused = NotApplied("--variant a: cannot")
    assert in_one_line("generate", refused) is refused


def test_where_no_log_can_be_written_the_line_is_said_all_the_same(temporary: Path) -> None:
    temporary.rmdir()
    assert str(in_one_line("generate", KeyError("layers"))) == "mlx_lm.generate: KeyError: 'layers'"


class Failing(BaseHTTPRequestHandler):
    """Fails as a connection of the server may."""

    def do_GET(self) -> None:
        raise (
            ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
            if self.path == "/gone"
            else KeyError("a")
        )


def test_a_connection_that_fails_is_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    with Connections(("127.0.0.1", 0), Failing) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        for path in ("/gone", "/other"):
            asked = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
            with contextlib.suppress(http.client.HTTPException, OSError):
                asked.request("GET", path)
                asked.getresponse()
            asked.close()
        server.shutdown()
        serving.join()
    gone, other = sorted(caplog.messages)
    assert gone == "127.0.0.1 went away: Connection reset by peer"
    assert other.startswith("a request from 127.0.0.1: mlx_lm.server: KeyError: 'a'; all of it is in ")
    assert "Traceback" not in capsys.readouterr().err
