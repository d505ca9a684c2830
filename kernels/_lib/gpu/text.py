"""The text of a GPU kernel as MLX should get it: short."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import tempfile
from pathlib import Path

from zmlx_bench.measured.user_cache import user_cache_path

_COMMENT_OR_INDENT = re.compile(r"//[^\n]*|/\*[\s\S]*?\*/|^\s+", re.MULTILINE)
_LOOKED_FOR = re.compile(r"\w+_(?:shape|strides|ndim)\b")


def short(text: str) -> str:
    """Return `text` without comments and indentation."""
    return _COMMENT_OR_INDENT.sub("", text)


@functools.cache
def by_reference(text: str) -> str:
    """Return an #include of a file that holds `text`, or the text itself where no file can be written.

    mx.fast.cuda_kernel copies its text at every call and hashes it at every evaluation; a file is read once, when
    the kernel is compiled. The file is named by its content and never changes. MLX hands a kernel the shape, strides
    and dimensions of those inputs whose `<input>_shape` (`_strides`, `_ndim`) it finds in the text it is given: these
    names stand in a comment beside the #include.
    """
    text = short(text)
    path = user_cache_path("zmlx") / "cuda" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.cuh"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, text)
    except OSError:
        return text
    names = " ".join(sorted(set(_LOOKED_FOR.findall(text))))
    return f'// {names}\n#include "{path}"\n' if names else f'#include "{path}"\n'


def _write(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(name).replace(path)
