"""`kernels verify` as a whole: kernels that are right, wrong, absent or deadly, at the tiny sizes; what it keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.conftest import Zmlx
from zmlx_bench.catalog import verified
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.doctor import kernels as doctor
from zmlx_bench.ledger.check.workspace import check_workspace
from zmlx_bench.report import listings
from zmlx_bench.schema.verification import Probe, Verification, VerifiedRow
from zmlx_bench.verify import run, show
from zmlx_bench.workspace import Workspace

PLANTED = ("no_op", "doubles", "killed", "raises_late", "unavailable", "broken")
NAMES = (*PLANTED, "moe_combine.fp32", "qkv_joined", "moe_combine.fp32_no_fma_staged", "native_moe")
Told = list[VerifiedRow | Probe]


@pytest.fixture(scope="module")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace(*PLANTED)


@pytest.fixture(scope="module")
def report(planted: Workspace) -> Verification:
    told: Told = []
    request = run.Request(names=NAMES, families=["qwen3"], backend="cpu", sizes=("tiny",))
    found = run.run(planted, request, told.append)
    assert tuple(told) == found.rows, "a CPU's compiler is asked nothing"
    return found


def of(report: Verification, kernel: str, mode: str = "stock") -> list[VerifiedRow]:
    return [row for row in report.rows if (row.kernel, row.mode) == (kernel, mode)]


def test_a_kernel_that_does_what_stock_does_has_its_bits_at_its_module_and_in_a_model(report: Verification) -> None:
    for kernel, module in (("no_op", "mlp"), ("qkv_joined", "self_attn")):
        rows = of(report, kernel)
        assert [(row.module, row.status, row.sizes, row.differing) for row in rows] == [
            (module, "ok", "tiny", 0),
            ("model", "ok", "tiny", 0),
        ]
        assert all(row.compared > 100 for row in rows)
        # One and as many sequences as it serves up to four, at three depths of the cache; two prompts with three steps.
        assert [row.calls for row in rows] == [6, 8]


def test_a_mode_that_says_stock_and_is_not_breaks_its_word(report: Verification) -> None:
    rows = of(report, "doubles")
    assert all(row.breaks_word and row.differing > row.compared / 2 for row in rows)
    assert [
        line for line in show.broken(report) if line.startswith("doubles.stock (qwen3 mlp tiny): declared identical")
    ]


def test_a_mode_that_declares_other_bits_does_not(report: Verification) -> None:
    rows = of(report, "moe_combine", "fp32")
    assert all(row.differing > 0 and not row.breaks_word for row in rows)
    assert {show.verdict(row) for row in rows} == {"changes bits, as declared"}


def test_a_kernel_that_fails_is_told_from_one_that_says_that_it_cannot(report: Verification) -> None:
    assert [(row.module, row.status) for row in of(report, "raises_late")] == [("mlp", "crash"), ("model", "crash")]
    assert {row.reason for row in of(report, "raises_late")} == {"RuntimeError: planted in decode"}
    assert {(row.status, row.reason) for row in of(report, "unavailable")} == {
        ("unavailable", "needs a machine that is not here")
    }
    assert [row.status for row in of(report, "moe_combine", "fp32_no_fma_staged")] == ["unavailable"]


def test_a_kernel_that_takes_the_process_with_it_does_not_take_the_next(report: Verification) -> None:
    (lost,) = of(report, "killed")
    assert (lost.status, lost.reason, lost.sizes) == ("crash", "killed by SIGKILL", "tiny")
    order = list(dict.fromkeys(row.kernel for row in report.rows if row.compared))
    assert order == [name for name in ("no_op", "doubles", "moe_combine", "qkv_joined", "native_moe") if name in order]
    assert {"no_op", "qkv_joined"} <= set(order)


def test_it_reads_as_a_table_and_reasons(report: Verification) -> None:
    said = [show.progress(row) for row in report.rows]
    assert "no_op.stock (qwen3 mlp tiny): stock's bits (2,880 elements)" in said
    assert "killed.stock (qwen3 tiny): crash" in said
    assert None in said, "what does not run here is said once, at the end"


def test_what_is_kept_is_known_to_the_lists_the_doctor_and_check(report: Verification, planted: Workspace) -> None:
    assert listings.variants(planted, "qwen3")[0]["verified"] is None
    path = verified.write(planted, report)
    assert Verification.model_validate_json(path.read_bytes()) == report
    here = verified.here("cpu")
    catalog, reports = Catalog(planted, "qwen3"), verified.read(planted)

    def when(name: str, place: verified.Place = here) -> str | None:
        variant = catalog.resolve(name)
        return verified.last(reports, variant, verified.digests(catalog, variant, "cpu"), place)

    assert when("qwen_qkv_joined") == report.time
    for name in ("doubles", "qwen_combine_exact"):
        assert when(name) is None, "broken, or never compared"
    for other in ({"device": "another"}, {"mlx": "0.0"}, {"mlx_lm": "0.0"}, {"mlx_lm": None}, {"backend": "metal"}):
        assert when("qwen_qkv_joined", replace(here, **other)) is None
    rows = {row["variant"]: row["verified"] for row in listings.variants(planted, "qwen3")}
    assert rows["qwen_qkv_joined"] == report.time
    told = doctor.verification(planted, "cpu").found
    assert "qwen_qkv_joined" not in told
    assert "qwen_native" in told
    assert "gpt_oss" not in told, "`zmlx kernels verify`, which is the remedy, takes it by its name only"
    assert check_workspace(planted).findings == ()
    path.write_text(path.read_text().replace('"seed"', '"sed"'))
    (finding, *_) = check_workspace(planted).findings
    assert finding.file == f"verifications/{path.name}"
    path.unlink()


def test_a_changed_kernel_is_not_verified_any_more(report: Verification, planted: Workspace) -> None:
    catalog = Catalog(planted, "qwen3")
    variant = catalog.resolve("qwen_qkv_joined")
    here = verified.here("cpu")
    before = verified.digests(catalog, variant, "cpu")
    assert verified.last([report], variant, before, here) == report.time
    source = planted.kernels / "qkv_joined" / "kernel.py"
    source.write_text(source.read_text() + "\nMORE = 1\n")
    assert verified.last([report], variant, verified.digests(catalog, variant, "cpu"), here) is None
    assert verified.last([report], variant, before, here) == report.time, "what was measured is what was verified"


def test_the_command_refuses_a_name_and_says_that_nothing_runs_here(zmlx_inside: Zmlx, planted: Workspace) -> None:
    done = zmlx_inside("kernels", "verify", "nothing_such", "--workspace", str(planted.root))
    assert (done.returncode, "nothing_such" in done.stderr) == (3, True)
    done = zmlx_inside(
        "kernels", "verify", "residual_norm", "--backend", "cpu", "--workspace", str(planted.root), "--json"
    )
    assert done.returncode == 4
    found = json.loads(done.stdout)
    assert {row["status"] for row in found["rows"]} == {"unavailable"}
