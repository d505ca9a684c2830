"""What mlx-lm raises, as one line; the whole of it goes into a log whose path the line names."""

from __future__ import annotations

import errno
import os
import platform
import socket
import tempfile
import traceback
from pathlib import Path

from zmlx_bench.errors import CannotHere, UnusableInput, ZmlxError
from zmlx_bench.machine import tested
from zmlx_bench.machine.backend import installed
from zmlx_bench.printable import one_line

_OF_ADDRESS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)
_OF_INPUT = (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""What mlx-lm raises for an option or a file of the user's; everything else is the machine's."""


def in_one_line(tool: str, error: Exception) -> ZmlxError:
    """Return the error that ends a command of zmlx in which mlx-lm's `tool` raised `error`."""
    if isinstance(error, ZmlxError):
        return error
    if isinstance(error, OSError) and _of_address(error):
        return CannotHere(f"mlx_lm.{tool}: {error.strerror or error}; choose another --host or --port")
    if isinstance(error, OSError):
        about = "; ".join(str(part) for part in (error.filename, error.strerror or one_line(str(error))) if part)
    else:
        about = one_line(f"{type(error).__name__}: {error}")
    under = tested.remark(installed("mlx"), installed("mlx-lm"), platform.python_version())
    kind = UnusableInput if isinstance(error, _OF_INPUT) else CannotHere
    return kind(f"mlx_lm.{tool}: {about}{under}{_kept_where(tool, error)}")


def _of_address(error: OSError) -> bool:
    return error.filename is None and (isinstance(error, socket.gaierror) or error.errno in _OF_ADDRESS)


def _kept_where(tool: str, error: Exception) -> str:
    """Write the traceback down and return what a line says of it; nothing where it cannot be written."""
    try:
        # Only the user may read it: a traceback may hold what was asked of the model.
        descriptor, name = tempfile.mkstemp(prefix=f"zmlx-{tool}-", suffix=".log")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return ""
    return f"; all of it is in {Path(name)}"
