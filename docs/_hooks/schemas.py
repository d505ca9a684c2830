"""A page for each artifact, made from the schema that reads and checks it."""

from __future__ import annotations

import json
from typing import Any

from zmlx_bench.cli.artifacts import KINDS

__all__ = ["KINDS", "page"]

_FILES = {
    "capsule": "capsules/<session>/<family>_<checkpoint>_<backend>_t<tokens>_r<blocks>_<variant>.json",
    "session": "capsules/<session>/session.json",
    "matrix": "one line of capsules/<session>/rows.jsonl and of matrix.jsonl",
    "entry": "notebook/<time>-<group>-<hash>.json",
    "variant": "variants/<family>.toml",
    "kernel": "kernels/<name>/kernel.toml",
    "prompts": "the file given to zmlx run --prompts",
    "policy": "variants/policy.toml",
    "promotion": "variants/promoted.toml",
    "legacy": "what zmlx capsule import writes",
    "bench": "what zmlx kernels bench --json prints",
    "screen": "what zmlx screen --json prints",
}
_LIMITS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "minLength": "characters, at least",
    "minItems": "entries, at least",
}
# Patterns that many fields share, in words.
_PATTERNS = {r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$": "a name", "^[0-9a-f]{64}$": "SHA-256 in hex"}


def page(kind: str) -> str:
    """Return the Markdown page of an artifact: every object with its fields, and the schema itself."""
    schema = KINDS[kind].model_json_schema()
    definitions = schema.pop("$defs", {})
    top = schema["title"]
    lines = [
        f"# {kind}",
        "",
        f"Made from the code that reads it; `zmlx schema {kind}` prints the JSON Schema.",
    ]
    if kind in _FILES:
        lines += ["", f"Where: `{_FILES[kind]}`"]
    for name, definition in {top: schema, **definitions}.items():
        lines += ["", f"## {name}", "", *_object(definition)]
    full = json.dumps({**schema, "$defs": definitions}, indent=2, ensure_ascii=False)
    lines += ["", "## The JSON Schema", "", "```json", full, "```", ""]
    return "\n".join(lines)


def _object(definition: dict[str, Any]) -> list[str]:
    lines = [_line(definition["description"]), ""] if "description" in definition else []
    if "properties" not in definition:
        return [*lines, _type(definition), ""]
    required = definition.get("required", [])
    lines += ["| field | type | what it is |", "| --- | --- | --- |"]
    for name, field in definition["properties"].items():
        default = field.get("default")
        optional = "" if name in required else f" (default: `{json.dumps(default)}`)"
        lines.append(f"| `{name}` | {_type(field)} | {_line(field.get('description', ''))}{optional} |")
    return lines


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    for union in ("anyOf", "oneOf"):
        if union in field:
            return " or ".join(_type(part) for part in field[union])
    if field.get("type") == "array":
        parts = field.get("prefixItems")
        inside = ", ".join(_type(part) for part in parts) if parts else _type(field.get("items", {}))
        return f"list of {inside}"
    if field.get("type") == "object":
        values = field.get("additionalProperties") or next(iter(field.get("patternProperties", {}).values()), None)
        return f"table of {_type(values)}" if isinstance(values, dict) else "table"
    limits = [f"{words} {field[key]}" for key, words in _LIMITS.items() if key in field]
    if "pattern" in field:
        pattern = field["pattern"]
        limits.append(_PATTERNS.get(pattern) or f"`{pattern}`".replace("|", "\\|"))
    return ", ".join([str(field.get("type", "anything")), *limits])


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
