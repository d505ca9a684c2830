"""What installs an environment: uv where there is one, else venv and pip. Both resolve first and install by hash."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from packaging.utils import canonicalize_name, parse_wheel_filename

from zmlx_bench.errors import CannotHere

_ELSEWHERE = re.compile(r"^(PIP_(TARGET|PREFIX|ROOT|USER|PYTHON|REPORT|LOG)|UV_(TARGET|PREFIX|SYSTEM_PYTHON|PYTHON)|"
                        r"PYTHON(PATH|HOME|STARTUP)|VIRTUAL_ENV|CONDA_PREFIX)$")  # fmt: skip
"""Variables by which an installer would install somewhere else."""
_MISPLACING = re.compile(r"^[\w:-]+\.(target|prefix|root|user|python)=", re.MULTILINE)
"""The same in pip's configuration files."""


class Failed(Exception):
    """An installer's command failed: its output is in the log, its last line here."""


@dataclass(frozen=True)
class Pin:
    """One distribution of a resolution."""

    name: str
    version: str
    sha256: tuple[str, ...]
    """Of the wheel, or of all that fit."""
    file: str | None = None
    """The wheel, where it is a file that was named."""

    @property
    def line(self) -> str:
        """Return the requirement that nothing else satisfies."""
        what = f"{self.name} @ {Path(self.file).as_uri()}" if self.file else f"{self.name}=={self.version}"
        return " ".join([what, *(f"--hash=sha256:{digest}" for digest in self.sha256)])


class Installer(ABC):
    """Resolves requirements, makes an empty environment, and installs what was resolved into it."""

    def __init__(self, log: Path) -> None:
        """`log` gets every command and what it prints."""
        self._log = log

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, with its version."""

    @abstractmethod
    def resolve(self, requirements: Sequence[str], constraints: Sequence[str], folder: Path) -> list[Pin]:
        """Return what the requirements come to for this Python, wheels alone; `folder` is for files."""

    @abstractmethod
    def create(self, folder: Path) -> None:
        """Make an environment without any package in `folder`."""

    @abstractmethod
    def install(self, pins: Path, python: Path) -> None:
        """Install the lines of `pins` into the environment of `python`, and nothing else."""

    def run(self, *command: str) -> str:
        """Run a command and return its standard output; Failed where it fails."""
        variables = {name: value for name, value in os.environ.items() if not _ELSEWHERE.fullmatch(name)}
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            at = log.tell()
            try:
                done = subprocess.run(
                    command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, check=False
                )
            except OSError as error:
                raise Failed(f"{command[0]}: {error.strerror}") from None
        text = done.stdout.decode("utf-8", "replace")
        if done.returncode:
            raise Failed(self._last(at, text) or f"{Path(command[0]).name} left with code {done.returncode}")
        return text

    def _last(self, at: int, output: str) -> str:
        with self._log.open("rb") as log:
            log.seek(at)
            printed = log.read().decode("utf-8", "replace")
        lines = [line.strip() for line in (*output.splitlines(), *printed.splitlines()) if line.strip()]
        told = [line for line in lines if re.match(r"error|×|╰|cause", line, re.IGNORECASE)]
        return (told or lines or [""])[-1 if not told else 0]


class Uv(Installer):
    """uv."""

    @property
    def name(self) -> str:
        """What it is, with its version."""
        return " ".join(self.run("uv", "--version").split()[:2])

    def resolve(self, requirements: Sequence[str], constraints: Sequence[str], folder: Path) -> list[Pin]:
        """Return what the requirements come to, from a lock file that uv writes."""
        lock = folder / "pylock.toml"
        wanted = _lines(folder / "requirements.in", [_argument(one) for one in requirements])
        self.run(
            "uv", "pip", "compile", "--format", "pylock.toml", "--no-header", "--only-binary", ":all:", "--quiet",
            "--python", sys.executable, "--constraints", str(_lines(folder / "constraints.txt", constraints)),
            "--output-file", str(lock), str(wanted),
        )  # fmt: skip
        return [_locked(folder, one) for one in tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]]

    def create(self, folder: Path) -> None:
        """Make an environment whose scripts run wherever it lies."""
        self.run("uv", "venv", "--quiet", "--relocatable", "--allow-existing", "--python", sys.executable, str(folder))

    def install(self, pins: Path, python: Path) -> None:
        """Install by hash."""
        self.run(
            "uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
            "--python", str(python), "--requirements", str(pins),
        )  # fmt: skip


class Pip(Installer):
    """venv and pip, where there is no uv."""

    @property
    def name(self) -> str:
        """What it is, with its version."""
        return f"pip {importlib.metadata.version('pip')}"

    def resolve(self, requirements: Sequence[str], constraints: Sequence[str], folder: Path) -> list[Pin]:
        """Return what the requirements come to, from the report of a dry run."""
        if (found := _MISPLACING.search(self.run(sys.executable, "-m", "pip", "config", "list"))) is not None:
            raise Failed(f"pip's configuration installs elsewhere ({found[0].rstrip('=')}): remove that, or install uv")
        report = folder / "report.json"
        self.run(
            *self._pip(folder / "bin" / "python"), "install", "--dry-run", "--ignore-installed", "--quiet",
            "--only-binary", ":all:", "--report", str(report),
            "--constraint", str(_lines(folder / "constraints.txt", constraints)), "--", *map(_argument, requirements),
        )  # fmt: skip
        return [_reported(one) for one in json.loads(report.read_text(encoding="utf-8"))["install"]]

    def create(self, folder: Path) -> None:
        """Make an environment without pip."""
        self.run(sys.executable, "-m", "venv", "--without-pip", str(folder))

    def install(self, pins: Path, python: Path) -> None:
        """Install by hash."""
        self.run(
            *self._pip(python), "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
            "--no-user", "--requirement", str(pins),
        )  # fmt: skip

    @staticmethod
    def _pip(python: Path) -> tuple[str, ...]:
        return (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--python", str(python))


def choose(log: Path) -> Installer:
    """Return what installs here; CannotHere where nothing does."""
    if shutil.which("uv") is not None:
        return Uv(log)
    if importlib.util.find_spec("pip") is not None:
        return Pip(log)
    raise CannotHere("an environment is made with uv or pip, and neither is here: pip install uv")


def _argument(requirement: str) -> str:
    """Return a requirement as an installer takes it; of a wheel its address, in which no character means anything."""
    if not requirement.endswith(".whl"):
        return requirement
    name = parse_wheel_filename(Path(requirement).name)[0]
    return f"{name} @ {Path(requirement).as_uri()}"


def _lines(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _locked(folder: Path, package: Any) -> Pin:
    """Return a package of a lock file (PEP 751)."""
    name, version = canonicalize_name(package["name"]), str(package.get("version", ""))
    if "archive" in package:
        archive = package["archive"]
        file = str((folder / archive["path"]).resolve()) if "path" in archive else _path(archive["url"])
        return Pin(name, version, (archive["hashes"]["sha256"],), file)
    return Pin(name, version, tuple(wheel["hashes"]["sha256"] for wheel in package.get("wheels", ())))


def _reported(package: Any) -> Pin:
    """Return a package of pip's report."""
    where, what = package["download_info"], package["metadata"]
    file = _path(where["url"]) if package["is_direct"] else None
    digest = where["archive_info"]["hashes"]["sha256"]
    return Pin(canonicalize_name(what["name"]), what["version"], (digest,), file)


def _path(url: str) -> str:
    return unquote(urlparse(url).path)
