"""mlx-lm's own command, run in this process: its options are checked, and what it logs is shown as text."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, NoReturn

from zmlx_bench.errors import UnusableInput
from zmlx_bench.printable import encodable, printable
from zmlx_bench.use import draft

Tool = Literal["generate", "server"]


@dataclass(frozen=True)
class Owned:
    """Options of mlx-lm's that zmlx gives itself: however they are spelled, they are not handed on."""

    model: str
    trust_remote_code: bool

    def check(self, found: argparse.Namespace) -> None:
        """Raise UnusableInput where the arguments, as mlx-lm reads them, say otherwise or name no draft model."""
        if getattr(found, "model", self.model) != self.model:
            raise UnusableInput("--model: the model is named by FAMILY and --checkpoint here")
        if getattr(found, "trust_remote_code", False) and not self.trust_remote_code:
            raise UnusableInput("--trust-remote-code: write it out in full, for zmlx checks the checkpoint by it")
        if (named := getattr(found, "draft_model", None)) is not None:
            draft.check(named)


def main(tool: Tool, module: Any, arguments: Sequence[str], owned: Owned) -> None:
    """Run `module.main` with these arguments; UnusableInput where its parser does not take them.

    mlx-lm's server makes its parser in the function that also serves, so that the parser can be had in no other way
    than by the module's own name for argparse; no other parser and no other module sees it.
    """
    stock = module.argparse
    module.argparse = SimpleNamespace(**{**vars(argparse), "ArgumentParser": _parser(tool, arguments, owned)})
    try:
        module.main()
    except SystemExit as left:
        if left.code not in (None, 0):
            raise _refused(tool, "") from None
    finally:
        module.argparse = stock


def _refused(tool: Tool, why: str) -> UnusableInput:
    return UnusableInput(f"mlx_lm.{tool} does not take these arguments{why}; see `mlx_lm.{tool} --help`")


def _parser(tool: Tool, arguments: Sequence[str], owned: Owned) -> type[argparse.ArgumentParser]:
    class Parser(argparse.ArgumentParser):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{"prog": f"mlx_lm.{tool}", **kwargs})

        def error(self, message: str) -> NoReturn:
            # argparse itself would print the arguments as they are, escape sequences and all.
            raise _refused(tool, f": {message}") from None

        def parse_args(self, *_: Any, **__: Any) -> Any:
            for argument in arguments:
                if argument != encodable(argument):
                    raise UnusableInput(f"{encodable(argument)}: is not UTF-8; mlx-lm cannot read it")
            found = super().parse_args(list(arguments))
            owned.check(found)
            _log_as_text(getattr(found, "log_level", None))
            return found

    return Parser


class _AsText(logging.Formatter):
    """Lines without an escape sequence, whoever sent it: a client's request or a kernel's error."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(printable(line) for line in super().format(record).split("\n"))


def _log_as_text(level: str | None) -> None:
    """Take the root logger before mlx-lm's server does, in its words; a tool without a level logs warnings, bare."""
    handler = logging.StreamHandler()
    handler.setFormatter(_AsText(None if level is None else "%(asctime)s - %(levelname)s - %(message)s"))
    logging.basicConfig(handlers=[handler], level=level or "WARNING")
