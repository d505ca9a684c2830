"""What a variant's evidence is bound to: the meaning of all that ran between two tokens, and not its bytes.

`identity` = the variant's declaration, its kernels' sources and the measured path, each in the normal form of
`catalog.meaning` over the files of `catalog.found` and `catalog.measured_path`. The formula's number is part of every
digest: a change of the formula is a new number, never a new meaning of an old one. Pure standard library; run as a
program, it prints the digest of every source below the folders given, for comparison under another Python.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.catalog.found import NOT_SOURCES, Import, KernelSources, kernel_sources
from zmlx_bench.catalog.meaning import is_source, meaning
from zmlx_bench.catalog.measured_path import path_sources

FORMULA = 1


@dataclass(frozen=True)
class Part:
    """A kernel of a variant as it is declared."""

    kernel: str
    mode: str
    sites: tuple[str, ...]
    max_tokens: int | None
    """Largest call that it serves; None is any. It decides what runs."""


@dataclass(frozen=True)
class Identity:
    """A variant's identity on one backend, and the parts that it is made of: all SHA-256 in hex."""

    formula: int
    digest: str
    declaration: str
    """Of family, backend, kernels by mode and site, and environment; not of the variant's name or its `why`."""
    kernels: Mapping[str, str]
    path: str
    """Of the measured path."""


def identity(
    parts: Sequence[Part],
    env: Mapping[str, str],
    family: str,
    backend: str,
    kernels: Path,
    folder: Path,
    environment: str | None = None,
    *,
    conditions: bool = False,
    near: bool = False,
) -> Identity:
    """Return the identity of a variant of `family`, whose folder is `folder`; `kernels` is the workspace's, and
    `environment` the digest of another environment that it runs in.

    With `conditions` it is the one under any but the default ones, with `near` of a variant that is not held to every
    token of the baseline. ValueError names a source that cannot be read.
    """
    found = {part.kernel: kernel_sources(kernels, part.kernel, backend) for part in parts}
    limits = {part.kernel: part.max_tokens for part in parts}
    digests = {name: _sources_digest(kernels, found[name], limits[name]) for name in sorted(found)}
    declaration = declaration_digest(parts, env, family, backend, environment, near=near)
    outside = [one for sources in found.values() for one in sources.outside]
    path = path_digest(folder, outside, conditions=conditions)
    return Identity(FORMULA, whole(declaration, digests, path), declaration, digests, path)


def kernel_digest(kernels: Path, name: str, limit: int | None, backend: str) -> str:
    """Return the digest of one kernel's sources on `backend`, with its largest call; ValueError as `identity`."""
    return _sources_digest(kernels, kernel_sources(kernels, name, backend), limit)


def _sources_digest(kernels: Path, sources: KernelSources, limit: int | None) -> str:
    return files_digest({path.relative_to(kernels).as_posix(): path for path in sources.files}, limit)


def path_digest(folder: Path, also: Iterable[Import] = (), *, conditions: bool = False) -> str:
    """Return the digest of the measured path of the family in `folder`, with what kernels import of it."""
    return files_digest(path_sources(folder, also, conditions=conditions))


def declaration_digest(
    parts: Sequence[Part],
    env: Mapping[str, str],
    family: str,
    backend: str,
    environment: str | None = None,
    *,
    near: bool = False,
) -> str:
    """Return the digest of what is declared, whatever the variant is called."""
    declared: list[object] = [family, backend, sorted([p.kernel, p.mode, *p.sites] for p in parts), dict(env)]
    if environment is not None:
        declared.append(environment)
    return _hash([*declared, {"fidelity": "near"}] if near else declared)


def whole(declaration: str, kernels: Mapping[str, str], path: str) -> str:
    """Return the digest over an identity's parts."""
    return _hash([declaration, dict(kernels), path])


def digest_of(path: Path) -> str:
    """Return the digest of one source's normal form; ValueError where it cannot be read."""
    return hashlib.sha256(_meaning(path).encode()).hexdigest()


def files_digest(files: Mapping[str, Path], limit: int | None = None) -> str:
    """Return the digest of sources by what they are called, with a kernel's largest call; ValueError as `digest_of`."""
    return _hash([{name: digest_of(path) for name, path in files.items()}, limit])


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps([FORMULA, value], sort_keys=True).encode()).hexdigest()


def _meaning(path: Path) -> str:
    stat = path.stat()
    return _known(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1024)
def _known(path: Path, _changed_ns: int, _size: int) -> str:
    return meaning(path)


def main(folders: Sequence[str]) -> None:
    """Print a line for each source below the folders: its digest and its path."""
    for folder in map(Path, folders):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and is_source(path) and not NOT_SOURCES.intersection(path.parts):
                print(digest_of(path), path.relative_to(folder).as_posix())


if __name__ == "__main__":
    main(sys.argv[1:])
