"""What is asked for as an environment: a name of the workspace, requirements, or an interpreter."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput, unknown
from zmlx_bench.machine.backend import installed
from zmlx_bench.schema.environment import EnvironmentFile, EnvironmentSpec
from zmlx_bench.workspace import Workspace

FILE = "environments.toml"
MEASURED = ("mlx", "mlx-lm")
_BACKENDS = {"mlx-cpu": "cpu", "mlx-cuda-12": "cuda12", "mlx-cuda-13": "cuda13"}
"""Distributions with a backend of MLX, by the extra of `mlx` that asks for them."""
_BETWEEN = re.compile(r",(?=\s*[A-Za-z./~])")
"""A comma between two requirements; one within a requirement stands before a comparison."""

_PATH = re.compile(r"[^=<>!;,@]+")
"""What a path looks like where there is no such file: nothing in it is of a requirement."""


@dataclass(frozen=True)
class Asked:
    """An environment that is asked for: requirements, or the path of an interpreter."""

    text: str
    """A name of the workspace, or what was typed."""
    requirements: tuple[str, ...] = ()
    """Each as it was asked for: PEP 508, or the absolute path of a wheel."""
    python: Path | None = None


def declared(workspace: Workspace) -> dict[str, EnvironmentSpec]:
    """Return the environments of the workspace; none where it has no such file."""
    path = workspace.variants / FILE
    return dict(files.read_toml(path, EnvironmentFile).environment) if path.exists() else {}


def asked(workspace: Workspace, text: str) -> Asked:
    """Return what `text` asks for; UnusableInput where it is none of the three."""
    known = declared(workspace)
    if text in known:
        where = f"{workspace.variants / FILE}: environment.{text}"
        return _of_spec(workspace.root, text, known[text], where)
    if not text.isprintable() or not text.strip():
        raise UnusableInput(f"environment {text!r}: must be a name, requirements such as mlx==0.32.3, or a path")
    if "/" in text and (_PATH.fullmatch(text) or Path(text).expanduser().is_file()) and not text.endswith(".whl"):
        return Asked(text, python=_interpreter(Path.cwd(), text, f"environment {text}"))
    wanted = tuple(part.strip() for part in _BETWEEN.split(text))
    if len(wanted) == 1 and re.fullmatch(r"[A-Za-z0-9_.-]+", text) and not text.endswith(".whl"):
        raise unknown("environment", text, known, f"(a requirement names a version: {text}==1.2.3)")
    return Asked(text, tuple(_requirement(Path.cwd(), part, f"environment {text}") for part in wanted))


def place(workspace: Workspace, text: str) -> object:
    """Return what `text` asks for so that two that ask for the same are equal, however they name it.

    Two names of one interpreter in one folder are one environment; in two folders they are two, though both lead to the
    same Python. What cannot be asked for (any more) is its text.
    """
    try:
        wanted = asked(workspace, text)
    except UnusableInput:
        return text
    if wanted.python is None:
        return tuple(sorted(completed(wanted.requirements)))
    return wanted.python.parent.resolve(), wanted.python.resolve()


def _of_spec(root: Path, name: str, spec: EnvironmentSpec, where: str) -> Asked:
    if spec.python is not None:
        return Asked(name, python=_interpreter(root, spec.python, f"{where}.python"))
    return Asked(name, tuple(_requirement(root, text, f"{where}.requirements") for text in spec.requirements))


def _interpreter(root: Path, text: str, where: str) -> Path:
    # Not resolved: a virtual environment's interpreter is a link, and where it lies says what it has.
    path = root / Path(text).expanduser()
    if not path.is_file():
        raise UnusableInput(f"{where}: {text} is no file; give the path of a Python, such as ENV/bin/python")
    return path


def _requirement(root: Path, text: str, where: str) -> str:
    """Return one requirement that is safe to hand to an installer: what is neither PEP 508 nor a wheel is refused."""
    if text.endswith(".whl"):
        path = (root / Path(text).expanduser()).resolve()
        try:
            parse_wheel_filename(path.name)
        except InvalidWheelFilename as error:
            raise UnusableInput(f"{where}: {error}") from None
        if not path.is_file():
            raise UnusableInput(f"{where}: {text} is no file")
        return str(path)
    try:
        found = Requirement(text)
    except InvalidRequirement as error:
        raise UnusableInput(f"{where}: {text!r} is no requirement: {str(error).splitlines()[0]}") from None
    if found.url is not None:
        raise UnusableInput(f"{where}: {text!r} names an address; name a version, or the path of a wheel")
    return str(found)


def name_of(requirement: str) -> str:
    """Return the distribution that a requirement is about."""
    if requirement.endswith(".whl"):
        return canonicalize_name(parse_wheel_filename(Path(requirement).name)[0])
    return canonicalize_name(Requirement(requirement).name)


def completed(requirements: Iterable[str]) -> tuple[str, ...]:
    """Return the requirements with MLX and mlx-lm as they are here where they are not named, and with MLX's backend."""
    wanted = list(requirements)
    named = {name_of(one) for one in wanted}
    wanted += [f"{name}=={version}" for name in MEASURED if name not in named and (version := installed(name))]
    extras = ",".join(sorted(extra for name, extra in _BACKENDS.items() if installed(name)))
    if not extras:
        return tuple(wanted)
    plain = [one for one in wanted if one.endswith(".whl") or name_of(one) != "mlx" or Requirement(one).extras]
    with_backend = [f"mlx[{extras}]{Requirement(one).specifier}" for one in wanted if one not in plain]
    if any(one.endswith(".whl") and name_of(one) == "mlx" for one in wanted):
        with_backend.append(f"mlx[{extras}]")
    return (*plain, *with_backend)


def held(requirements: Iterable[str]) -> tuple[str, ...]:
    """Return constraints by which nothing else that mlx-lm needs differs from what is installed here."""
    named = {name_of(one) for one in requirements}
    found: dict[str, str] = {}
    waiting = [*MEASURED]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found or (version := installed(name)) is None:
            continue
        found[name] = version
        needed = [Requirement(text) for text in importlib.metadata.requires(name) or ()]
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    own = {name for name in found if name in named or name.split("-")[0] == "mlx"}
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()) if name not in own)
