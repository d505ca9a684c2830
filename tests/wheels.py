"""Wheels that tests plant, and an index of them: MLX and mlx-lm of any version, with the files of those here."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import mlx.core

from tests.conftest import QUIET_ENV

INSTALLED = Path(mlx.core.__file__).resolve().parents[1]
"""Where the packages of this environment lie."""
MLX, MLX_LM = version("mlx"), version("mlx-lm")


def wheel(folder: Path, name: str, version: str, files: Mapping[str, str | bytes], needs: tuple[str, ...] = ()) -> Path:
    """Write a wheel of these files, by their place in site-packages, and return it."""
    stem = f"{name.replace('-', '_')}-{version}"
    head = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: cpu\n"]
    content = {place: text.encode() if isinstance(text, str) else text for place, text in files.items()}
    content[f"{stem}.dist-info/METADATA"] = "".join([*head, *(f"Requires-Dist: {one}\n" for one in needs)]).encode()
    content[f"{stem}.dist-info/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    lines = [f"{place},sha256={_hash(data)},{len(data)}\n" for place, data in content.items()]
    content[f"{stem}.dist-info/RECORD"] = "".join([*lines, f"{stem}.dist-info/RECORD,,\n"]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, data in content.items():
            archive.writestr(place, data)
    return path


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def borrowed(folder: Path, mlx: str = MLX, mlx_lm: str = MLX_LM) -> None:
    """Write wheels of MLX and mlx-lm that are no files of their own but those that are installed here."""
    wheel(folder, "mlx", mlx, {"zz_borrowed.pth": f"{INSTALLED}\n"})
    wheel(folder, "mlx-lm", mlx_lm, {})


def of_index(wheels: Path, cache: Path) -> dict[str, str]:
    """Return the variables of a process for which there is no index but the folder `wheels`, nor uv, nor a cache but
    `cache`."""
    return {
        **QUIET_ENV, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "XDG_CACHE_HOME": str(cache),
        "PATH": "/usr/bin:/bin",
    }  # fmt: skip
