"""What a shell completes: families, variants, kernels, checkpoints, sessions, and other names.

Read from file names and plain TOML: a shell asks at every TAB, and the schemas take longer to import than that.
Where nothing can be read nothing is offered.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

_PACKAGE = Path(__file__).resolve().parent.parent


def family(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a model family, the workspace's among them."""
    roots = (_PACKAGE / "measured" / "families", _root(context) / "families")
    return _starting({path.parent.name for root in roots for path in root.glob("*/facts.toml")} - {"any"}, incomplete)


def variants(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the last of the variants by comma, of the family that is named before."""
    *before, last = incomplete.split(",")
    names = ["all", *_declared(context)] if not before else _declared(context)
    return [",".join([*before, name]) for name in _starting(names, last) if name not in before]


def variant(context: typer.Context, incomplete: str) -> list[str]:
    """Complete one variant, or how to choose one."""
    return _starting(["promoted", "none", *_declared(context)], incomplete)


def kernel(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a kernel or a mode of one."""
    names: list[str] = []
    for path in _root(context).glob("kernels/*/kernel.toml"):
        names.append(path.parent.name)
        names += [f"{path.parent.name}.{mode}" for mode in _tables(path, "mode")]
    # The modes of a kernel are offered once its name is there.
    dots = incomplete.count(".")
    return _starting((name for name in names if name.count(".") == dots), incomplete)


def session(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a session, newest first."""
    found = (path.parent.name for path in _root(context).glob("capsules/*/session.json"))
    return sorted(_starting(found, incomplete), reverse=True)


def checkpoint(incomplete: str) -> list[str]:
    """Complete the checkpoints that have a name."""
    return _starting(("auto", "tiny", "synthetic", "full"), incomplete)


def backend(incomplete: str) -> list[str]:
    """Complete a backend."""
    return _starting(("auto", "metal", "cuda", "cpu"), incomplete)


def prompts(incomplete: str) -> list[str]:
    """Complete the last of the prompts by comma."""
    *before, last = incomplete.split(",")
    known = (prompt.get("id", "") for prompt in _tables(_PACKAGE / "data" / "prompts.toml", "prompt"))
    return [",".join([*before, name]) for name in _starting(known, last) if name not in before]


def environment(context: typer.Context, incomplete: str) -> list[str]:
    """Complete an environment of the workspace."""
    return _starting(_tables(_root(context) / "variants" / "environments.toml", "environment"), incomplete)


def artifact(incomplete: str) -> list[str]:
    """Complete the kind of an artifact."""
    from zmlx_bench.cli.artifacts import KINDS

    return _starting(KINDS, incomplete)


def _declared(context: typer.Context) -> list[str]:
    # An option without its value stops the parser: what came before it is still among the arguments then.
    given = [context.params.get("family"), *context.args]
    paths = sorted(_root(context).glob("variants/*.toml"))
    named = [path for path in paths if path.stem in given]
    return [name for path in named or paths for name in _tables(path, "variant")]


def _root(context: typer.Context) -> Path:
    from zmlx_bench import workspace
    from zmlx_bench.errors import ZmlxError

    named = context.params.get("workspace")
    try:
        return workspace.find_or_packaged(Path(named) if named else None).root
    except ZmlxError:
        return workspace.packaged()


def _tables(path: Path, key: str) -> Iterator[Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig")).get(key, ())
    except (OSError, ValueError):
        return
    yield from found


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
