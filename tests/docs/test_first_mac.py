"""README's five commands for a Mac: their order, what the page says of them, and how far they come without one."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import Zmlx
from tests.docs.blocks import ROOT, blocks
from tests.machine import mac
from zmlx_bench.catalog import families, kernels
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.doctor import checkup
from zmlx_bench.doctor import kernels as doctor
from zmlx_bench.machine import backend
from zmlx_bench.protocol.plan import arms_of, draw_up
from zmlx_bench.schema.plan import Checkpoint, Conditions, Timeouts
from zmlx_bench.schema.prompts import Prompt, PromptSet
from zmlx_bench.workspace import Workspace

README = ROOT / "README.md"
(SECTION,) = re.findall(r"^## On a Mac\n(.*?)^## ", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
ORDER = ["make setup", "zmlx doctor", "zmlx kernels verify", "zmlx run", "zmlx promote"]


def commands() -> list[str]:
    """Return the commands of the section, without what stands before the program."""
    (block,) = (each for each in blocks(README) if each.mark == "gpu")
    return [line.text.removeprefix("caffeinate -i ").removeprefix(".venv/bin/") for line in block.lines]


def variants() -> list[tuple[str, str]]:
    """Return every family and variant that the section measures, also in its sentences."""
    return re.findall(r"zmlx run (\w+) --variants (\w+) --checkpoint full", SECTION)


def test_there_are_five_in_the_order_in_which_they_help() -> None:
    assert len(commands()) == len(ORDER)
    assert [one for one, start in zip(commands(), ORDER, strict=True) if not one.startswith(start)] == []


def test_each_has_a_row_that_says_what_it_prints_how_long_and_how_much_memory() -> None:
    rows = [row.strip("| ").split(" | ") for row in SECTION.splitlines() if row.startswith("| `")]
    assert [len(row) for row in rows] == [4] * len(ORDER)
    for row, command in zip(rows, commands(), strict=True):
        assert command.startswith(row[0].strip("`"))
    unknown = [row[0] for row in rows if "not measured on a Mac" in row[2]]
    assert unknown == ["`zmlx kernels verify --record`", "`zmlx run qwen3`"]


def test_what_it_says_of_sizes_and_processes_is_so(repository: Workspace) -> None:
    for family, _ in variants():
        assert f"{families.facts(family).memory_gb:.1f} GB" in SECTION
    variant = Catalog(repository, "qwen3").resolve("qwen_fused")
    plan = draw_up(
        family="qwen3", checkpoint=Checkpoint(kind="full", label="full", digest="a" * 64, source="made",
        config_sha256="0" * 64, weights={}), conditions=Conditions(), backend="metal", tokens=(200, 1024), blocks=6,
        seed=1, cooldown_s=0.0, timeouts=Timeouts(), arms=arms_of([variant], None, null_arm=True),
        prompts=PromptSet(prompt=(Prompt(id="p", domain="made", text="Text."),)),
    )  # fmt: skip
    timed = sum(job.kind == "timed" for job in plan.jobs)
    assert f"{timed} timed processes" in SECTION


def test_doctor_on_a_mac_leads_to_the_next_command(
    repository: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac.pretend(monkeypatch, tmp_path / "bin", sysctl=mac.SYSCTL, ioreg=mac.IOREG, mlx="echo 25769803776")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert backend.choose("auto") == "metal"
    seen = {one.subject: one for one in checkup.observations(repository)}
    assert (seen["backend"].level, seen["backend"].found) == ("good", "metal")
    assert "Metal recommends at most 25.8 GB" in seen["wired limit"].found
    told = doctor.verification(repository, "metal")
    assert set(told.found.replace(",", "").split()) >= {name for _, name in variants()}
    assert commands()[2] in (told.remedy or "")


def test_verify_compares_on_metal_all_that_run_measures(repository: Workspace) -> None:
    found = variants()
    assert found == [("qwen3", "qwen_fused"), ("glm47", "glm_fused")]
    for family, name in found:
        catalog = Catalog(repository, family)
        variant = catalog.resolve(name)
        assert catalog.missing_on(variant, "metal") is None
        compared = {(kernel.name, mode) for kernel, mode in kernels.choose(repository, [])}
        assert {(use.kernel, use.mode) for use in variant.kernels} <= compared
        assert len(variant.kernels) > 3


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac can do it")
@pytest.mark.parametrize(
    "command", ["kernels verify --backend metal", "run qwen3 --variants qwen_fused --backend metal"]
)
def test_elsewhere_one_line_says_what_is_needed(zmlx: Zmlx, command: str) -> None:
    done = zmlx(*command.split(), "--workspace", str(ROOT))
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "zmlx: --backend metal: metal needs a Mac with Apple silicon\n"
