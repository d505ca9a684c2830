"""The command `zmlx`. Exit codes stand in `zmlx_bench.exit_codes`; heavy imports wait until a command runs."""

from __future__ import annotations

import contextlib
import io
import locale
import os
import shutil
import signal
import sys
import textwrap
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.exceptions import TyperException

from zmlx_bench import __version__, exit_codes
from zmlx_bench.cli import (
    bisect,
    capsule,
    check,
    doctor,
    environments,
    fleet,
    generate,
    init,
    kernels,
    models,
    options,
    promote,
    report,
    run,
    schema,
    screen,
    serve,
    sessions,
    upgrade_check,
    variants,
)
from zmlx_bench.errors import ZmlxError
from zmlx_bench.printable import one_line, printable

app = typer.Typer(
    name="zmlx",
    help="Find out whether a kernel set makes LLM decode in MLX faster without changing a token.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


_PRINTING = ("echo", "print", "print_json")
"""Functions of typer, rich and ours that write to standard output."""


_NUMBERS = {"int_": "a whole number in digits, such as 12", "float_": "a number, such as 0.5"}
"""What a value must be, by the beginning of pydantic's type of error."""
_SHOWN = 40
"""Characters of a refused value that are told."""


class Terminated(BaseException):
    """SIGTERM arrived."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zmlx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


app.command("run", short_help="measure the variants of a family against the stock model")(run.run)
app.command("screen", short_help="rank variants in minutes: which deserve a session")(screen.screen)
app.command("bisect", short_help="which release of a package changed speed, tokens or memory")(bisect.bisect)
app.command("upgrade-check", short_help="does what is promoted hold under another MLX or mlx-lm")(
    upgrade_check.upgrade_check
)
app.add_typer(fleet.app, name="fleet", short_help="the same question on every device of many machines")
app.command("promote", short_help="decide every variant from the evidence and record it")(promote.promote)
app.command("report", short_help="rank what was measured, with verdicts and what is undecided")(report.report)
app.command("check", short_help="recompute all evidence from the raw numbers")(check.check)
app.add_typer(capsule.app, name="capsule", short_help="show, verify, replay or import evidence")
app.add_typer(sessions.app, name="sessions", short_help="list the sessions begun and not finished, drop one")
app.command("variants", short_help="list the variants and which run here")(variants.variants)
app.add_typer(kernels.app, name="kernels", short_help="list the kernels, measure them, start a new one")
app.add_typer(environments.app, name="environments", short_help="other MLX or mlx-lm versions to measure in")
app.command("models", short_help="list the families and the checkpoints usable here")(models.models)
app.command("generate", context_settings=options.PASSED_ON, short_help="generate text with the promoted variant")(
    generate.generate
)
app.command("serve", context_settings=options.PASSED_ON, short_help="serve the model with the promoted variant")(
    serve.serve
)
app.command("doctor", short_help="is this machine fit to measure, and what to mend")(doctor.doctor)
app.command("init", short_help="make a workspace")(init.init)
app.command("schema", short_help="print the JSON Schema of an artifact")(schema.schema)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `zmlx` and leave with a code of the contract."""
    if arguments is None:
        _in_utf8()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # What a terminal cannot show, of a model's words or a file's name, is no reason to end.
        sys.stdout.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(_run(arguments))


def _in_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale's encoding is another.

    By such a locale a prompt among the arguments would become other tokens, and a path one that MLX does not find.
    """
    tried = os.environ.get("PYTHONUTF8") == "1"
    if sys.flags.utf8_mode or tried or {sys.getfilesystemencoding(), locale.getencoding().lower()} == {"utf-8"}:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONUTF8": "1"})


def _run(arguments: list[str] | None) -> int:
    try:
        outcome: Any = app(arguments, prog_name="zmlx", standalone_mode=False)
        sys.stdout.flush()
    except ZmlxError as error:
        _say(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted")
        return exit_codes.INTERRUPTED
    except Terminated:
        _say("terminated")
        return exit_codes.TERMINATED
    except TyperException as error:
        # Typer carries a copy of click of its own, so that this is the only public base of its usage errors.
        _say_usage(error)
        return exit_codes.UNUSABLE
    except (BrokenPipeError, SystemExit):
        # The reader of a pipe has gone (Typer then leaves by SystemExit); nothing is left to tell it.
        _drop_output()
        return exit_codes.DONE
    except ImportError as error:
        _say(_not_imported(error))
        return exit_codes.CANNOT
    except OSError as error:
        _drop_output()
        _say(f"{error.filename or _refused(error)}: {error.strerror or error}")
        return exit_codes.CANNOT
    if outcome == exit_codes.INTERRUPTED:
        # Typer turns an interrupt into this code before it can be caught here.
        _say("interrupted")
    return outcome if isinstance(outcome, int) else exit_codes.DONE


def _not_imported(error: ImportError) -> str:
    """Return why a library cannot be imported: its own words are of no use where a part of Python is lacking."""
    from zmlx_bench.machine import built

    if without := built.lacking():
        return ": ".join(without)
    return (
        f"{error.name or 'a library'} cannot be imported ({one_line(str(error))}): the installation is broken; "
        "make setup, or pip install --force-reinstall zmlx-bench"
    )


def _say_usage(error: TyperException) -> None:
    message = _in_our_words(error) or error.format_message().replace("Value error, ", "")
    if message.startswith("Usage: "):
        # A command with commands of its own was given none: its help is many lines, all of them Typer's.
        typer.echo(message, err=True)
    else:
        _say(f"{message.rstrip('.?')}; see `{_place(error)} --help`")


def _in_our_words(error: TyperException) -> str | None:
    """Return what is wrong with a value that is no number; None where something else is."""
    from pydantic_core import ValidationError

    option, refused = getattr(error, "param", None), error.__cause__
    if option is None or not isinstance(refused, ValidationError):
        return None
    first = refused.errors(include_url=False)[0]
    kind = next((wanted for start, wanted in _NUMBERS.items() if first["type"].startswith(start)), None)
    return None if kind is None else f"{option.opts[0]} {one_line(str(first['input']))[:_SHOWN]}: must be {kind}"


def _place(error: TyperException) -> str:
    """Return the command whose help shows what is allowed."""
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "zmlx"


def _refused(error: OSError) -> str:
    """Return what the system refused where its error names no file: writing to standard output, or a step of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    if any(frame.name in _PRINTING for frame in frames) or len(frames) == 1:
        return "standard output"
    ours = [frame for frame in frames if f"{os.sep}zmlx_bench{os.sep}" in frame.filename]
    place = ours[-1] if ours else frames[-1]
    return f"the system refused what {Path(place.filename).stem}.{place.name} asked of it"


def _drop_output() -> None:
    """Let what is still buffered go nowhere, or the interpreter complains about it when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated


def _say(message: str) -> None:
    """Say one line; a terminal shows it broken between words."""
    line = f"zmlx: {printable(message)}"
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False, subsequent_indent="  ")
    typer.echo(line, err=True)
