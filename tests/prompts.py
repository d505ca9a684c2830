"""Short prompts for sessions that are not looked at for their prompts: `--prompts ONE` (`primes`) or `--prompts TWO`
(`great_wall`, `lighthouse`)."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "data" / "prompts"
ONE = str(_FOLDER / "one.toml")
TWO = str(_FOLDER / "two.toml")
