"""Errors that end a command with one clear line and an exit code of the contract."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from zmlx_bench import exit_codes


class ZmlxError(Exception):
    """An error whose text is meant for the user: what is wrong, where, and what to do about it."""

    exit_code = exit_codes.UNUSABLE


class UnusableInput(ZmlxError):
    """A file, option or name that cannot be used as given (exit code 3)."""

    exit_code = exit_codes.UNUSABLE


class CannotHere(ZmlxError):
    """This machine lacks what the command needs (exit code 4)."""

    exit_code = exit_codes.CANNOT


def unknown(kind: str, name: str, known: Iterable[str], remedy: str = "") -> UnusableInput:
    """Build the error for an unknown `name` of a `kind`, with the nearest known name as a hint."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(names) or 'none'}"
    return UnusableInput(f"unknown {kind} {name!r}; {hint}{' ' + remedy if remedy else ''}")
