"""The assertions of a fresh checkout's tests, rewritten once: three workers that collect at once would each do it.

pytest keeps what it has rewritten beside a module. Each worker begins at another module, and finds the others' done.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

TESTS = Path(__file__).resolve().parent


def begin(config: pytest.Config, worker: int, workers: int, folder: Path = TESTS) -> None:
    """Rewrite, as worker `worker` of `workers`, the modules that are not; what this leaves pytest does as ever."""
    paths = sorted(folder.rglob("test_*.py"))
    first = worker * len(paths) // workers
    for path in (*paths[first:], *paths[:first]):
        kept = rewrite.get_cache_dir(path) / (path.stem + rewrite.PYC_TAIL)
        if not kept.exists() and rewrite.try_makedirs(kept.parent):
            # Of what is no Python pytest tells as of any test that cannot be collected, and only where it is asked for.
            with contextlib.suppress(SyntaxError, ValueError, OSError):
                stat, code = rewrite._rewrite_test(path, config)
                rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, stat, kept)
