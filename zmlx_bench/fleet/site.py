"""The node's side: its devices, and the sessions that run on them, each in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from zmlx_bench import files
from zmlx_bench.errors import ZmlxError
from zmlx_bench.fleet import parcel as parcels
from zmlx_bench.fleet.agent import Said, Told
from zmlx_bench.fleet.nodes import NodeFails, Report
from zmlx_bench.fleet.survey import DEVICES
from zmlx_bench.measured.user_cache import user_cache_path
from zmlx_bench.process import UTF8, Child, ending, last_line, told_path
from zmlx_bench.schema.fleet import FleetDevice, FleetWork
from zmlx_bench.session import store
from zmlx_bench.session.environment import secrets
from zmlx_bench.workspace import SESSION_FILE, Workspace

_LET_THROUGH = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|XDG_\w+|VIRTUAL_ENV|CONDA_PREFIX|PYTHONPATH"
    r"|LD_LIBRARY_PATH|DYLD_\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CUDA_\w+|NVIDIA_\w+|HF_HOME|HF_HUB_CACHE|HF_HUB_OFFLINE"
    r"|HF_ENDPOINT|HUGGINGFACE_HUB_CACHE|PIP_\w+|UV_\w+|MLX_\w+|ZMLX_\w+|(?i:(?:https?|all|no)_proxy)"
)
"""Variables that a session has of its node's environment; no other, and none that holds a secret.

It may have to fetch a checkpoint or to install an environment, by the node's proxy and from its index.
"""
_NETWORK = re.compile(r"PIP_\w+|UV_\w+|\w+_ENDPOINT|\w+_proxy", re.IGNORECASE)
_MAY_TELL = re.compile(r"(?:(?:^|\s)[^/\s]|//)\S*[@?]")
"""Of what says where something is fetched: a user or a query, either may be a token; a file's path has neither."""
_USERNAME = re.compile(r"UV_\w+_USERNAME")
_SURVEY_S = 60.0
_GRACE_S = 5.0
_WORDS = 300


def environment(source: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what of an environment (default: this process's) a session gets."""
    given = os.environ if source is None else source
    secret = secrets(given).keys() | {name for name, value in given.items() if _of_network(name, value)}
    kept = {name: value for name, value in given.items() if _LET_THROUGH.fullmatch(name) and name not in secret}
    return {**kept, **UTF8, "PYTHONUNBUFFERED": "1"}


def _of_network(name: str, value: str) -> bool:
    """Return whether a variable that says where something is fetched may hold a secret."""
    return bool(_USERNAME.fullmatch(name) or (_NETWORK.fullmatch(name) and _MAY_TELL.search(value)))


def root() -> Path:
    """Return where a node keeps its workspaces."""
    return user_cache_path("zmlx") / "fleet"


def survey(env: Mapping[str, str] | None = None) -> list[FleetDevice]:
    """Return the devices of this node; NodeFails says why there are none."""
    command = [sys.executable, "-m", "zmlx_bench.fleet.survey"]
    try:
        done = subprocess.run(
            command, env=env or environment(), capture_output=True, timeout=_SURVEY_S, check=False, cwd="/"
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise NodeFails(said[-1] if said else ending(done.returncode))
        return DEVICES.validate_json(last_line(done.stdout))
    except (OSError, subprocess.TimeoutExpired, ValidationError) as error:
        raise NodeFails(f"its devices are not known: {error}") from None


def workspace_of(work: FleetWork, folder: Path | None = None) -> Workspace:
    """Return the node's workspace for a session; it need not be there."""
    return Workspace((folder or root()) / work.question.parcel)


def fetch(workspace: Workspace, session: str, name: str) -> bytes:
    """Return a file of a session that the node has finished."""
    path = workspace.session(session) / name
    files.refuse_outside(workspace.root, path)
    return files.read_bytes(path)


def drop(workspace: Workspace, session: str) -> None:
    """Remove what the node has of a session."""
    shutil.rmtree(workspace.session(session), ignore_errors=True)


def returned(workspace: Workspace, session: str) -> dict[str, int]:
    """Return what of a finished session goes back: its plan and its capsules, with their bytes."""
    found = sorted(workspace.session(session).glob("*.json"))
    return {path.name: path.stat().st_size for path in found}


def standing(workspace: Workspace, session: str) -> Report:
    """Return how a session stands whose process is not known here."""
    path = workspace.session(session) / SESSION_FILE
    try:
        begun = store.load(workspace, session) if path.exists() else None
    except ZmlxError as error:
        return Report(session, begun=True, outcome="changed", why=str(error))
    if begun is not None and begun.state == "finished":
        return Report(session, begun=True, outcome="finished", files=returned(workspace, session))
    return Report(session, begun=begun is not None, outcome="interrupted", why="its process is gone")


class Running:
    """A session's process."""

    def __init__(self, work: FleetWork, parcel: bytes, env: Mapping[str, str], folder: Path | None = None) -> None:
        self.work = work
        # Those are the fleet's own; a session records the others.
        env = {name: value for name, value in env.items() if not name.startswith("ZMLX_FLEET_")}
        try:
            self.workspace = parcels.unpack(folder or root(), work.question.parcel, parcel)
            self._log = self.workspace.root / "logs" / f"{work.session}.log"
            with files.open_new(self._log) as output:
                self._child = Child(
                    [sys.executable, "-m", "zmlx_bench.fleet.agent"],
                    Told(root=told_path(self.workspace.root), work=work).model_dump_json().encode(),
                    output,
                    {**env, **work.device.select},
                )
        except (ZmlxError, OSError) as error:
            raise NodeFails(str(error)) from None
        self._begun = False
        self._last: Said | None = None
        self._over = False

    def report(self) -> Report:
        """Return how the session stands now."""
        self._hear()
        session = self.work.session
        if not self._over:
            return Report(session, begun=self._begun)
        said = self._last
        if said is None or said.outcome is None:
            begun = (self.workspace.session(session) / SESSION_FILE).exists()
            return Report(session, begun=begun, outcome="interrupted", why=self._why())
        held = returned(self.workspace, session) if said.outcome == "finished" else {}
        return Report(session, begun=said.begun, outcome=said.outcome, why=said.why, files=held)

    def stop(self) -> None:
        """End the process and what it started."""
        if not self._over:
            self._child.kill(_GRACE_S)
            self._over = True

    def _hear(self) -> None:
        while not self._over:
            try:
                came = self._child.read(0)
                for line in came[1] if came is not None else ():
                    self._last = Said.model_validate_json(line)
                    self._begun = self._begun or self._last.begun
            except ValueError:
                came = None
            if came is None:
                self._child.kill(_GRACE_S)
                self._over = True
            elif not came[1]:
                return

    def _why(self) -> str:
        code = self._child.process.returncode
        said = files.read_bytes(self._log).decode("utf-8", "replace").strip().splitlines() if self._log.exists() else []
        return f"its process {ending(code or 0)}{f': {said[-1][-_WORDS:]}' if said else ''}"
