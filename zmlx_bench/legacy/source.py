"""Reading a file of the predecessor: bytes, hash, parsed content and what lies beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from zmlx_bench.errors import UnusableInput
from zmlx_bench.files import loads, read_bytes
from zmlx_bench.schema.refused import first_error


class SourceModel(BaseModel):
    """Base of what the layouts expect in a source: strict types, finite numbers, further fields ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True, extra="ignore")


@dataclass(frozen=True)
class Source:
    """A parsed file. `data` is a JSON value; for `.jsonl` the list of the lines' values."""

    path: Path
    sha256: str
    data: Any

    @property
    def name(self) -> str:
        """File name without the folder."""
        return self.path.name

    def beside(self, named: str) -> Path:
        """Return where a file that the source names would lie: by its own name in the source's folder."""
        return self.path.parent / Path(named).name


def read_source(path: Path) -> Source:
    """Read and parse `path`; raise `UnusableInput` for whatever makes it unreadable."""
    try:
        raw = read_bytes(path)
        text = raw.decode("utf-8")
        data = [loads(line) for line in text.split("\n") if line] if path.suffix == ".jsonl" else loads(text)
    except RecursionError as error:
        raise UnusableInput(f"{path}: nested too deeply") from error
    except ValueError as error:
        raise UnusableInput(f"{path}: not the JSON it should be: {error}") from error
    return Source(path=path, sha256=hashlib.sha256(raw).hexdigest(), data=data)


def explain(path: Path, shape: str, error: ValidationError) -> UnusableInput:
    """Turn the first complaint of pydantic into one line that names file, layout and field."""
    return UnusableInput(f"{path}: looks like {shape}, but {first_error(error)}")
