"""Arms that run in another Python environment than the one that zmlx is in."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.environments import room
from zmlx_bench.environments.asked import asked
from zmlx_bench.environments.kept import Made
from zmlx_bench.environments.make import Say, make, present
from zmlx_bench.errors import ZmlxError
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.event import Loaded
from zmlx_bench.schema.plan import Arm, Plan, Within
from zmlx_bench.schema.variant import ResolvedVariant, VariantSpec
from zmlx_bench.session.ahead import gpu
from zmlx_bench.session.ahead import wanted as compiles_ahead
from zmlx_bench.session.compiled import Compiled, place
from zmlx_bench.session.tally import BrokenProtocol

Found = dict[str, Made]
"""Environments by what they are asked for by, each looked at once."""
_PARTS_OF_A_PYTHON = re.compile(r"bin|python[\d.]*|\.?v?env|")


def name_of(text: str) -> str:
    """Return what the arm is called that is the stock model in the environment that `text` asks for."""
    last = next((part for part in reversed(text.split("/")) if not _PARTS_OF_A_PYTHON.fullmatch(part)), "python")
    return f"in_{re.sub(r'[^A-Za-z0-9_.]+', '-', last if '/' in text else text).strip('-')}"[:100]


def declare(catalog: Catalog, texts: Sequence[str]) -> list[str]:
    """Take the stock model in each of these environments into the catalog; return what the variants are called."""
    for text in texts:
        asked(catalog.workspace, text)
        catalog.add(name_of(text), VariantSpec(why=f"what does the environment {text} change?", environment=text))
    return [name_of(text) for text in texts]


def within(catalog: Catalog, text: str, variant: str) -> Within:
    """Take a variant in the environment that `text` asks for, and the stock model there twice, into the catalog."""
    (stock,) = declare(catalog, [text])
    arms = Within(stock=stock, again=f"{stock[:94]}_again", asked=f"{variant}_{stock}"[:100], of=variant)
    catalog.add(arms.again, VariantSpec(why=f"how far is the stock model in {text} from itself?", environment=text))
    why = f"does {variant} hold in the environment {text}?"
    catalog.add(arms.asked, VariantSpec(why=why, extends=variant, environment=text))
    return arms


def not_made(catalog: Catalog, variant: ResolvedVariant) -> str | None:
    """Say that a variant's environment is not made; None where it is, and where it names none."""
    text = catalog.environment_of(variant.name)
    if text is None or present(asked(catalog.workspace, text)) is not None:
        return None
    return f"its environment is not made: zmlx environments make {text}"


def placed(catalog: Catalog, found: Found, say: Say, variant: ResolvedVariant) -> ResolvedVariant:
    """Return a variant with the environment that it names, made where it is not there; `found` gets it.

    CannotHere where it cannot be had.
    """
    text = catalog.environment_of(variant.name)
    if text is None:
        return variant
    if text not in found:
        found[text] = make(asked(catalog.workspace, text), say)
    return variant.model_copy(update={"environment": found[text].environment})


def again(catalog: Catalog, plan: Plan) -> Found:
    """Return the environments of a plan's arms as they are now, those that no file declares taken into the catalog; one
    that can no longer be had is left out."""
    found: Found = {}
    for arm in plan.arms:
        if arm.variant is None or arm.variant.environment is None:
            continue
        text = arm.variant.environment.asked
        with contextlib.suppress(ZmlxError):
            if arm.name not in catalog.specs and plan.within is not None:
                within(catalog, text, plan.within.of)
            elif arm.name not in catalog.specs and name_of(text) == arm.name:
                declare(catalog, [text])
            if text not in found and (made := present(asked(catalog.workspace, text))) is not None:
                found[text] = made
    return found


def as_now(catalog: Catalog, name: str, found: Found) -> ResolvedVariant:
    """Return a variant as it is now, with the environment that it names as far as that is `found`."""
    variant, text = catalog.resolve(name), catalog.environment_of(name)
    if text not in found:
        return variant
    return variant.model_copy(update={"environment": found[text].environment})


def bare(plan: Plan) -> dict[str, str]:
    """Return the arms that are the stock model in an environment that `--environment` asked for, with what it said."""
    found = {arm.name: arm.variant.environment for arm in plan.arms if arm.variant is not None}
    return {name: one.asked for name, one in found.items() if one is not None and name_of(one.asked) == name}


def check(arm: Arm, loaded: Loaded) -> None:
    """Raise BrokenProtocol where an arm's process runs other versions than its environment has."""
    environment = None if arm.variant is None else arm.variant.environment
    if environment is None:
        return
    for name, told in (("mlx", loaded.mlx), ("mlx_lm", loaded.mlx_lm)):
        if told != environment.version(name):
            raise BrokenProtocol(f"runs {name} {told}, and its environment has {environment.version(name)}")


@dataclass(frozen=True)
class Home:
    """Where an arm's processes run."""

    python: str
    compiled: Compiled
    handed: Path | None
    """The folder with the measured room; None where the interpreter has it already."""
    ahead: bool = False
    """Whether kernels are compiled ahead for them."""

    def variables(self, of: Mapping[str, str]) -> dict[str, str]:
        """Return the variables `of` a process as it has them here."""
        own = dict(of) if self.handed is None else room.variables(of, self.handed)
        return own | self.compiled.environment


class Homes:
    """The homes of a session's arms, each with what is compiled in it; use it as a context manager."""

    def __init__(self, made: Mapping[str, Made], backend: Backend) -> None:
        """`made` are the environments of the arms by what they are asked for by."""
        self._made = made
        self._backend = backend
        self._stack = contextlib.ExitStack()
        self._homes: dict[str | None, Home] = {}

    def __enter__(self) -> Homes:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, arm: Arm) -> Home:
        """Return where an arm's processes run."""
        environment = None if arm.variant is None else arm.variant.environment
        key = None if environment is None else environment.asked
        if key not in self._homes:
            self._homes[key] = self._here() if key is None else self._there(self._made[key])
        return self._homes[key]

    def _here(self) -> Home:
        known = gpu(self._backend)
        compiled = self._stack.enter_context(Compiled(place(gpu=known)))
        return Home(sys.executable, compiled, None, ahead=known is not None and compiles_ahead())

    def _there(self, made: Made) -> Home:
        # Other builds of MLX compile other things under the same names.
        mlx = f"{made.environment.version('mlx')}-{made.environment.digest[:16]}"
        known = gpu(self._backend, versions=())
        compiled = self._stack.enter_context(Compiled(place(mlx, known)))
        handed = self._stack.enter_context(room.handed())
        return Home(str(made.python), compiled, handed, ahead=known is not None and compiles_ahead())
