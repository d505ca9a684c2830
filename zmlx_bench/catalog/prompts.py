"""Prompt sets: the packaged default, a selection of it, or a file."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput, unknown
from zmlx_bench.schema.prompts import PromptSet

_DATA = Path(__file__).resolve().parent.parent / "data"
DEFAULT = _DATA / "prompts.toml"
SETS = {"near": _DATA / "prompts_near.toml"}
"""Packaged sets beside the default one, by name."""
CONTEXT = _DATA / "context.txt"
"""The sentences that a context is drawn from, one a line."""


def load(wanted: str | None) -> PromptSet:
    """Return the prompts for `--prompts`: the defaults for None, a packaged set by its name, a TOML file, or ids of
    defaults by comma."""
    if wanted is None or wanted in SETS:
        return files.read_toml(DEFAULT if wanted is None else SETS[wanted], PromptSet)
    if wanted.endswith(".toml") or "/" in wanted:
        return files.read_toml(Path(wanted).expanduser(), PromptSet)
    defaults = files.read_toml(DEFAULT, PromptSet)
    by_id = {prompt.id: prompt for prompt in defaults.prompt}
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if not names:
        raise UnusableInput("--prompts: names no prompt; give ids by comma or a TOML file")
    for name in names:
        if name not in by_id:
            raise unknown("prompt", name, by_id, "(or give a TOML file)")
    return PromptSet(prompt=tuple(by_id[name] for name in dict.fromkeys(names)))


def context_pieces() -> tuple[str, ...]:
    """Return the sentences that a context is drawn from, each with its line's end."""
    return tuple(CONTEXT.read_text(encoding="utf-8").splitlines(keepends=True))
