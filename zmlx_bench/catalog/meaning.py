"""The normal form of a source: what it says to its reader is out, what it does is in, whatever Python computes it.

Python is walked as a syntax tree by our own rule, not by `ast.dump`, whose form changes with the version. Fields that
are None or empty are left out, so that what a newer grammar adds (`type_params`) does not show; docstrings and other
strings that stand alone are left out. C, C++, Metal and CUDA are cut into tokens: comments and layout are out, a line
of the preprocessor stays one. Of CMake, comments, blank lines and indentation are out. Pure standard library.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from zmlx_bench.catalog import tokens

PYTHON = (".py",)
C_LIKE = (".cu", ".metal", ".gpu", ".h", ".cpp", ".inl")
CMAKE = "CMakeLists.txt"

_NOT_MEANING = ("ctx", "kind", "type_comment")
_BODIES = ("body", "orelse", "finalbody")
_CMAKE_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|#[^\n]*', re.S)


def is_source(path: Path) -> bool:
    """Return whether a file has a normal form: anything else is no source."""
    return path.suffix in (*PYTHON, *C_LIKE) or path.name == CMAKE


def meaning(path: Path) -> str:
    """Return the normal form of a source; ValueError names the file when it cannot be read as what its name says."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix in PYTHON:
            return python(text)
        return cmake(text) if path.name == CMAKE else tokens.c_like(text)
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as source: {error}") from error


def python(text: str) -> str:
    """Return the normal form of Python source; SyntaxError where it is none."""
    return _node(ast.parse(text))


def cmake(text: str) -> str:
    """Return the lines of a CMakeLists.txt without comments and indentation, and no blank ones."""
    lines = _CMAKE_COMMENT.sub(lambda found: found[1] or "", text).splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def _node(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__}:{node.value!a}"
    fields = []
    for name, value in ast.iter_fields(node):
        if name in _NOT_MEANING or value is None:
            continue
        if isinstance(value, list):
            kept = [_value(each) for each in value if not _says_nothing(node, name, each)]
            if kept:
                fields.append(f"{name}=[{','.join(kept)}]")
        else:
            fields.append(f"{name}={_value(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _value(value: object) -> str:
    return _node(value) if isinstance(value, ast.AST) else ascii(value)


def _says_nothing(parent: ast.AST, field: str, value: object) -> bool:
    """Whether a list's member does nothing: a string that stands alone, or an empty piece of an f-string."""
    if field in _BODIES and isinstance(value, ast.Expr):
        return isinstance(value.value, ast.Constant) and isinstance(value.value.value, str)
    return isinstance(parent, ast.JoinedStr) and isinstance(value, ast.Constant) and value.value == ""
