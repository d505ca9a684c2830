"""Tables that pages show and that the sources hold: the policy, the sites of a decoder layer, the exit codes."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.schema.policy import Policy


def policy(root: Path) -> str:
    """Every threshold of `variants/policy.toml` with what it means."""
    found = files.read_toml(root / "variants" / "policy.toml", Policy)
    lines = ["| threshold | value | meaning |", "| --- | --- | --- |"]
    for name, field in Policy.model_fields.items():
        if field.description:
            value = getattr(found, name)
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            meaning = " ".join(field.description.split())
            lines.append(f"| `{name}` | {shown} | {meaning} |")
    return "\n".join(lines)


def sites(root: Path) -> str:
    """The inputs and outputs of every site, from the contract that kernels keep."""
    source = (root / "zmlx_bench" / "patch" / "contract.py").read_text(encoding="utf-8")
    # Read, not imported: the contract's package needs MLX.
    text = ast.get_docstring(ast.parse(source)) or ""
    # An asterisk there multiplies; in Markdown it would begin emphasis.
    return "\n".join(line.replace("*", "\\*") for line in text.splitlines() if line.startswith("|"))


TABLES: dict[str, Callable[[Path], str]] = {"policy": policy, "sites": sites}
