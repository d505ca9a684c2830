"""What a test that fails leaves running is ended with it: a later test would be told of it, as a fault of its own.

A process that nobody waited for, and a pipe that nobody closed, warn when they are collected, and warnings are errors.
Which test that meets is chance: a session that took too long on a busy disk once failed fixtures of other files.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import psutil
import pytest


def pytest_exception_interact(call: pytest.CallInfo[Any]) -> None:
    """End the processes that the functions in which a test failed had at hand."""
    if call.excinfo is not None:
        for process in processes_of(call.excinfo.tb):
            end(process)


def processes_of(traceback: TracebackType | None) -> Iterator[subprocess.Popen[Any]]:
    """Yield the processes in the variables of a traceback's functions, and in the lists among them, each once."""
    seen: set[int] = set()
    while traceback is not None:
        for value in traceback.tb_frame.f_locals.values():
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, subprocess.Popen) and id(each) not in seen:
                    seen.add(id(each))
                    yield each
        traceback = traceback.tb_next


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process with what it started, and close its pipes."""
    if process.poll() is None:
        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for child in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what it was to read last
                pipe.close()
