"""The releases of a package: those of the index that pip is configured for, and of folders of wheels.

The simple API in JSON (PEP 691), or in HTML (PEP 503) where an index speaks nothing else.
"""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import platform
import re
import ssl
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import Request, url2pathname, urlopen

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import sys_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.machine.command import output_of
from zmlx_bench.printable import one_line

PYPI = "https://pypi.org/simple"
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_TIMEOUT_S = 60.0
_LARGEST = 64 << 20
_SETTING = re.compile(r"^(:env:|[\w-]+)\.([\w-]+)=(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Release:
    """One version of the package."""

    version: Version
    yanked: bool
    """Whether every file of it was."""
    installs: bool
    """Whether there is a wheel for this Python and platform."""
    wheel: Path | None = None
    """Where it lies, of one in a folder that was named."""


@dataclass(frozen=True)
class Settings:
    """Where pip looks for packages here."""

    indexes: tuple[str, ...]
    folders: tuple[Path, ...]
    certificates: str | None


def settings() -> Settings:
    """Return where pip looks by its configuration files and variables; PyPI where there is no pip.

    CannotHere where pip does not say: another index than the user's may have other packages under the same names.
    """
    text: str | None = ""
    if importlib.util.find_spec("pip") is not None:
        text = output_of(sys.executable, "-m", "pip", "config", "list", timeout_s=_TIMEOUT_S)
    if text is None:
        raise CannotHere(f"`{sys.executable} -m pip config list` fails: pip does not say which index is yours")
    said: dict[str, str] = {}
    # A variable overrides a file.
    for _, name, value in sorted(_SETTING.findall(text), key=lambda one: one[0] == ":env:"):
        said[name] = str(ast.literal_eval(value))
    off = said.get("no-index", "").lower() in ("1", "true", "yes", "on")
    indexes = () if off else (said.get("index-url", PYPI), *said.get("extra-index-url", "").split())
    links = said.get("find-links", "").split()
    for one in (*indexes, *links):
        try:
            urlsplit(one)
        except ValueError as error:
            # Without the address, which may hold a password.
            raise CannotHere(f"pip's configuration: an index or a link in it is no address: {error}") from None
    folders = tuple(_local(one) for one in links if "://" not in one or _is_file(one))
    return Settings(indexes, folders, said.get("cert"))


def released(package: str, named: Iterable[Path] = (), here: Settings | None = None) -> list[Release]:
    """Return the versions of a package, ascending; of one that a named folder has the wheel there.

    UnusableInput where there is none, CannotHere where an index cannot be asked.
    """
    here = settings() if here is None else here
    found: dict[Version, Release] = {}
    for index in here.indexes:
        _add(found, _of_index(index, package, here.certificates))
    for folder in here.folders:
        _add(found, (replace(one, wheel=None) for one in _of_folder(folder, package)))
    for folder in named:
        if not folder.is_dir():
            raise UnusableInput(f"--find-links {folder}: is no folder")
        for one in _of_folder(folder, package):
            found[one.version] = one
    if not found:
        where = ", ".join([*map(_without_password, here.indexes), *map(str, (*here.folders, *named))])
        raise UnusableInput(f"package {package}: there is no release of it in {where or 'no index'}")
    return [found[version] for version in sorted(found)]


def _add(found: dict[Version, Release], more: Iterable[Release]) -> None:
    """Take files of releases; a release is yanked where all its files are."""
    for one in more:
        known = found.get(one.version, one)
        found[one.version] = replace(known, yanked=known.yanked and one.yanked, installs=known.installs or one.installs)


def _of_folder(folder: Path, package: str) -> Iterator[Release]:
    for path in sorted(folder.glob("*.whl")) if folder.is_dir() else ():
        one = _release(path.name, package, None, yanked=False)
        if one is not None and one.installs:
            yield replace(one, wheel=path.resolve())


def _of_index(index: str, package: str, certificates: str | None) -> Iterator[Release]:
    url = f"{index.rstrip('/')}/{quote(canonicalize_name(package))}/"
    answer = _read_file(url) if _is_file(url) else _ask(url, certificates)
    if answer is None:
        return
    kind, data = answer
    try:
        listed = json.loads(data)["files"] if "json" in kind else _anchors(url, data.decode("utf-8", "replace"))
        for file in listed:
            one = _release(file["filename"], package, file.get("requires-python"), yanked=bool(file.get("yanked")))
            if one is not None:
                yield one
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CannotHere(
            f"package index {_without_password(index)}: its answer for {package} is not understood: {error}"
        ) from None


def _release(filename: str, package: str, requires: str | None, *, yanked: bool) -> Release | None:
    """Return what a file says of its release; None where it is of another package, or has no name of PEP 427 or 625."""
    try:
        if filename.endswith(".whl"):
            name, version, _, tags = parse_wheel_filename(filename)
            fits = not _TAGS.isdisjoint(tags)
        else:
            name, version = parse_sdist_filename(filename)
            fits = False
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    if name != canonicalize_name(package):
        return None
    return Release(version, yanked, fits and _python_fits(requires))


_TAGS = frozenset(sys_tags())


def _python_fits(requires: str | None) -> bool:
    try:
        return not requires or SpecifierSet(requires).contains(platform.python_version(), prereleases=True)
    except InvalidSpecifier:
        return True


def _ask(url: str, certificates: str | None) -> tuple[str, bytes] | None:
    """Return an index's answer with its kind; None where it does not know the package."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    try:
        context = ssl.create_default_context(cafile=certificates) if parts.scheme == "https" else None
        request = Request(urlunsplit(bare), headers={"Accept": _ACCEPT, "User-Agent": "zmlx"})
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            # Not to where the index may send us.
            request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        with urlopen(request, timeout=_TIMEOUT_S, context=context) as answer:
            return answer.headers.get_content_type(), answer.read(_LARGEST)
    except HTTPError as error:
        error.close()
        if error.code in (404, 410):
            return None
        raise CannotHere(f"package index {_without_password(url)}: answers {error.code} {error.reason}") from None
    except (URLError, HTTPException, OSError, ValueError) as error:
        why = one_line(str(getattr(error, "reason", error)))
        raise CannotHere(f"package index {_without_password(url)}: cannot be asked: {why}") from None


def _read_file(url: str) -> tuple[str, bytes] | None:
    page = _local(url) / "index.html"
    return ("text/html", page.read_bytes()) if page.is_file() else None


class _Anchors(HTMLParser):
    def __init__(self, base: str) -> None:
        super().__init__()
        self.found: list[dict[str, Any]] = []
        self._base = base

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a link to a file."""
        said = dict(attrs)
        if tag == "a" and (link := said.get("href")):
            path = urlsplit(urljoin(self._base, link)).path
            self.found.append(
                {
                    "filename": unquote(path.rpartition("/")[2]),
                    "requires-python": said.get("data-requires-python"),
                    "yanked": "data-yanked" in said,
                }
            )


def _anchors(url: str, page: str) -> list[dict[str, Any]]:
    parser = _Anchors(url)
    parser.feed(page)
    return parser.found


def _is_file(url: str) -> bool:
    return urlsplit(url).scheme == "file"


def _local(place: str) -> Path:
    return Path(url2pathname(urlsplit(place).path)) if _is_file(place) else Path(place).expanduser()


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
