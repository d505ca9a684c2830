"""Where a run is written down: `fleet/NAME/run.json` once, and `journal.jsonl`, a line for all that happens.

The journal is the whole state of the head: whoever reads it again stands where the head stood that wrote it, whichever
byte was its last. There is no snapshot beside it, which could disagree with it: a run of thousands of sessions is read
in less time than one of their processes takes to start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from zmlx_bench import files, locks
from zmlx_bench.errors import CannotHere, UnusableInput
from zmlx_bench.schema.base import content_hash
from zmlx_bench.schema.fleet import EVENT, FleetEvent, FleetQuestion, FleetRun
from zmlx_bench.schema.refused import first_error
from zmlx_bench.session.log import EventLog
from zmlx_bench.workspace import Workspace

RUN_FILE = "run.json"
JOURNAL_FILE = "journal.jsonl"
PARCEL_FILE = "parcel.zip"
STOP_FILE = "stop"
_OVER_FILE = "over"


class Place:
    """The folder of a run."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace, self.folder = workspace, folder

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.folder / JOURNAL_FILE

    @property
    def parcel(self) -> Path:
        """What travels to the nodes."""
        return self.folder / PARCEL_FILE

    @property
    def stop(self) -> Path:
        """There while the head is asked to leave."""
        return self.folder / STOP_FILE

    @property
    def arrivals(self) -> Path:
        """Where returned sessions are looked at before they are taken."""
        return self.folder / "arrivals"

    @property
    def over(self) -> bool:
        """Whether the run has ended: the same question is a new run then."""
        return (self.folder / _OVER_FILE).exists()

    def end(self) -> None:
        """Note that the run has ended."""
        files.write_atomic(self.folder / _OVER_FILE, b"")

    def run(self) -> FleetRun:
        """Return what was asked; UnusableInput names file and field."""
        return files.read_json(self.folder / RUN_FILE, FleetRun)

    def reached_at(self, address: str | None) -> None:
        """Note where the nodes are, for the commands that come after: the head that begins may be told another."""
        run = self.run()
        if run.address != address:
            files.write_atomic(self.folder / RUN_FILE, files.dump_json(run.model_copy(update={"address": address})))

    def headed(self) -> bool:
        """Return whether a head is at the run now."""
        try:
            with self.alone(wait_s=0):
                return False
        except CannotHere:
            return True

    def alone(self, wait_s: float = 1.0) -> AbstractContextManager[None]:
        """Keep other heads from the run until the block ends; CannotHere where one is at it.

        `headed` has the lock for a moment, which a head waits out.
        """
        remedy = "`zmlx fleet status` says how it stands, `zmlx fleet stop` ends it"
        return locks.alone(self.folder / "head", f"fleet run {self.folder.name}", remedy, wait_s=wait_s)


def folder(workspace: Workspace) -> Path:
    """Return where runs lie; it need not be there."""
    return workspace.root / "fleet"


def runs(workspace: Workspace) -> list[Place]:
    """Return the runs of a workspace, the newest last."""
    found = sorted(path.parent for path in folder(workspace).glob(f"*/{RUN_FILE}"))
    return [Place(workspace, one) for one in found]


def newest(workspace: Workspace) -> Place:
    """Return the newest run; UnusableInput where there is none."""
    found = runs(workspace)
    if not found:
        raise UnusableInput(f"{folder(workspace)}: no fleet run has begun here; begin one with `zmlx fleet run FAMILY`")
    return found[-1]


def begin(
    workspace: Workspace,
    question: FleetQuestion,
    parcel: bytes,
    at: float,
    *,
    address: str | None = None,
    command: tuple[str, ...] = (),
) -> tuple[Place, bool]:
    """Return the run of a question that has not ended, and whether it goes on; else a new one, written down."""
    with locks.alone(folder(workspace) / "begin", "the beginning of a fleet run", wait_s=locks.TIMEOUT_S):
        for place in reversed(runs(workspace)):
            if not place.over and place.run().question == question:
                return place, True
        key = content_hash(question.model_dump(mode="json"))[:8]
        name = f"{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}-{key}"
        place = Place(workspace, folder(workspace) / name)
        files.write_atomic(place.parcel, parcel)
        run = FleetRun(schema_version=1, fleet=name, started=at, question=question, address=address, command=command)
        files.write_atomic(place.folder / RUN_FILE, files.dump_json(run))
        return place, False


class Journal(EventLog):
    """Appends what happens, each line on the disk before anything follows from it."""

    def note(self, *events: FleetEvent) -> None:
        """Write events."""
        for event in events:
            self.write(event)
        if events:
            self.sync()


def read(path: Path) -> Iterator[FleetEvent]:
    """Yield the events of a journal; a last line that a killed head did not finish is none.

    UnusableInput names the line of what is no event.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield EVENT.validate_json(line)
            except ValidationError as error:
                raise UnusableInput(
                    f"{path}: line {number}: {first_error(error)}; the file was edited: remove the run's folder"
                ) from None
