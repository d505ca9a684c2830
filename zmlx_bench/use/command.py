"""Runs mlx-lm's own `generate` and `server` with the variant put into the model that they load."""

from __future__ import annotations

import _thread
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from zmlx_bench.checkpoints.named import named
from zmlx_bench.checkpoints.resolve import Located, locate
from zmlx_bench.errors import CannotHere, UnusableInput, ZmlxError
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import facts
from zmlx_bench.schema.machine import Machine
from zmlx_bench.use import decide
from zmlx_bench.use.arguments import conditions
from zmlx_bench.use.decide import NONE, PROMOTED, Choice, NotChosen
from zmlx_bench.use.failures import in_one_line
from zmlx_bench.use.outcome import Applied, NotApplied
from zmlx_bench.use.server import serving
from zmlx_bench.use.tool import Owned, Tool
from zmlx_bench.use.tool import main as run_tool
from zmlx_bench.workspace import Workspace

Say = Callable[[str], None]


@dataclass(frozen=True)
class UseRequest:
    """What was asked for."""

    family: str
    checkpoint: str = "auto"
    variant: str = PROMOTED
    trust_remote_code: bool = False
    strict: bool = False
    """Whether to refuse where no variant can be applied, or only one that was measured on an earlier path."""
    arguments: Sequence[str] = ()
    """For mlx-lm."""


def run(tool: Tool, workspace: Workspace, request: UseRequest, say: Say) -> None:
    """Run mlx-lm's `tool` on the checkpoint; `say` gets one line for people about the checkpoint and the variant.

    Where nothing is promoted the stock model runs; a variant asked for by name that cannot be applied raises
    NotApplied. UnusableInput for a family, checkpoint, variant or argument that cannot be used.
    """
    family, checkpoint = named(request.family, request.checkpoint, workspace)
    request = replace(request, family=family, checkpoint=checkpoint)
    machine = facts.read(backends.choose("auto"))
    located = locate(
        request.family,
        request.checkpoint,
        machine,
        workspace=workspace,
        trust_remote_code=request.trust_remote_code,
    )
    if located.checkpoint.kind == "synthetic":
        raise UnusableInput("--checkpoint synthetic: random weights have nothing to say; name another checkpoint")
    why = f" ({located.why})" if located.why else ""
    say(f"{request.family}, checkpoint {located.checkpoint.label}{why}")
    try:
        choice = _choice(workspace, request, machine, located) if request.variant != NONE else None
    except NotChosen as reason:
        _refuse_if_named(request, reason)
    else:
        _begin(workspace, choice, machine, say)
    loaded: list[Any] = []

    def patch(model: Any) -> None:
        loaded.append(model)
        _put_in(model, workspace, request, located, say)

    _run(tool, request, located, patch)
    if not loaded and request.variant not in (PROMOTED, NONE):
        raise NotApplied(f"--variant {request.variant}: mlx_lm.{tool} ended without loading {located.path}")


def _run(tool: Tool, request: UseRequest, located: Located, patch: Callable[[Any], None]) -> None:
    """Run mlx-lm's tool, which loads the checkpoint and has its model patched; what it raises becomes one line."""
    module = _module(tool)
    # In one word: the folder's name may begin as an option does.
    arguments = [f"--model={located.path}", *request.arguments]
    if request.trust_remote_code:
        arguments.append("--trust-remote-code")
    ends: list[Exception] = []

    def ended(error: Exception) -> None:
        ends.append(error)
        # The server's main thread waits for requests and does not see how the generating one ended.
        _thread.interrupt_main()

    try:
        if tool == "server":
            loading = serving(module, located, _names(request.family, located), patch, ended)
        else:
            loading = _loading(module, located, patch)
        with loading:
            run_tool(tool, module, arguments, Owned(str(located.path), request.trust_remote_code))
    except KeyboardInterrupt:
        if not ends:
            raise
    except (BrokenPipeError, ZmlxError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever mlx-lm or a kernel raises is one line
        ends.append(error)
    if ends:
        raise in_one_line(tool, ends[0]) from None


def _module(tool: Tool) -> Any:
    try:
        return importlib.import_module(f"mlx_lm.{tool}")
    except SystemExit as left:
        raise CannotHere(f"mlx_lm.{tool}: left with {left.code!r} while it was imported; `zmlx doctor` looks") from None
    except Exception as error:  # noqa: BLE001 - a broken installation raises anything
        raise in_one_line(tool, error) from None


def _names(family: str, located: Located) -> tuple[str, ...]:
    """Return what clients may call the served model: the family, the checkpoint, its hub id, its folder."""
    kind, source = located.checkpoint.kind, located.checkpoint.source
    hub_id = (source.partition("@")[0],) if kind in ("full", "hub") else ()
    return tuple(dict.fromkeys((family, located.checkpoint.label, *hub_id, str(located.path))))


def _begin(workspace: Workspace, choice: Choice | None, machine: Machine, say: Say) -> None:
    if choice is None:
        return
    if choice.promotion is not None and (doubt := decide.doubt(workspace, choice.promotion, machine)) is not None:
        say(doubt)
    # A variant's variables have to stand before MLX is imported, which reads them once.
    os.environ.update(choice.variant.env)


def _choice(workspace: Workspace, request: UseRequest, machine: Machine, located: Located) -> Choice:
    under = conditions(request.arguments)
    if request.variant == PROMOTED:
        return decide.for_checkpoint(workspace, request.family, machine, located, under, strict=request.strict)
    return decide.by_name(workspace, request.family, request.variant, machine, under)


def _put_in(model: Any, workspace: Workspace, request: UseRequest, located: Located, say: Say) -> None:
    from zmlx_bench.use.model import put_in

    if request.variant == NONE:
        say("variant none: mlx-lm's own model")
        return
    try:
        under = conditions(request.arguments)
        applied: Applied = put_in(model, workspace, request.variant, located, under, strict=request.strict)
    except NotChosen as reason:
        _refuse_if_named(request, reason)
        say(f"no variant: {reason}")
    else:
        say(applied.why)


def _refuse_if_named(request: UseRequest, reason: NotChosen) -> None:
    if request.variant != PROMOTED or request.strict:
        raise NotApplied(f"--variant {request.variant}: {reason}") from None


@contextmanager
def _loading(module: Any, located: Located, patch: Callable[[Any], None]) -> Iterator[None]:
    """Let `module` patch the checkpoint that it loads by `load`."""
    stock = module.load

    def load(path_or_hf_repo: str, *args: Any, **kwargs: Any) -> Any:
        loaded = stock(path_or_hf_repo, *args, **kwargs)
        # mlx-lm asks for the configuration of the model that it serves, and not of a draft model.
        if path_or_hf_repo == str(located.path) and kwargs.get("return_config"):
            patch(loaded[0])
        return loaded

    module.load = load
    try:
        yield
    finally:
        module.load = stock
