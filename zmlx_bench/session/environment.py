"""The environment of workers, and the software that the numbers belong to."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from zmlx_bench import __version__
from zmlx_bench.machine.backend import installed
from zmlx_bench.machine.command import output_of
from zmlx_bench.printable import encodable
from zmlx_bench.process import UTF8
from zmlx_bench.schema.capsule import Software
from zmlx_bench.schema.plan import Arm
from zmlx_bench.schema.variant import ALLOWED_ENV

_SECRET = re.compile(
    r"SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY|(^|_)(TOKEN|PAT|AUTH)$", re.IGNORECASE
)
_IN_URL = re.compile(
    r"://[^/\s@]+@|^[^/\s:@]+:[^/\s@]+@|[?&][\w-]*(SECRET|PASSWORD|PASSWD|KEY|TOKEN|AUTH|SIG|SIGNATURE)=", re.IGNORECASE
)
"""A URL's user, who may be a token, or its password, which a proxy's has without a scheme too, or its query's."""
_SHORTEST_SECRET = 6
"""Characters; shorter values stand in too many innocent words."""
_EVIDENCE = ("capsules", "matrix.jsonl", "notebook", "LAB_NOTEBOOK.md", "variants/promoted.toml")


def shared_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the MLX_* and ZMLX_* variables that are set for all arms; they are recorded, nothing else is."""
    source = os.environ if environ is None else environ
    secret = secrets(source)
    found = {n: value for n, value in sorted(source.items()) if ALLOWED_ENV.fullmatch(n) and n not in secret}
    return {n: encodable(value) for n, value in found.items()}


def secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that hold a secret, by their name or because the value is a URL with one."""
    return {n: value for n, value in environ.items() if _SECRET.search(n) or _IN_URL.search(value)}


def without_secrets(text: str) -> str:
    """Return `text` with the name of the variable in the place of each secret of this process's environment."""
    for name, value in secrets(os.environ).items():
        if len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, f"[{name}]")
    return text


def child_environment() -> dict[str, str]:
    """Return the environment of a process of ours: the user's without secrets, and no locale decides what it reads."""
    secret = secrets(os.environ)
    users = {name: value for name, value in os.environ.items() if name not in secret}
    return {**users, **UTF8, "PYTHONUNBUFFERED": "1"}


def worker_environment(arm: Arm) -> dict[str, str]:
    """Return the whole environment of an arm's worker: that of every child, and the variant's on top."""
    return {**child_environment(), **(arm.variant.env if arm.variant is not None else {})}


def software(root: Path) -> Software:
    """Return the versions here, with the git commit of the workspace at `root` where it is in a repository."""
    git = partial(output_of, "git", "-C", str(root))
    commit, dirty = git("rev-parse", "HEAD"), None
    if commit is not None:
        beside = (f":!{path}" for path in _EVIDENCE)
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".", *beside)
        dirty = None if changes is None else bool(changes)
    return Software(
        mlx=installed("mlx") or "none",
        mlx_lm=installed("mlx-lm") or "none",
        zmlx=__version__,
        python=platform.python_version(),
        commit=commit,
        dirty=dirty,
    )
