"""Reading and writing artifacts: strict parsing with one-line errors, and writes that are whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.schema import document
from zmlx_bench.schema.base import Raw, StrictModel
from zmlx_bench.schema.refused import first_error

Model = TypeVar("Model", bound=StrictModel)
LARGEST_FILE = 32 * 1024 * 1024
"""Bytes; a larger artifact is refused before it is read: parsed JSON can take 25 times the memory of its text."""
LARGEST_LINES = 256 * 1024 * 1024
"""The same for what is parsed line by line."""
TEMPORARY_END = ".*.tmp"
"""Behind a dot and a file's name: it is being written, or was when its process was killed."""
_LONGEST_NUMBER = 40
_LARGEST = sys.float_info.max


def read_toml(path: Path, model: type[Model]) -> Model:
    """Read a TOML file into `model`; UnusableInput names file, table and field."""
    try:
        found = _of_toml(model, read_text(path))
    except ValueError as error:
        raise UnusableInput(f"{path}: {error}") from None
    assert isinstance(found, model)
    return found


@functools.lru_cache(maxsize=512)
def _of_toml(model: type[StrictModel], text: str) -> StrictModel:
    """Return what `decoded` makes of TOML, once of the same text: a command reads its declarations several times."""
    return decoded(model, text, tomllib.loads)


def read_json(path: Path, model: type[Model], part: Callable[[Raw], Raw] | None = None) -> Model:
    """Read a JSON file into `model`; UnusableInput names file and field. Duplicate keys and NaN are errors.

    `part` takes out of the document what is not wanted, so that it is not validated.
    """
    return parse(path, model, read_text(path), loads, part)


def as_begun(root: Path, path: Path, asked: Model, same: Iterable[str]) -> Model:
    """Return what the JSON file `path` below `root` has of `asked` from before; `asked` where there is no file.

    UnusableInput where its fields `same` are not those of `asked`.
    """
    if not path.exists():
        return asked
    refuse_outside(root, path)
    found = read_json(path, type(asked))
    if any(getattr(found, name) != getattr(asked, name) for name in same):
        raise UnusableInput(f"{path}: is about something else than its name says; remove it")
    return found


def parse(
    path: Path,
    model: type[Model],
    text: str,
    decode: Callable[[str], Any],
    part: Callable[[Raw], Raw] | None = None,
) -> Model:
    """Decode `text` and read it as `model`; `path` is only for the error."""
    try:
        return decoded(model, text, decode, part)
    except ValueError as error:
        raise UnusableInput(f"{path}: {error}") from None


def decoded(
    model: type[Model], text: str, decode: Callable[[str], Any], part: Callable[[Raw], Raw] | None = None
) -> Model:
    """Decode `text`, of any version, and validate it as `model`; ValueError says in one line what is wrong."""
    try:
        return document.read(decode(text), model, part)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValidationError as error:
        raise ValueError(first_error(error, model)) from None


def loads(text: str) -> Any:
    """Decode JSON strictly: no duplicate keys, no NaN or infinity, no absurdly long numbers."""
    return json.loads(
        text,
        object_pairs_hook=_unique,
        parse_constant=_no_constant,
        parse_int=_integer,
        parse_float=_finite,
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


# Evidence holds millions of numbers: they are looked at where they are converted, without another call.
def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise _long(text)
    return int(text)


def _finite(text: str) -> float:
    if len(text) > _LONGEST_NUMBER:
        raise _long(text)
    value = float(text)
    if -_LARGEST <= value <= _LARGEST:
        return value
    raise ValueError(f"the number {text} is out of range")


def _long(text: str) -> ValueError:
    return ValueError(f"a number of {len(text)} characters")


def read_text(path: Path, most: int = LARGEST_FILE) -> str:
    """Return the text of a file; UnusableInput as for `read_bytes`, and where it is not UTF-8."""
    try:
        # Editors on Windows put a byte order mark before the text.
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableInput(f"{path}: not UTF-8 at byte {error.start}") from None


def read_bytes(path: Path, most: int = LARGEST_FILE) -> bytes:
    """Return the bytes of a regular file of at most `most` bytes; UnusableInput for anything else.

    A device without an end or a pipe that nobody writes to would be read for ever.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits for its writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise UnusableInput(f"{path}: cannot be read: is no regular file")
            if about.st_size > most:
                raise UnusableInput(f"{path}: larger than {most // 1024**2} MiB")
            return file.read(most)
    except FileNotFoundError:
        raise UnusableInput(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UnusableInput(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content, whatever its size; OSError where it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(path: Path) -> int:
    """Return the bytes of a file, or of the files below a folder; what is not there, or vanishes meanwhile, has none.

    A link counts for itself: it may lead anywhere.
    """
    with contextlib.suppress(OSError):
        return _below(path) if path.is_dir() else path.lstat().st_size
    return 0


def _below(folder: Path) -> int:
    total = 0
    folders = [os.fspath(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def refuse_outside(root: Path, path: Path) -> None:
    """Raise UnusableInput where a symbolic link leads `path` out of the folder `root`."""
    # realpath, unlike Path.resolve, takes links in a circle too.
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise UnusableInput(f"{path}: leads outside {root.name}/; put the file itself there")


def dump_json(model: BaseModel) -> bytes:
    """Return the bytes of an artifact file: one JSON object, one line for each top-level field."""
    fields = model.model_dump(mode="json")
    lines = [
        f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in fields.items()
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` by way of a temporary file: fsynced, then renamed. CannotHere when the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None


def open_new(path: Path) -> BinaryIO:
    """Open a new, empty file for writing, its folder made where needed. CannotHere when the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("wb")
    except OSError as error:
        raise cannot_write(path, error) from None


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable where the platform can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def cannot_write(path: Path, error: OSError) -> CannotHere:
    """Return the error for a write that the system refused."""
    remedy = "free space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend that"
    return CannotHere(f"{path}: cannot be written: {reason(error)}; {remedy}, or choose another place")


def reason(error: OSError) -> str:
    """Return what the system said; of several refusals, which copying a folder gathers, the first one."""
    if isinstance(error, shutil.Error):
        _source, _target, first = error.args[0][0]
        return str(first)
    return error.strerror or str(error)
