"""What moves an identity and what does not, on copies of the project's own kernels; and the same under each Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from zmlx_bench.catalog import families
from zmlx_bench.catalog import identity as identities
from zmlx_bench.catalog.found import backends_of, kernel_sources
from zmlx_bench.catalog.identity import Part, identity
from zmlx_bench.catalog.meaning import is_source
from zmlx_bench.catalog.measured_path import NAMES_ONLY, NOT_BETWEEN_TOKENS, ROOM, path_sources
from zmlx_bench.workspace import Workspace

PYTHONS = ("3.11", "3.12", "3.13")


def of(kernels: Path, kernel: str, backend: str, limit: int | None = None) -> str:
    folder = families.folder("qwen3")
    found = identity([Part(kernel, "stock", ("combine",), limit)], {}, "qwen3", backend, kernels, folder)
    return found.kernels[kernel]


def edited(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text, path
    path.write_text(text.replace(before, after, 1))


def test_wording_comments_and_layout_change_no_kernel(fresh_workspace: Workspace) -> None:
    kernels = fresh_workspace.kernels
    known = {(k, b): of(kernels, k, b) for k in ("moe_combine", "decoder_step", "native_moe") for b in ("cuda", "cpu")}
    for path in kernels.rglob("*"):
        if path.suffix in (".cu", ".gpu", ".metal", ".h", ".cpp", ".inl"):
            path.write_text("/* A word more. */\n" + path.read_text().replace("\n", "\n\n// another\n", 1))
        elif path.suffix == ".py":
            path.write_text('"""A word more."""\n' + path.read_text().replace("\n\n", "\n\n# another\n"))
    edited(kernels / "_lib" / "gpu" / "packed.py", '"""', '""" ')
    edited(kernels / "moe_combine" / "kernel.toml", "summary = ", 'summary = "about" # was ')
    assert {key: of(kernels, *key) for key in known} == known


@pytest.mark.parametrize(
    ("file", "before", "after", "changed"),
    [
        ("_lib/gpu/packed.py", "GROUP = 64", "GROUP = 32", {("decoder_step", "cuda"), ("gather_qmm_swiglu", "metal")}),
        ("gate_router/gates_8bit.cu", "#pragma unroll 1", "#pragma unroll 2", {("decoder_step", "cuda")}),
        ("moe_combine/combine.gpu", "total", "sum", {("moe_combine", "metal"), ("moe_combine", "cuda")}),
        ("_lib/gpu/metal_words.h", "(off)", "(on)", {("moe_combine", "metal"), ("gather_qmm_swiglu", "metal")}),
        ("_lib/native/src/moe.cpp", "namespace", "inline namespace", {("native_moe", "cpu")}),
    ],
)  # fmt: skip
def test_what_runs_changes_the_kernels_that_run_it_on_that_backend(
    fresh_workspace: Workspace, file: str, before: str, after: str, changed: set[tuple[str, str]]
) -> None:
    asked = [("decoder_step", "cuda"), ("native_moe", "cpu"), ("gather_qmm_swiglu", "metal")]
    asked += [("moe_combine", backend) for backend in ("metal", "cuda", "cpu")]
    known = {key: of(fresh_workspace.kernels, *key) for key in asked}
    edited(fresh_workspace.kernels / file, before, after)
    assert {key for key in asked if of(fresh_workspace.kernels, *key) != known[key]} == changed


def test_the_largest_call_that_a_kernel_serves_is_part_of_it(fresh_workspace: Workspace) -> None:
    assert of(fresh_workspace.kernels, "moe_combine", "cpu", 1) != of(fresh_workspace.kernels, "moe_combine", "cpu")


def test_a_file_that_nothing_imports_belongs_to_no_kernel(fresh_workspace: Workspace) -> None:
    known = of(fresh_workspace.kernels, "moe_combine", "cpu")
    (fresh_workspace.kernels / "moe_combine" / "notes.py").write_text("x = 1\n")
    (fresh_workspace.kernels / "other").mkdir()
    (fresh_workspace.kernels / "other" / "kernel.py").write_text("x = 1\n")
    assert of(fresh_workspace.kernels, "moe_combine", "cpu") == known
    edited(
        fresh_workspace.kernels / "moe_combine" / "kernel.py",
        "from typing import Any",
        "from typing import Any\n\nfrom . import notes",
    )
    assert of(fresh_workspace.kernels, "moe_combine", "cpu") != known


def test_the_declaration_counts_and_its_name_and_reason_do_not(fresh_workspace: Workspace) -> None:
    kernels, folder = fresh_workspace.kernels, families.folder("qwen3")
    part = Part("moe_combine", "stock", ("combine",), None)

    def digest(part: Part = part, env: dict[str, str] | None = None, backend: str = "cpu") -> str:
        return identity([part], env or {}, "qwen3", backend, kernels, folder).digest

    others = [
        digest(Part("moe_combine", "fp32", ("combine",), None)),
        digest(env={"ZMLX_TRACE": "1"}),
        digest(backend="cuda"),
    ]
    assert len({digest(), *others}) == 4


@pytest.mark.parametrize(
    ("name", "backends"),
    [
        ("cuda_rows.py", ("cuda",)), ("heads.cu", ("cuda",)), ("metal_qmv.h", ("metal",)), ("a.metal", ("metal",)),
        ("a.gpu", ("metal", "cuda")), ("CMakeLists.txt", ()), ("isa.inl", ("cpu",)), ("kernel.py", ()),
        ("a.h", ()), ("a.cpp", ("cpu",)), ("cuda_step.cpp", ("cuda",)),
    ],
)  # fmt: skip
def test_a_files_name_says_its_backend(tmp_path: Path, name: str, backends: tuple[str, ...]) -> None:
    assert backends_of(tmp_path / name) == backends


def test_a_header_beside_native_code_is_the_cpus(tmp_path: Path) -> None:
    (tmp_path / "a.cpp").write_text("")
    assert backends_of(tmp_path / "a.h") == ("cpu",)
    assert backends_of(tmp_path / "cuda_a.h") == ("cuda",)


def test_every_text_of_the_project_belongs_to_a_kernel(repository: Workspace) -> None:
    names = [path.parent.name for path in repository.kernels.glob("*/kernel.toml")]
    found = {file for name in names for file in kernel_sources(repository.kernels, name, None).files}
    endings = ("*.metal", "*.gpu", "*.cu", "*.h", "*.cpp", "*.inl", "CMakeLists.txt")
    texts = {path for ending in endings for path in repository.kernels.rglob(ending)}
    assert texts
    assert texts <= found


def test_the_decode_graph_is_its_launches_and_the_library_that_starts_them(repository: Workspace) -> None:
    kernels = repository.kernels
    found = {path.relative_to(kernels).as_posix() for path in kernel_sources(kernels, "decoder_graph", "cuda").files}
    folders = ("decoder_graph", "_lib/graph", "_lib/extension")
    sources = {path for folder in folders for path in (kernels / folder).rglob("*") if is_source(path)}
    # What only makes the build is not imported by what runs.
    assert {path.relative_to(kernels).as_posix() for path in sources} - found == {
        "_lib/graph/build.py",
        "_lib/extension/build.py",
    }
    assert {"_lib/gpu/cuda_qmm.h", "moe_router/softmax_keys.gpu", "gate_router/gates_8bit.cu"} <= found


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A copy of the measured room."""
    return Path(shutil.copytree(ROOM, tmp_path / "measured", ignore=shutil.ignore_patterns("__pycache__")))


def path_of(room: Path, family: str) -> dict[str, str]:
    sources = path_sources(room / "families" / family, room=room)
    return {name: identities.digest_of(path) for name, path in sources.items()}


@pytest.mark.parametrize("family", ["qwen3", "glm47"])
def test_a_sleep_in_the_decode_path_is_seen_and_a_comment_is_not(room: Path, family: str) -> None:
    known = path_of(room, family)
    edited(room / "families" / "linear.py", '"""', '"""Said otherwise. ')
    assert path_of(room, family) == known
    edited(
        room / "host.py", "    shape = x.shape\n", "    import time\n\n    time.sleep(0.0001)\n    shape = x.shape\n"
    )
    assert path_of(room, family) != known


def test_a_sleep_where_a_family_appends_to_its_cache_is_seen(room: Path) -> None:
    known = path_of(room, "qwen3")
    edited(
        room / "families" / "decode.py",
        "    start = cache.offset",
        "    __import__('time').sleep(1e-4)\n    start = cache.offset",
    )
    assert path_of(room, "qwen3") != known


def test_another_family_and_what_loads_or_reports_leave_the_path_alone(room: Path) -> None:
    known = path_of(room, "qwen3")
    shutil.copytree(room / "families" / "glm47", room / "families" / "new")
    edited(room / "families" / "glm47" / "family.py", "class ", "OTHER = 1\n\n\nclass ")
    for name in NOT_BETWEEN_TOKENS:
        (room / name).write_text("x = 1\n")
    assert path_of(room, "qwen3") == known


def test_under_conditions_the_path_has_their_modules_and_by_default_none(room: Path) -> None:
    family = room / "families" / "qwen3"
    plain = path_sources(family, room=room)
    asked = path_sources(family, room=room, conditions=True)
    more = set(asked) - set(plain)
    assert set(plain) < set(asked)
    assert {"conditions/run.py", "conditions/decode.py", "conditions/caches.py", "conditions/depth.py"} <= more
    assert all(name.startswith("conditions/") for name in more)
    known = identities.path_digest(ROOM / "families" / "qwen3", conditions=True)
    assert known != identities.path_digest(ROOM / "families" / "qwen3")


def test_what_is_left_out_of_the_path_is_there_and_says_why() -> None:
    for name, why in NOT_BETWEEN_TOKENS.items():
        assert (ROOM / name).is_file(), name
        assert why


def test_names_of_the_public_module_count_where_they_are_defined(tmp_path: Path, room: Path) -> None:
    (room / NAMES_ONLY).write_text(
        "from zmlx_bench.measured.host import Host\nfrom zmlx_bench.measured.synthetic import build\n"
        "from zmlx_bench.measured.families.decode import append\n"
    )
    family = tmp_path / "families" / "mine"
    family.mkdir(parents=True)
    (family / "family.py").write_text("from zmlx_bench.measured.api import Host, append\nfrom . import parts\n")
    (family / "parts.py").write_text("import math\n")
    found = path_sources(family, room=room)
    assert {"family/family.py", "family/parts.py", "host.py", "families/decode.py"} <= set(found)
    assert NAMES_ONLY not in found
    assert "families/linear.py" not in found


def test_names_of_before_count_where_they_are_defined_now(tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text("from zmlx_bench.families.decode import append\n")
    found = path_sources(tmp_path)
    assert "families/decode.py" in found
    assert all(name.startswith("family/") or (ROOM / name).is_file() for name in found)


def _pythons() -> dict[str, Path | None]:
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found: dict[str, Path | None] = {}
    for version in PYTHONS:
        own = sorted(versions.glob(f"{version}.*/bin/python"))
        named = shutil.which(f"python{version}")
        found[version] = own[-1] if own else Path(named) if named else None
    return found


@pytest.fixture(scope="module")
def printed(repository: Workspace) -> Callable[[Path], str]:
    def run(python: Path) -> str:
        folders = [str(repository.kernels), str(ROOM)]
        command = [str(python), "-m", "zmlx_bench.catalog.identity", *folders]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(repository.root), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.process
@pytest.mark.parametrize("version", PYTHONS)
def test_digests_do_not_depend_on_the_python_that_computes_them(
    version: str, printed: Callable[[Path], str], repository: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    python = _pythons()[version]
    if python is None:
        pytest.skip(f"Python {version} is not here")
    identities.main([str(repository.kernels), str(ROOM)])
    here = capsys.readouterr().out
    assert len(here.splitlines()) > 100
    assert printed(python) == here
