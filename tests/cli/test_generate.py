"""`zmlx generate`: mlx-lm's generate, with the promoted variant where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.use.promoted import fail_here, promote, promotion
from zmlx_bench.checkpoints.resolve import TINY
from zmlx_bench.workspace import Workspace

PROMPT = ("--prompt", "Explain the difference between TCP and UDP.", "--max-tokens", "16", "--verbose", "False")
BEGINNING = "TCP and UDP are the two main"


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    made = make_workspace("no_op", "doubles", "raises_late")
    with (made.variants / "qwen3.toml").open("a") as file:
        file.write('\n[variant.told]\nwhy = "with its environment"\nextends = "no_op"\nenv = { ZMLX_PLANTED = "7" }\n')
    return made


def generate(zmlx: Callable[..., Any], place: Workspace, *arguments: str) -> Any:
    return zmlx("generate", "qwen3", "--checkpoint", "tiny", *arguments, *PROMPT, cwd=place.root)


def test_the_promoted_variant_is_used_with_its_environment(zmlx: Callable[..., Any], place: Workspace) -> None:
    promote(place, promotion(place, "qwen3", "told"))
    done = generate(zmlx, place)
    assert done.returncode == 0
    assert done.stdout.startswith(BEGINNING)
    assert "told: promoted for qwen3 tiny on " in done.stderr


def test_what_was_measured_on_an_earlier_path_runs_and_says_so_unless_strict(
    zmlx: Callable[..., Any], make_workspace: Callable[..., Workspace]
) -> None:
    own = make_workspace("no_op")
    promote(own, promotion(own, "qwen3", "no_op"))
    kernel = own.kernels / "no_op" / "kernel.py"
    kernel.write_text(kernel.read_text().replace("axis=-2", "axis=y.ndim - 2"))
    done = generate(zmlx, own)
    assert done.returncode == 0
    assert done.stdout.startswith(BEGINNING)
    assert "it was measured on an earlier path: kernel no_op changed since" in done.stderr
    strict = generate(zmlx, own, "--strict")
    assert (strict.returncode, strict.stdout) == (4, "")
    assert "it was measured on an earlier path: kernel no_op changed since" in strict.stderr


def test_a_default_against_which_a_session_speaks_is_used_and_said_to_be_in_doubt_first(
    zmlx: Callable[..., Any], make_workspace: Callable[..., Workspace]
) -> None:
    own = make_workspace("no_op")
    promote(own, promotion(own, "qwen3", "no_op"))
    session = fail_here(own, "qwen3", "no_op")
    doubt = (
        f"DEFAULT IN DOUBT: no_op said other tokens than the model in session {session}: it stays the default until "
        "more sessions reject it; `zmlx run qwen3 --checkpoint tiny --backend cpu --tokens 200 --tokens 1024 "
        "--variants no_op --runs 6` measures it again"
    )
    done = generate(zmlx, own, "--strict")
    assert done.returncode == 0
    assert done.stdout.startswith(BEGINNING)
    lines = done.stderr.splitlines()
    assert lines.index(doubt) < next(n for n, line in enumerate(lines) if line.startswith("no_op: promoted for"))
    refused = zmlx("serve", "qwen3", "--checkpoint", "tiny", "--no-such-option", cwd=own.root)
    assert refused.returncode == 3
    assert doubt in refused.stderr.splitlines(), "before the server begins"


def test_without_a_promotion_the_stock_model_answers(zmlx: Callable[..., Any], place: Workspace) -> None:
    promote(place)
    done = generate(zmlx, place)
    assert done.returncode == 0
    assert done.stdout.startswith(BEGINNING)
    assert "no variant: nothing is promoted for qwen3 tiny on " in done.stderr


def test_a_variant_by_name(zmlx: Callable[..., Any], place: Workspace) -> None:
    done = generate(zmlx, place, "--variant", "doubles")
    assert done.returncode == 0
    assert not done.stdout.startswith(BEGINNING)
    assert "doubles: asked for by name" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says", "kept"),
    [
        (("--adapter-path", "not/there"), 3, "The adapter path does not exist: not/there", "load_adapters"),
        (("--variant", "raises_late"), 4, "RuntimeError: planted in decode", "planted in decode"),
    ],
)
def test_what_mlx_lm_raises_is_one_line_and_the_whole_is_kept(
    zmlx: Callable[..., Any], place: Workspace, small: str, arguments: tuple[str, ...], code: int, says: str, kept: str
) -> None:
    done = zmlx("generate", "qwen3", "--checkpoint", small, *arguments, *PROMPT, cwd=place.root)
    assert done.returncode == code
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"zmlx: mlx_lm.generate: {says}")
    assert "Traceback" not in done.stderr
    whole = Path(last.rpartition("; all of it is in ")[2]).read_text()
    assert whole.startswith("Traceback")
    assert kept in whole


@pytest.mark.slow
def test_a_folder_that_is_named_like_an_option(zmlx: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copytree(TINY / "tiny_qwen3", tmp_path / "-model")
    done = zmlx("generate", "qwen3", "--checkpoint", "./-model", "--variant", "none", *PROMPT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(BEGINNING)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--variant", "doublets"), 3, "unknown qwen3 variant 'doublets'; did you mean 'doubles'?"),
        (("--variant", "qwen_fused_router_topk"), 4, "moe_router.stock runs on metal, cuda, not on cpu"),
        (("--no-such-option",), 3, "mlx_lm.generate does not take these arguments"),
        (("--model", "x/y"), 3, "--model: the model is named by FAMILY and --checkpoint here"),
        (("--model=x/y",), 3, "--model: the model is named by FAMILY and --checkpoint here"),
        (("--mode", "x/y"), 3, "--model: the model is named by FAMILY and --checkpoint here"),
        (("--trust-remote",), 3, "--trust-remote-code: write it out in full"),
        (("--draft-model", "."), 3, "--draft-model .: lacks its config.json; give the folder of an mlx-lm checkpoint"),
    ],
)
def test_what_cannot_be_used(
    zmlx_inside: Callable[..., Any], place: Workspace, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = generate(zmlx_inside, place, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
