"""Sizes of the tiny checkpoints, for layers that are quick to build."""

from __future__ import annotations

import json
from typing import Any

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints.resolve import TINY


def _sizes(family: str) -> dict[str, Any]:
    config = json.loads((TINY / f"tiny_{family}" / "config.json").read_text())
    return {key: config[key] for key, value in families.facts(family).config.items() if key in config and value != []}


SIZES = {family: _sizes(family) for family in ("qwen3", "glm47")}
