"""A workspace with escape sequences, markup and HTML in every field that may hold text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.test_check import edit
from tests.sealing import resealed
from zmlx_bench.legacy.store import import_into
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.workspace import Workspace

EVIL = "\x1b[2J\x1b]0;t\x07\u202e\x9b31m<script>alert(1)</script>[red]:smile:[/nothing] ![x](http://x) |`\r"
FREE = ("device", "os", "arch", "cpu", "why", "mlx", "mlx_lm", "python", "zmlx", "message", "text", "source")
"""Fields that may hold any text."""


def spoiled(value: Any, *, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: spoiled(part, key=name) for name, part in value.items()}
    if isinstance(value, list):
        return [spoiled(part, key=key) for part in value]
    if isinstance(value, str) and (key in FREE or key == "command") and " " not in key:
        return value if value.startswith("p") and len(value) == 2 else value + EVIL
    return value


@pytest.fixture
def evil(decided: Workspace, tmp_path: Path) -> Workspace:
    """Every capsule and session with evil text in each field that may hold text, sealed and listed again."""
    rows = []
    for folder in sorted(path for path in decided.capsules.iterdir() if path.is_dir()):
        session = f"capsules/{folder.name}/session.json"
        hashes = {}
        for path in sorted(folder.glob("qwen3*.json")):
            file = f"capsules/{folder.name}/{path.name}"
            edit(decided, file, lambda content: content.update(spoiled(content)), rehash=True)
            hashes[path.name] = json.loads(path.read_text())["content_sha256"]
        path = decided.root / session
        content = spoiled(json.loads(path.read_text()))
        for reference in content["capsules"]:
            reference["content_sha256"] = hashes[reference["file"]]
        path.write_text(json.dumps(resealed(content)))
    for line in decided.matrix.read_text().splitlines():
        row = json.loads(line)
        capsule = Capsule.model_validate(json.loads((decided.root / row["capsule"]).read_text()))
        row.update({name: row[name] + EVIL for name in ("device", "mlx", "mlx_lm", "zmlx")})
        rows.append(json.dumps({**row, "capsule_sha256": capsule.content_sha256}) + "\n")
    decided.matrix.write_text("".join(rows))
    (decided.variants / "promoted.toml").unlink()
    (decided.variants / "qwen3.toml").write_text(
        f'family = "qwen3"\n[variant.evil]\nwhy = {json.dumps(EVIL)}\nkernels = {{ combine = "k" }}\n'
    )
    kernel = decided.kernels / "k"
    kernel.mkdir()
    (kernel / "kernel.py").write_text("def bind(module, request): ...\n")
    (kernel / "kernel.toml").write_text(
        f'schema_version = 1\nsummary = {json.dumps(EVIL, ensure_ascii=True)}\nsites = ["combine"]\n'
        'max_tokens = "any"\n[mode.stock]\nnumerics = "stock"\nbackends = ["cpu"]\n'
    )
    source = tmp_path / "legacy \x1b[2J<b>.json"
    fixture = Path(__file__).resolve().parents[1] / "data" / "legacy" / "fixture_capsule_20300101.json"
    source.write_bytes(fixture.read_bytes())
    import_into(decided, [source])
    return decided
