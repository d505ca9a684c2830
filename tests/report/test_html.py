"""The report and a capsule as pages: whole, small, and loading nothing."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from tests.conftest import Zmlx

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 10_000_000


@pytest.fixture
def zmlx(zmlx_inside: Zmlx) -> Zmlx:
    """Run `zmlx ARGUMENTS` in the checkout."""
    return functools.partial(zmlx_inside, cwd=ROOT)


def loaded(page: str) -> list[str]:
    """What the page's own markup would fetch, outside of its scripts."""
    markup = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    return re.findall(r"<(?:link|script|img|iframe)[^>]+(?:href|src)=\"(?!data:|#)[^\"]*", markup)


def test_the_report_is_one_small_page_that_loads_nothing(zmlx: Zmlx, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    done = zmlx("report", "--format", "html", "--out", str(out))
    assert (done.returncode, done.stdout) == (0, "")
    page = out.read_text()
    assert len(page.encode()) < MOST_BYTES
    assert loaded(page) == []
    for name in ("qwen_native", "glm_native", "glm_qkv_joined", "PROMOTE", "INCONCLUSIVE"):
        assert name in page


def test_a_capsule_is_a_page_too(zmlx: Zmlx, tmp_path: Path) -> None:
    capsule = sorted((ROOT / "capsules").glob("*/qwen3_*_t200_*qwen_native.json"))[-1]
    out = tmp_path / "capsule.html"
    done = zmlx("capsule", "show", str(capsule), "--format", "html", "--out", str(out))
    assert done.returncode == 0
    page = out.read_text()
    assert loaded(page) == []
    assert "qwen_native" in page
    assert len(page.encode()) < MOST_BYTES


@pytest.mark.parametrize("form", ["table", "json"])
def test_only_a_page_is_written_to_a_file(zmlx: Zmlx, form: str, tmp_path: Path) -> None:
    capsule = next((ROOT / "capsules").glob("*/qwen3_*.json"))
    done = zmlx("capsule", "show", str(capsule), "--format", form, "--out", str(tmp_path / "x"))
    assert done.returncode == 3
    assert "--format html" in done.stderr
    assert not (tmp_path / "x").exists()
