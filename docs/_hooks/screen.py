"""Run `zmlx` and return what it prints, as plain text or as a terminal of 80 columns shows it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

from mkdocs.exceptions import PluginError

WIDTH = 80
_ZMLX = (sys.executable, "-c", "from zmlx_bench.cli.main import main; main()")


def plain(command: list[str], where: Path) -> str:
    """Return the standard output of `zmlx ...`."""
    done = subprocess.run(_words(command), cwd=where, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PluginError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def terminal(command: list[str], where: Path) -> str:
    """Return what `zmlx ...` shows on a terminal without colours, each line without trailing spaces."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": str(WIDTH)}
    with subprocess.Popen(
        _words(command), cwd=where, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b"".join(_chunks(ours))
    os.close(ours)
    if process.returncode != 0:
        raise PluginError(f"{' '.join(command)}: exit code {process.returncode}: {shown.decode()}")
    lines = shown.decode().replace("\r\n", "\n").splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _words(command: list[str]) -> list[str]:
    if command[0] != "zmlx":
        raise PluginError(f"{' '.join(command)}: only zmlx is run for a page")
    return [*_ZMLX, *command[1:]]


def _chunks(descriptor: int) -> list[bytes]:
    chunks = []
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:
            # Linux says EIO when the last writer of a terminal has gone.
            return chunks
        if not chunk:
            return chunks
        chunks.append(chunk)
