"""Writes `variants/identities.toml`: evidence from before there were identities, bound to what TREE has under them.

    git worktree add /tmp/tree 159cd2d && python tools/carry_over.py /tmp/tree

Run once, with the tree whose kernels old capsules were measured with; its own code says which variants have the bytes
that a capsule names. A variant that has other bytes there is left out: its sessions keep an identity of their own.

Sources moved since, so nothing of the present tree has these identities: they bind old sessions to each other, and say
what of it has changed. Which sessions ran the same is decided by the modules that composed the variant's sites at the
session's commit (`COMPOSED_BY`). What installs calls around every site (patch/apply.py, patch/host.py) is not compared
between old commits; the calls of each site a token are, by the decision's gate.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import tomlkit

from zmlx_bench.analysis.decision.adapter import bytes_identity
from zmlx_bench.catalog import identity as identities
from zmlx_bench.catalog.found import imports_of, kernel_sources, modules_of
from zmlx_bench.catalog.meaning import python
from zmlx_bench.ledger.carried import FILE
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.carried import Carried, CarriedVariant
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "zmlx_bench"
ROOTS = ("patch/apply.py", "worker/generate.py", "families/{family}.py")
ROOMS = ("patch", "worker", "families")
NOT_BETWEEN_TOKENS = ("patch/loader.py",)

MOE, LAYER = ("families/moe.py",), ("families/layer.py", "families/traced.py", "patch/contract.py")
OWN = ("families/{family}.py", "families/decode.py")
COMPOSED_BY = {
    **dict.fromkeys(("router", "experts", "down", "combine"), MOE),
    **dict.fromkeys(("shared_experts", "qkv", "qk_norm_rope", "attention"), OWN),
    "residual_norm": LAYER,
    "linear": ("families/linear.py",),
}
"""Modules of the package that composed each site in the trees of that time."""
RESOLVED = """
import json, pathlib, sys
from zmlx_bench.catalog.variants import Catalog, families
from zmlx_bench.workspace import Workspace
place = Workspace(pathlib.Path(sys.argv[1]))
for family in families(place):
    catalog = Catalog(place, family)
    for name in catalog.names():
        print(json.dumps(catalog.resolve(name).model_dump(mode="json")))
"""


def main(tree: Path) -> None:
    """Write the table for the capsules of this checkout."""
    known = resolved_in(tree)
    sessions: dict[tuple[str, Backend], set[str]] = {}
    for path in sorted(ROOT.glob("capsules/*/*_t*.json")):
        capsule = json.loads(path.read_text(encoding="utf-8"))
        old = bytes_identity(ResolvedVariant.model_validate(capsule["variant"]))
        if old in known and capsule["software"]["commit"] and not capsule["software"]["dirty"]:
            sessions.setdefault((old, capsule["machine"]["backend"]), set()).add(capsule["software"]["commit"])
    commit = git(tree, "rev-parse", "HEAD").strip()
    table = Carried(
        formula=identities.FORMULA,
        tree=commit,
        variant=tuple(
            carried(tree, known[old], old, backend, commits, commit)
            for (old, backend), commits in sorted(sessions.items(), key=lambda item: known[item[0][0]].name)
        ),
    )
    Workspace(ROOT).variants.joinpath(FILE).write_bytes(dump(table))


def resolved_in(tree: Path) -> dict[str, ResolvedVariant]:
    """Return the variants that the tree's own code resolves, by the hash over bytes."""
    command = [sys.executable, "-c", RESOLVED, str(tree)]
    done = subprocess.run(command, cwd=tree, env={"PYTHONPATH": str(tree)}, capture_output=True, text=True, check=True)
    found = [ResolvedVariant.model_validate_json(line) for line in done.stdout.splitlines()]
    return {bytes_identity(variant): variant for variant in found}


def carried(
    tree: Path, variant: ResolvedVariant, old: str, backend: Backend, commits: set[str], head: str
) -> CarriedVariant:
    """Return one variant's line of the table."""
    return CarriedVariant(
        name=variant.name,
        backend=backend,
        bytes_sha256=old,
        sites_sha256=composition(variant, head),
        commits={commit: composition(variant, commit) for commit in sorted(commits)},
        identity=Identity.model_validate(asdict(identity(tree, variant, backend))),
    )


def identity(tree: Path, variant: ResolvedVariant, backend: str) -> identities.Identity:
    """Return a variant's identity in the tree; its files' names do not say a backend yet, so those of all count."""
    folder = tree / "kernels"
    kernels = {}
    for used in variant.kernels:
        declared = tomllib.loads((folder / used.kernel / "kernel.toml").read_text(encoding="utf-8"))
        files = {
            path.relative_to(folder).as_posix(): path
            for name in (used.kernel, *declared.get("uses", ()))
            if (folder / name / "kernel.py").is_file()
            for path in kernel_sources(folder, name, None).files
        }
        limit = None if declared["max_tokens"] == "any" else declared["max_tokens"]
        kernels[used.kernel] = identities.files_digest(files, limit)
    parts = [identities.Part(k.kernel, k.mode, k.sites, None) for k in variant.kernels]
    declaration = identities.declaration_digest(parts, variant.env, variant.family, backend)
    path = identities.files_digest(dict(path_files(tree, variant.family)))
    digest = identities.whole(declaration, kernels, path)
    return identities.Identity(identities.FORMULA, digest, declaration, kernels, path)


def path_files(tree: Path, family: str) -> Iterator[tuple[str, Path]]:
    """Return the measured path of a tree of that time, by name."""
    root = tree / PACKAGE
    waiting = [root / name.format(family=family) for name in ROOTS]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).as_posix()
        if path in seen or name in NOT_BETWEEN_TOKENS or name.partition("/")[0] not in ROOMS:
            continue
        seen.add(path)
        yield name, path
        for found in imports_of(path):
            if found.module.startswith(f"{PACKAGE}."):
                waiting += modules_of(root, found.module.split(".")[1:], found.names)


def composition(variant: ResolvedVariant, commit: str) -> str:
    """Return the digest of the modules that composed a variant's sites at a commit."""
    names = {n.format(family=variant.family) for k in variant.kernels for site in k.sites for n in COMPOSED_BY[site]}
    there = set(git(ROOT, "ls-tree", "-r", "--name-only", commit, PACKAGE).splitlines())
    forms = [
        python(git(ROOT, "show", f"{commit}:{path}")) if (path := f"{PACKAGE}/{name}") in there else ""
        for name in sorted(names)
    ]
    return hashlib.sha256("\0".join(forms).encode()).hexdigest()


def git(folder: Path, *arguments: str) -> str:
    """Return what git says."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def dump(table: Carried) -> bytes:
    """Return the bytes of the file."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Written once by tools/carry_over.py; read for evidence without identities."))
    fields = table.model_dump(mode="json")
    entries = tomlkit.aot()
    for variant in fields.pop("variant"):
        entries.append(tomlkit.item(variant))
    for name, value in fields.items():
        document.add(name, tomlkit.item(value))
    document.add("variant", entries)
    return tomlkit.dumps(document).encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
