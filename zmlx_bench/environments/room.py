"""The measured room, handed to an interpreter that has nothing else of zmlx."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_HANDED = ("__init__.py", "measured")
_OTHERS = (
    "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "__PYVENV_LAUNCHER__",
    "VIRTUAL_ENV", "CONDA_PREFIX",
)  # fmt: skip
"""Variables by which an interpreter would find the packages of another environment."""


@contextlib.contextmanager
def handed() -> Iterator[Path]:
    """Give a folder for the path of any Python, in which `zmlx_bench` is the measured room and nothing else.

    Its files are links, so that what a process opened is named by where it really lies.
    """
    with tempfile.TemporaryDirectory(prefix="zmlx-room-", ignore_cleanup_errors=True) as folder:
        package = Path(folder) / _PACKAGE.name
        package.mkdir()
        for name in _HANDED:
            (package / name).symlink_to(_PACKAGE / name)
        yield Path(folder)


def variables(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables of a process that has the room at `folder`, and packages of its own interpreter alone."""
    kept = {name: value for name, value in environment.items() if name not in _OTHERS}
    return {**kept, "PYTHONPATH": str(folder), "PYTHONNOUSERSITE": "1", "PYTHONSAFEPATH": "1"}
