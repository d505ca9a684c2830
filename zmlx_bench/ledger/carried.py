"""`variants/identities.toml`: to which identities evidence is carried over that was bound to bytes."""

from __future__ import annotations

from zmlx_bench import files
from zmlx_bench.analysis.decision.adapter import CarriedBy
from zmlx_bench.schema.carried import Carried
from zmlx_bench.workspace import Workspace

FILE = "identities.toml"


def read(workspace: Workspace) -> CarriedBy:
    """Return the variants that are carried over, by the hash over bytes; none where there is no such file."""
    path = workspace.variants / FILE
    if not path.exists():
        return {}
    return {(v.bytes_sha256, v.backend): v for v in files.read_toml(path, Carried).variant}
