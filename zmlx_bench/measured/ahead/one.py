"""`python -m zmlx_bench.measured.ahead.one`: compiles the kernel that standard input asks for, one JSON object.

NVRTC compiles one text at a time in a process, whatever its threads: several at once need a process each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from zmlx_bench.measured.ahead import modules
from zmlx_bench.measured.ahead.nvrtc import Nvrtc

MODULE = "zmlx_bench.measured.ahead.one"


@dataclass(frozen=True)
class Asked:
    """A kernel to compile; bytes are told as the characters of Latin 1."""

    nvrtc: str
    """The compiler's file."""
    where: str
    """The folder that MLX keeps modules in."""
    module: str
    kernel: str
    text: str
    headers: Mapping[str, str]
    options: Sequence[str]

    def encoded(self) -> bytes:
        """Return the line that a process is told."""
        return json.dumps(asdict(self)).encode("ascii")


def make(asked: Asked) -> None:
    """Compile a kernel and put it where MLX looks; OSError or RuntimeError where that cannot be done."""
    text = asked.text.encode("latin-1")
    read = modules.read_with(text)
    headers = {name: header.encode("latin-1") for name, header in asked.headers.items()}
    made = Nvrtc(asked.nvrtc).compile(text, f"{asked.module}.cu", [asked.kernel], headers, asked.options)
    modules.put(Path(asked.where), asked.module, made, read)


if __name__ == "__main__":
    make(Asked(**json.loads(sys.stdin.buffer.read())))
