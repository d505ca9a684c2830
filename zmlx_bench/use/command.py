"""Runs mlx-lm's own `generate` and `server` with the variant put into the model that they load."""

from __future__ import annotations

import _thread
import argparse
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints.resolve import Located, locate
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import facts
from zmlx_bench.printable import printable
from zmlx_bench.schema.machine import Machine
from zmlx_bench.use import decide
from zmlx_bench.use.decide import NONE, PROMOTED, Choice, NotChosen
from zmlx_bench.use.outcome import Applied, NotApplied
from zmlx_bench.use.server import serving
from zmlx_bench.workspace import Workspace

Tool = Literal["generate", "server"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """What was asked for."""

    family: str
    checkpoint: str = "auto"
    variant: str = PROMOTED
    trust_remote_code: bool = False
    strict: bool = False
    """Whether to refuse where no variant can be applied, or only one that was measured on an earlier path."""
    arguments: Sequence[str] = ()
    """For mlx-lm."""


def run(tool: Tool, workspace: Workspace, wishes: Wishes, say: Say) -> None:
    """Run mlx-lm's `tool` on the checkpoint; `say` gets one line for people about the checkpoint and the variant.

    Where nothing is promoted the stock model runs; a variant asked for by name that cannot be applied raises
    NotApplied. UnusableInput for a family, checkpoint, variant or argument that cannot be used.
    """
    families.check_name(wishes.family, workspace)
    machine = facts.read(backends.choose("auto"))
    located = locate(
        wishes.family,
        wishes.checkpoint,
        machine,
        workspace=workspace,
        trust_remote_code=wishes.trust_remote_code,
    )
    if located.checkpoint.kind == "synthetic":
        raise UnusableInput("--checkpoint synthetic: random weights have nothing to say; name another checkpoint")
    why = f" ({located.why})" if located.why else ""
    say(f"{wishes.family}, checkpoint {located.checkpoint.label}{why}")
    try:
        # A variant's variables have to stand before MLX is imported, which reads them once.
        os.environ.update(_choice(workspace, wishes, machine, located).variant.env if wishes.variant != NONE else {})
    except NotChosen as reason:
        _refuse_if_named(wishes, reason)

    module = importlib.import_module(f"mlx_lm.{tool}")
    arguments = ["--model", str(located.path), *wishes.arguments]
    if wishes.trust_remote_code:
        arguments.append("--trust-remote-code")
    refused: list[NotApplied] = []
    loaded: list[Any] = []

    def patch(model: Any) -> None:
        loaded.append(model)
        try:
            _put_in(model, workspace, wishes, located, say)
        except NotApplied as error:
            refused.append(error)
            if threading.current_thread() is not threading.main_thread():
                # The server loads in a thread of its own, whose end its main thread does not see.
                _thread.interrupt_main()
            raise

    try:
        names = _names(wishes.family, located)
        loading = serving(module, located, names, patch) if tool == "server" else _loading(module, located, patch)
        with loading, _logged_as_text():
            _main(tool, module, arguments, _Owned(str(located.path), wishes.trust_remote_code))
    except KeyboardInterrupt:
        if not refused:
            raise
    except OSError as error:
        remedy = "; choose another --host or --port" if tool == "server" else ""
        raise CannotHere(f"mlx_lm.{tool}: {error.strerror or error}{remedy}") from None
    if refused:
        raise refused[0]
    if not loaded and wishes.variant not in (PROMOTED, NONE):
        raise NotApplied(f"--variant {wishes.variant}: mlx_lm.{tool} ended without loading {located.path}")


def _names(family: str, located: Located) -> tuple[str, ...]:
    """Return what clients may call the served model: the family, the checkpoint, its hub id, its folder."""
    kind, source = located.checkpoint.kind, located.checkpoint.source
    hub_id = (source.partition("@")[0],) if kind in ("full", "hub") else ()
    return tuple(dict.fromkeys((family, located.checkpoint.label, *hub_id, str(located.path))))


def _choice(workspace: Workspace, wishes: Wishes, machine: Machine, located: Located) -> Choice:
    if wishes.variant == PROMOTED:
        return decide.for_checkpoint(workspace, wishes.family, machine, located, strict=wishes.strict)
    return decide.by_name(workspace, wishes.family, wishes.variant, machine)


def _put_in(model: Any, workspace: Workspace, wishes: Wishes, located: Located, say: Say) -> None:
    from zmlx_bench.use.model import put_in

    if wishes.variant == NONE:
        say("variant none: mlx-lm's own model")
        return
    try:
        applied: Applied = put_in(model, workspace, wishes.variant, located, strict=wishes.strict)
    except NotChosen as reason:
        _refuse_if_named(wishes, reason)
        say(f"no variant: {reason}")
    else:
        say(applied.why)


def _refuse_if_named(wishes: Wishes, reason: NotChosen) -> None:
    if wishes.variant != PROMOTED or wishes.strict:
        raise NotApplied(f"--variant {wishes.variant}: {reason}") from None


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


class _Shown(logging.LogRecord):
    """A record whose text holds no escape sequence, whoever sent it: a client's request or a kernel's error."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info:
            self.exc_text = _as_text(logging.Formatter().formatException(self.exc_info))

    def getMessage(self) -> str:
        return _as_text(super().getMessage())


def _as_text(lines: str) -> str:
    return "\n".join(printable(line) for line in lines.split("\n"))


@contextmanager
def _logged_as_text() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(_Shown)
    try:
        yield
    finally:
        logging.setLogRecordFactory(before)


@dataclass(frozen=True)
class _Owned:
    """Options of mlx-lm's that zmlx gives itself: however they are spelled, they are not handed on."""

    model: str
    trust_remote_code: bool

    def check(self, found: argparse.Namespace) -> None:
        """Raise UnusableInput where the arguments, as mlx-lm reads them, say otherwise."""
        if getattr(found, "model", self.model) != self.model:
            raise UnusableInput("--model: the model is named by FAMILY and --checkpoint here")
        if getattr(found, "trust_remote_code", False) and not self.trust_remote_code:
            raise UnusableInput("--trust-remote-code: write it out in full, for zmlx checks the checkpoint by it")


def _main(tool: Tool, module: Any, arguments: Sequence[str], owned: _Owned) -> None:
    before, refuse, parse = sys.argv, argparse.ArgumentParser.error, argparse.ArgumentParser.parse_args

    def error(_: argparse.ArgumentParser, message: str) -> NoReturn:
        # argparse itself would print the arguments as they are, escape sequences and all.
        raise UnusableInput(
            f"mlx_lm.{tool} does not take these arguments: {message}; see `mlx_lm.{tool} --help`"
        ) from None

    def parse_args(parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> Any:
        found: Any = parse(parser, *args, **kwargs)
        owned.check(found)
        return found

    sys.argv = [f"mlx_lm.{tool}", *arguments]
    argparse.ArgumentParser.error = error  # type: ignore[assignment,method-assign]
    argparse.ArgumentParser.parse_args = parse_args  # type: ignore[assignment,method-assign]
    try:
        module.main()
    except SystemExit as left:
        if left.code not in (None, 0):
            raise UnusableInput(f"mlx_lm.{tool} does not take these arguments; see `mlx_lm.{tool} --help`") from None
    finally:
        sys.argv = before
        argparse.ArgumentParser.error = refuse  # type: ignore[method-assign]
        argparse.ArgumentParser.parse_args = parse  # type: ignore[method-assign]
