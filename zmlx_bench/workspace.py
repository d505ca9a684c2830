"""A workspace: the folder that holds kernels, variants, capsules, the matrix and the notebook."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.errors import CannotHere, UnusableInput

SESSION_FILE = "session.json"
"""In a session's folder: its plan, where it ran, and how it ended."""
_PACKAGE = Path(__file__).resolve().parent
_IGNORED = shutil.ignore_patterns("__pycache__", "build", "*.pyc", "promoted.toml", "identities.toml", "*.lock")


@dataclass(frozen=True)
class Workspace:
    """Paths of a workspace; `root` is the folder that holds `variants/`."""

    root: Path

    @property
    def kernels(self) -> Path:
        """The kernels that variants here can name."""
        return self.root / "kernels"

    @property
    def families(self) -> Path:
        """Model families that zmlx does not come with, one folder each; it need not be there."""
        return self.root / "families"

    @property
    def variants(self) -> Path:
        """Declarations of variants, the policy and the promotions."""
        return self.root / "variants"

    @property
    def capsules(self) -> Path:
        """One folder a session."""
        return self.root / "capsules"

    @property
    def matrix(self) -> Path:
        """The matrix: one row a capsule."""
        return self.root / "matrix.jsonl"

    @property
    def entries(self) -> Path:
        """Entries and notes of the lab notebook, one a file."""
        return self.root / "notebook"

    @property
    def notebook(self) -> Path:
        """The lab notebook, written from its entries."""
        return self.root / "LAB_NOTEBOOK.md"

    @property
    def verifications(self) -> Path:
        """Records of `zmlx kernels verify`; it need not be there."""
        return self.root / "verifications"

    def session(self, name: str) -> Path:
        """Folder of the session called `name`."""
        return self.capsules / name


def packaged() -> Path:
    """Return the folder with the kernels and variants that came with zmlx: in the wheel, or the checkout's root."""
    inside = _PACKAGE / "_workspace"
    return inside if inside.is_dir() else _PACKAGE.parent


def is_workspace(folder: Path) -> bool:
    """Return whether `folder` has what makes a workspace."""
    return (folder / "variants").is_dir() and (folder / "kernels").is_dir()


def find(explicit: Path | None, start: Path | None = None) -> Workspace:
    """Return the workspace given with --workspace, else the nearest one upwards from `start` (default: here)."""
    if explicit is not None:
        if not is_workspace(explicit):
            raise UnusableInput(
                f"--workspace {explicit}: not a workspace (no variants/ and kernels/ in it); "
                f"make one with `zmlx init {shlex.quote(str(explicit))}`"
            )
        return _told(explicit.resolve())
    here = (start or _current()).resolve()
    for folder in (here, *here.parents):
        if is_workspace(folder):
            return _told(folder)
    raise UnusableInput(
        f"no workspace in {here} or above it; make one with `zmlx init DIR`, or name one with --workspace"
    )


def _current() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UnusableInput("the current folder was removed; cd into one that exists") from None


def options(place: Workspace) -> tuple[str, ...]:
    """Return what a command must say to work in `place` from the current folder: nothing, or --workspace and where."""
    try:
        return () if find(None) == place else ("--workspace", str(place.root))
    except UnusableInput:
        return ("--workspace", str(place.root))


def _told(root: Path) -> Workspace:
    """Return the workspace at `root`; UnusableInput where its path cannot be told to workers and written in JSON."""
    try:
        str(root).encode()
    except UnicodeEncodeError:
        raise UnusableInput(f"workspace {root}: its path is not UTF-8; rename the folder or take another") from None
    return Workspace(root)


def find_or_packaged(explicit: Path | None) -> Workspace:
    """Return the workspace as `find` does, or the packaged kernels and variants where there is none."""
    try:
        return find(explicit)
    except UnusableInput:
        if explicit is not None:
            raise
        return Workspace(packaged())


def create(folder: Path) -> Workspace:
    """Make a new workspace in `folder` from the packaged kernels and variants; it must not hold one already."""
    if is_workspace(folder):
        raise UnusableInput(f"{folder}: is a workspace already; use it with --workspace, or name another folder")
    _told(folder.resolve())
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UnusableInput(f"{folder}: exists and is not an empty folder; name another one")
    source = packaged()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("kernels", "variants"):
            shutil.copytree(source / name, folder / name, ignore=_IGNORED)
        (folder / "capsules").mkdir()
        (folder / ".gitignore").write_text("capsules/*/events.jsonl\ncapsules/*/logs/\n/fleet/\n*.lock\n__pycache__/\n")
    except BaseException as error:
        # Half a workspace would be taken for one.
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise CannotHere(f"{folder}: cannot be made: {files.reason(error)}; name another folder") from None
        raise
    return Workspace(folder.resolve())
