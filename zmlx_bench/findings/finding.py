"""What a check found: the file, the field and what is wrong, in one line fit for a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from zmlx_bench.printable import clean


@dataclass(frozen=True, order=True)
class Finding:
    """One fault."""

    file: str
    """Path in the workspace, with forward slashes."""
    field: str
    """The field, dotted; `file` where the whole file is meant."""
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.field}: {self.message}"


def finding(file: str, field: str, message: str) -> Finding:
    """Build a finding; artifacts may hold anything, so what is no printable text is escaped and the rest cut."""
    return Finding(clean(file), clean(field), clean(message))
