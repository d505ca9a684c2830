"""`python -m zmlx_bench.measured.environment`: what this Python environment is, as JSON on standard output.

`lacks` says why a measured process cannot run in it, as far as that can be told without a model; null where it can.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
import sysconfig
import traceback
from pathlib import Path

from zmlx_bench.measured.messages import PROTOCOL

PACKAGES = {"mlx": "mlx.core", "mlx_lm": "mlx_lm"}
"""What runs in a measured process, by the module whose folder holds it."""
RUNNING = (".py", ".so", ".dylib", ".metallib")
NOT_FROM_WHEEL = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json")
"""What an installer adds to a distribution, or writes as it likes."""


def main() -> int:
    """Answer; 0 also where a process cannot run here."""
    # What a library prints goes to standard error from here.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    answer = {
        "protocol": PROTOCOL,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": sysconfig.get_platform(),
        "distributions": distributions(),
        "packages": {name: found for name, module in PACKAGES.items() if (found := package(name, module)) is not None},
        "lacks": lacks(),
    }
    with os.fdopen(answers, "wb") as file:
        file.write(json.dumps(answer).encode("ascii"))
    return 0


def distributions() -> list[dict[str, str | None]]:
    """Return name, version and record of every distribution, the one that Python finds first under each name."""
    found: dict[str, dict[str, str | None]] = {}
    for one in importlib.metadata.distributions():
        name = (one.metadata["Name"] or "").lower().replace("_", "-").replace(".", "-")
        if name and name not in found:
            found[name] = {"name": name, "version": one.version, "record_sha256": record(one.read_text("RECORD"))}
    return [found[name] for name in sorted(found)]


def record(text: str | None) -> str | None:
    """Return the SHA-256 over the files of a wheel by the hashes of its RECORD; None without one.

    The same whoever installed the wheel: scripts, compiled modules and what installers add are left out.
    """
    lines = csv.reader((text or "").splitlines())
    files = sorted(line[:2] for line in lines if len(line) > 1 and line[1] and not _added(line[0]))
    return hashlib.sha256(json.dumps(files).encode()).hexdigest() if files else None


def _added(name: str) -> bool:
    return name.endswith(".pyc") or name.startswith(("..", "/")) or name.rpartition("/")[2] in NOT_FROM_WHEEL


def package(name: str, module: str) -> dict[str, str | None] | None:
    """Return version, folder and digest of a package that is here; None for one that is not."""
    try:
        # Imports the parent of a submodule and nothing else.
        spec = importlib.util.find_spec(module)
    except ImportError:
        return None
    if spec is None or spec.origin is None:
        return None
    try:
        version = importlib.metadata.version(name.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        version = None
    folder = Path(spec.origin).resolve().parent
    return {"version": version, "folder": str(folder), "sha256": files(folder)}


def files(folder: Path) -> str:
    """Return the SHA-256 over what of a folder runs."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix in RUNNING and path.is_file()]
    told = [[path.relative_to(folder).as_posix(), _digest(path)] for path in found]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lacks() -> str | None:
    """Return what importing all that a job needs raises; None where nothing does."""
    try:
        from zmlx_bench.measured.worker.lean import import_loop

        import_loop()
        from zmlx_bench.measured.worker import device, job  # noqa: F401

        device.check_generation_stream()
    except Exception as error:  # noqa: BLE001 - another version may raise anything
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
