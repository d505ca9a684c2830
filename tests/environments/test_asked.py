"""What can be asked for as an environment, and what is refused in one line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from tests.wheels import MLX, MLX_LM, wheel
from zmlx_bench.environments.asked import asked, completed, declared, held, place
from zmlx_bench.errors import ZmlxError
from zmlx_bench.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.variants.mkdir()
    (tmp_path / "python").write_text("")
    wheel(tmp_path / "wheels", "planted", "1.0", {"planted.py": ""})
    declare(
        made,
        '[environment.old]\nrequirements = ["mlx-lm==0.32.1"]\n'
        '[environment.fork]\npython = "python"\nwhy = "a patched build"\n'
        '[environment.local]\nrequirements = ["wheels/planted-1.0-py3-none-any.whl"]\n',
    )
    return made


def declare(workspace: Workspace, text: str) -> None:
    (workspace.variants / "environments.toml").write_text(text)


def refusal(workspace: Workspace, text: str) -> str:
    with pytest.raises(ZmlxError) as refused:
        asked(workspace, text)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_name_of_the_workspace_is_what_it_declares(workspace: Workspace, tmp_path: Path) -> None:
    assert asked(workspace, "old").requirements == ("mlx-lm==0.32.1",)
    assert asked(workspace, "fork").python == tmp_path / "python"
    assert asked(workspace, "local").requirements == (str(tmp_path / "wheels" / "planted-1.0-py3-none-any.whl"),)
    assert list(declared(workspace)) == ["old", "fork", "local"]


@pytest.mark.parametrize(
    ("text", "requirements"),
    [
        ("mlx==0.32.3", ("mlx==0.32.3",)),
        ("mlx-lm >= 0.32, < 0.33", ("mlx-lm<0.33,>=0.32",)),
        ("mlx==0.32.3,mlx-lm>=0.31,<0.33, numpy==2.0", ("mlx==0.32.3", "mlx-lm<0.33,>=0.31", "numpy==2.0")),
    ],
)
def test_requirements_need_no_file(workspace: Workspace, text: str, requirements: tuple[str, ...]) -> None:
    assert asked(workspace, text).requirements == requirements


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("odl", "did you mean 'old'?"),
        ("mlx", "mlx==1.2.3"),
        ("mlx==0.32.3; rm -rf /", "is no requirement"),
        ("$(touch stolen)==1", "is no requirement"),
        ("mlx==1`touch stolen`", "is no requirement"),
        ("--index-url=http:x", "is no requirement"),
        ("-r requirements.txt", "is no requirement"),
        ("mlx @ git+https:x", "names an address"),
        ("mlx==1\n--pre", "must be a name"),
        ("", "must be a name"),
        ("no/such/python", "is no file"),
        ("no/such-1.0-py3-none-any.whl", "is no file"),
        ("not-a-wheel.whl", "Invalid wheel filename"),
    ],
)
def test_anything_else_is_refused_in_one_line(workspace: Workspace, text: str, says: str) -> None:
    assert says in refusal(workspace, text)


@given(st.text(max_size=40))
def test_no_text_becomes_an_option_or_a_second_line(text: str) -> None:
    found = None
    with contextlib.suppress(ZmlxError):
        found = asked(Workspace(Path("/nowhere")), text)
    for one in found.requirements if found is not None else ():
        assert str(Requirement(one)) == one
        assert not one.startswith("-")
        assert one.isprintable()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "either requirements or python"),
        ('requirements = ["mlx==1"]\npython = "python"', "either requirements or python"),
        ('requirements = ["mlx==1", "; echo"]', "environment.bad.requirements: '; echo' is no requirement"),
        ('python = "nowhere/python"', "environment.bad.python"),
        ("pyhton = 1", "pyhton"),
    ],
)
def test_a_fault_of_the_file_is_named_with_its_table(workspace: Workspace, table: str, says: str) -> None:
    declare(workspace, f"[environment.bad]\n{table}\n")
    assert says in refusal(workspace, "bad")
    assert "environments.toml" in refusal(workspace, "bad")


def test_a_name_with_shell_characters_is_refused(workspace: Workspace) -> None:
    declare(workspace, '[environment."a;touch b"]\nrequirements = ["mlx==1"]\n')
    assert "environment" in refusal(workspace, "a;touch b")


def test_what_is_not_asked_about_is_as_it_is_here() -> None:
    def plain(text: str) -> set[str]:
        return {one.replace("[cpu]", "").replace("[cuda13]", "") for one in completed([text])}

    assert plain("mlx==9.9") == {"mlx==9.9", f"mlx-lm=={MLX_LM}"}
    assert plain("mlx-lm==9.9") == {"mlx-lm==9.9", f"mlx=={MLX}"}
    assert plain("numpy==9.9") == {"numpy==9.9", f"mlx=={MLX}", f"mlx-lm=={MLX_LM}"}
    constraints = {Requirement(one).name for one in held(["mlx==9.9", "numpy==9.9"])}
    assert "transformers" in constraints
    assert not {"mlx", "mlx-cpu", "mlx-lm", "numpy"} & constraints - {"mlx-lm"}


def test_mlx_comes_with_the_backend_that_is_here() -> None:
    (mlx,) = (one for one in map(Requirement, completed(["mlx==9.9"])) if one.name == "mlx")
    assert mlx.extras
    (mlx,) = (one for one in map(Requirement, completed(["mlx[cuda12]==9.9"])) if one.name == "mlx")
    assert mlx.extras == {"cuda12"}, "one that is named is left alone"


def test_two_names_of_one_interpreter_are_one_place_and_two_environments_of_one_python_are_two(
    workspace: Workspace, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        folder = tmp_path / name / "bin"
        folder.mkdir(parents=True)
        (folder / "python").symlink_to(tmp_path / "python")
        (folder / "python3").symlink_to("python")
    (tmp_path / "link").symlink_to("one")
    same = [place(workspace, f"{tmp_path}/{text}") for text in ("one/bin/python", "one/bin/python3", "link/bin/python")]
    assert len(set(same)) == 1
    assert place(workspace, f"{tmp_path}/other/bin/python") not in same


def test_requirements_are_one_place_however_they_are_written(workspace: Workspace) -> None:
    assert (
        place(workspace, "old")
        == place(workspace, "mlx-lm == 0.32.1")
        == place(workspace, f"mlx=={MLX},mlx-lm==0.32.1")
    )
    assert place(workspace, "old") != place(workspace, "mlx-lm==0.32.0")
    assert place(workspace, "gone") == "gone"
