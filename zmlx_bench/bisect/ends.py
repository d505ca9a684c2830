"""What is asked of a bisection: two versions of one package, and the releases between them in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from zmlx_bench.bisect.index import Release
from zmlx_bench.errors import UnusableInput, unknown


@dataclass(frozen=True)
class Ends:
    """The two versions that are compared first."""

    package: str
    good: Version
    bad: Version


@dataclass(frozen=True)
class Range:
    """The releases from the good end to the bad one, in order, and those that are left out with the reason."""

    releases: tuple[Release, ...]
    left_out: tuple[tuple[str, str], ...]


def ends_of(good: str, bad: str) -> Ends:
    """Return what `--good PKG==A --bad PKG==B` name; UnusableInput naming the option that cannot be used."""
    one, first = _pinned("--good", good)
    other, last = _pinned("--bad", bad)
    if one != other:
        raise UnusableInput(f"--bad {bad}: is another package than --good {good}; ask about one at a time")
    if first == last:
        raise UnusableInput(f"--bad {bad}: is the version of --good; nothing lies between")
    return Ends(one, first, last)


def _pinned(option: str, text: str) -> tuple[str, Version]:
    try:
        found = Requirement(text)
        (only,) = found.specifier
        if only.operator != "==" or found.extras or found.marker or found.url:
            raise ValueError
        return canonicalize_name(found.name), Version(only.version)
    except (InvalidRequirement, InvalidVersion, ValueError):
        raise UnusableInput(f"{option} {text!r}: must be PACKAGE==VERSION, such as mlx-lm==0.31.1") from None


def range_of(releases: Sequence[Release], ends: Ends) -> Range:
    """Return the releases from the good end to the bad one; UnusableInput for an end that was not released.

    Yanked releases are left out unless an end is one, prereleases unless an end is a prerelease.
    """
    known = {release.version: release for release in releases}
    for option, end in (("--good", ends.good), ("--bad", ends.bad)):
        if end not in known:
            near = [str(version) for version in known]
            raise UnusableInput(f"{option} {ends.package}=={end}: {unknown('version', str(end), near)}")
        if not known[end].installs:
            raise UnusableInput(f"{option} {ends.package}=={end}: has no wheel for this Python and platform")
    early = any(end.is_prerelease for end in (ends.good, ends.bad))
    low, high = sorted((ends.good, ends.bad))
    inside: list[Release] = []
    left_out: list[tuple[str, str]] = []
    for release in sorted(releases, key=lambda one: one.version, reverse=ends.good > ends.bad):
        version = release.version
        if not low <= version <= high:
            continue
        why = "" if version in (low, high) else _why_not(release, early=early)
        if why:
            left_out.append((str(version), why))
        else:
            inside.append(release)
    return Range(tuple(inside), tuple(left_out))


def _why_not(release: Release, *, early: bool) -> str:
    if release.yanked:
        return "yanked"
    if release.version.is_prerelease and not early:
        return "a prerelease"
    return "" if release.installs else "no wheel for this Python and platform"
