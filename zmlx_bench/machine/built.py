"""Parts of Python's standard library that a Python may be built without, and that zmlx or what it imports needs."""

from __future__ import annotations

import importlib

from zmlx_bench.printable import one_line

PARTS = {
    "_ctypes": ("ctypes", "libffi", "libffi-dev"),
    "_ssl": ("ssl", "OpenSSL", "libssl-dev"),
    "zlib": ("zlib", "zlib", "zlib1g-dev"),
}
"""By the module that is compiled: what it is imported as, the library that it is built on, and Debian's package."""


def lacking() -> tuple[str, str] | None:
    """Return which part this Python cannot import, and the remedy; None where it has them all."""
    for module in PARTS:
        try:
            importlib.import_module(module)
        except ImportError as error:
            return f"this Python cannot import {PARTS[module][0]} ({one_line(str(error))})", _remedy(module)
    return None


def remark(why: str) -> str:
    """Return what to do about another Python that said `why` it cannot import something, in brackets after a space;
    empty where that is none of these parts."""
    found = next((module for module in PARTS if f"'{module}'" in why), None)
    return "" if found is None else f" ({_remedy(found)})"


def _remedy(module: str) -> str:
    _, library, package = PARTS[module]
    return (
        f"it was built without {library}, or that is gone; install it (Debian: apt-get install {package}) and build "
        "this Python again, or take another one, and make the environment anew"
    )
