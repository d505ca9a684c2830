"""The probes of Metal's compiler: their texts in the shim, where nothing contracts, and their words."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from tests.kernels import gpu
from tests.shim.run import run_kernel
from zmlx_bench.schema.verification import Probe, Verification, VerifiedRow
from zmlx_bench.verify import probes, show

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def shim(header: str, body: str, values: tuple[float, ...]) -> float:
    words: Any = gpu.module("_lib.gpu.launch").WORDS["metal"]
    (out,) = run_kernel(
        body, words + header, inputs={"a": mx.array(values, mx.float32)}, outputs={"o": ((1,), mx.float32)},
        grid=(1, 1, 1), threadgroup=(1, 1, 1),
    )  # fmt: skip
    value: Any = out.item()
    return float(value)


def test_the_sum_tells_one_rounding_from_two() -> None:
    header = probes.MULTIPLY_ADD.format(file="off", block="")
    assert probes.rounding(shim(header, probes.SUM_BODY, probes.SUM_INPUT)) == probes.SEPARATE
    fused = header.replace("return a * b + c;", "return fused(a, b, c);")
    assert probes.rounding(shim(fused, probes.SUM_BODY, probes.SUM_INPUT)) == probes.CONTRACTED
    assert probes.rounding(1.0) == "neither: 1.0"


@pytest.mark.parametrize("name", list(probes.TYPES))
def test_steps_that_are_not_rounded_one_by_one_show(name: str) -> None:
    body = f"using T = {probes.TYPES[name]};\n{probes.STEPS_BODY}"
    assert shim("", body, probes.STEPS_INPUT) == probes.in_steps(name)
    whole = body.replace("T(a[0]) * T(a[1])", "T(0.0f)").replace("product + T(a[2])", "T(a[0] * a[1] + a[2])")
    assert shim("", whole, probes.STEPS_INPUT) != probes.in_steps(name)


def test_only_metal_is_asked() -> None:
    assert list(probes.ask("cpu")) == list(probes.ask("cuda")) == []


@pytest.mark.skipif(mx.metal.is_available(), reason="needs an MLX without Metal, which refuses every text")
def test_a_text_that_does_not_run_is_an_answer_and_the_next_is_asked() -> None:
    answers = list(probes.ask("metal"))
    assert len(answers) == 3 + len(probes.TYPES) + len(probes.SUBNORMAL)
    assert {answer.found for answer in answers} == {"no answer: RuntimeError: [metal_kernel] No Metal back-end."}
    assert [answer.name for answer in answers if not answer.holds] == [
        "contraction off at file scope", "contraction on at file scope", "bfloat16 steps", "float16 steps",
    ]  # fmt: skip


REFUSED = """RuntimeError: [metal::Device] Unable to build metal library from source
mlx/backend/metal/kernels/utils.h:812:5: warning: unused variable 'x'
program_source:31:19: error: no matching function for call to 'simd_sum'
  own = simd_sum(own);
        ^~~~~~~~
"""


def test_what_metals_compiler_says_of_a_kernel_is_shown_in_one_line() -> None:
    row = VerifiedRow(
        kernel="moe_combine", mode="stock", numerics="stock", family="qwen3", sites=("combine",), sizes="tiny",
        module="mlp", status="crash", reason=REFUSED,
    )  # fmt: skip
    report = Verification.model_construct(probes=(), rows=(row,))
    (line,) = show.broken(report)
    assert line.startswith("moe_combine.stock (qwen3 mlp tiny): crash: RuntimeError: [metal::Device] Unable to build")
    assert "error: no matching function for call to 'simd_sum'" in line
    assert "\n" not in line


def test_an_answer_that_was_not_expected_says_so() -> None:
    wrong = Probe(name="contraction off at file scope", found="one rounding", expected="a rounding each")
    assert not wrong.holds
    assert show.probe_line(wrong) == "contraction off at file scope: one rounding, where a rounding each was expected"
    assert Probe(name="float16 subnormals", found="kept", expected=None).holds
