"""Makes environments in the user's cache: one maker at a time, whole or not at all.

An environment is installed in a folder of its own and gets its name when everything is there, its record too: a maker
that is killed leaves a folder that nobody takes for an environment, and the next maker removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from zmlx_bench import files
from zmlx_bench.environments import kept
from zmlx_bench.environments.asked import Asked, completed, held
from zmlx_bench.environments.found import look
from zmlx_bench.environments.installers import Failed, Installer, Pin, choose
from zmlx_bench.environments.kept import RECORD, Made
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import built
from zmlx_bench.schema.base import content_hash, utc_now
from zmlx_bench.schema.environment import MadeEnvironment

Say = Callable[[str], None]
_SHORT_S = 0.2


def present(asked: Asked) -> Made | None:
    """Return an environment that is there, as it is now; None where it has to be made first.

    CannotHere where it is no longer what was made, or cannot be run.
    """
    if asked.python is not None:
        return Made(look(asked.python, asked), asked.python)
    requirements = completed(asked.requirements)
    recorded = kept.by_request(request_of(requirements))
    if recorded is None:
        return None
    wheels = {one.name: one.wheel_sha256 for one in recorded.environment.distributions}
    now = look(recorded.python, asked, wheels, requirements)
    if now.digest != recorded.environment.digest:
        raise CannotHere(
            f"environment {asked.text}: is no longer what was made in {recorded.folder}; "
            f"`zmlx environments remove {asked.text}` and make it again"
        )
    return Made(now, recorded.python)


def make(asked: Asked, say: Say, *, again: bool = False) -> Made:
    """Return the environment, made where it is not there; with `again` its requirements are resolved anew.

    CannotHere in one line that names the log where it cannot be made.
    """
    if asked.python is not None or not again:
        found = present(asked)
        if found is not None:
            return found
    requirements = completed(asked.requirements)
    request = request_of(requirements)
    with _alone(request, say):
        if not again and (found := present(asked)) is not None:
            return found
        kept.sweep(request)
        log = kept.log(request)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("", encoding="utf-8")
        say(f"environment {asked.text}: is being made")
        try:
            return _make(asked, requirements, request, choose(log))
        except Failed as error:
            raise CannotHere(f"environment {asked.text}: cannot be made: {error}; the log is {log}") from None
        except OSError as error:
            raise files.cannot_write(kept.root(), error) from None


def able(asked: Asked, say: Say) -> Made:
    """Return an environment, made where it is not there; CannotHere where it cannot be had or measures nothing."""
    made = make(asked, say)
    if made.environment.lacks is not None:
        remark = built.remark(made.environment.lacks)
        raise CannotHere(f"environment {asked.text}: cannot measure: {made.environment.lacks}{remark}")
    return made


def request_of(requirements: tuple[str, ...]) -> str:
    """Return what an environment is asked for by, as one word: of a wheel its content counts, not its place."""
    parts = [files.sha256(Path(one)) if one.endswith(".whl") else one for one in requirements]
    return content_hash([sorted(parts), sys.version, sysconfig.get_platform()])[:16]


def _make(asked: Asked, requirements: tuple[str, ...], request: str, installer: Installer) -> Made:
    folder = Path(tempfile.mkdtemp(dir=kept.root(), prefix=kept.begun(request)))
    try:
        python = folder / "bin" / "python"
        installer.create(folder)
        pins = _resolved(installer, requirements, folder)
        lines = folder / "pins.txt"
        lines.write_text("".join(f"{pin.line}\n" for pin in pins), encoding="utf-8")
        installer.install(lines, python)
        wheels = {pin.name: pin.sha256 for pin in pins}
        environment = look(python, asked, wheels, requirements)
        lacking = sorted(set(wheels) - {one.name for one in environment.distributions})
        if lacking:
            raise Failed(f"{', '.join(lacking)} was installed somewhere else")
        record = MadeEnvironment(environment=environment, made=utc_now(), maker=installer.name)
        files.write_atomic(folder / RECORD, files.dump_json(record))
        resolved = sorted([pin.name, pin.version, *sorted(pin.sha256)] for pin in pins)
        key = content_hash([resolved, environment.python, environment.platform])[:16]
        made = kept.root() / key
        if not (made / RECORD).exists():
            # What somebody began to remove.
            shutil.rmtree(made, ignore_errors=True)
        try:
            os.rename(folder, made)  # noqa: PTH104 - whole or not at all
        except OSError:
            if not (made / RECORD).exists():
                raise
            # Another request came to the same distributions: its environment is this one, if it still is what was made.
            kept.name(request, key)
            if (found := present(asked)) is None:
                raise Failed(f"{made} was removed meanwhile") from None
            return found
        kept.name(request, key)
        return Made(environment, made / "bin" / "python")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _resolved(installer: Installer, requirements: tuple[str, ...], folder: Path) -> list[Pin]:
    """Return what the requirements come to, with everything that is not asked about as it is here, where that fits."""
    try:
        return installer.resolve(requirements, held(requirements), folder)
    except Failed:
        return installer.resolve(requirements, (), folder)


@contextlib.contextmanager
def _alone(request: str, say: Say) -> Iterator[None]:
    """Keep other makers of the same environment out until the block ends."""
    kept.root().mkdir(parents=True, exist_ok=True)
    lock = FileLock(kept.lock(request))
    try:
        lock.acquire(timeout=_SHORT_S)
    except Timeout:
        say("another process makes this environment: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
