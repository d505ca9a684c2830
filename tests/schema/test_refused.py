"""A document that people wrote is refused in their words: the field as it stands there, what it must be."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from zmlx_bench import files
from zmlx_bench.errors import UnusableInput
from zmlx_bench.schema.base import StrictModel
from zmlx_bench.schema.kernel import KernelDeclaration
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.prompts import PromptSet
from zmlx_bench.schema.refused import known_fields
from zmlx_bench.schema.variant import VariantFile

ROOT = Path(__file__).resolve().parents[2]
VARIANT = 'family = "qwen3"\n[variant.v]\nwhy = "x"\n'
KERNEL = """schema_version = 1
summary = "s"
sites = ["combine"]
max_tokens = "any"
[mode.stock]
numerics = "stock"
backends = ["cpu"]
"""


def refused(model: type[StrictModel], text: str) -> str:
    with pytest.raises(UnusableInput) as error:
        files.parse(Path("a.toml"), model, text, tomllib.loads)
    return str(error.value).removeprefix("a.toml: ")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('kernels = "moe"', "variant.v.kernels: must be a table, not 'moe'"),
        ("kernels = { combine = 3 }", "variant.v.kernels.combine: must be text in quotes, not 3"),
        ('kernels = { combin = "a" }', "variant.v.kernels.combin: must be 'router', 'experts', "),
        ('kernels = { combine = "a.b.c" }', "variant.v.kernels.combine: must be a kernel's name, or with a mode NAME"),
        ('kernel = { combine = "a" }', "variant.v.kernel: unknown field; did you mean 'kernels'?"),
        ("zzz = 1", "variant.v.zzz: unknown field; known: why, extends, kernels, "),
        ("int = 1", "variant.v.int: unknown field; "),
        ("env = { MLX_A = 3 }", "variant.v.env.MLX_A: must be text in quotes, not 3"),
        ("default = 7", "variant.v.default: must be true or false, not 7"),
        ('fidelity = "nearly"', "variant.v.fidelity: must be 'identical' or 'near', not 'nearly'"),
        ('[variant."a b"]\nwhy = "x"', "variant.a b: must be letters, digits, '_', '.' and '-'"),
    ],
)
def test_a_variant(more: str, says: str) -> None:
    assert refused(VariantFile, VARIANT + more).startswith(says)


@pytest.mark.parametrize(
    ("was", "written", "says"),
    [
        # What pydantic calls the branches of a union stands nowhere in the file.
        ('"any"', '"many"', "max_tokens: must be a whole number or 'any', not 'many'"),
        ('"any"', "0", "max_tokens: must be at least 1 or 'any', not 0"),
        ('["combine"]', '"combine"', "sites: must be a list, not 'combine'"),
        ('["combine"]', "[]", "sites: must have 1 or more entries"),
        ('["cpu"]', '["cpus"]', "mode.stock.backends.0: must be 'metal', 'cuda' or 'cpu', not 'cpus'"),
        ("[mode.stock]", "[modes.stock]", "modes: unknown field; did you mean 'mode'? (and 1 more)"),
        ('summary = "s"', 'summary = ""', "summary: must have 1 or more characters"),
    ],
)
def test_a_kernel(was: str, written: str, says: str) -> None:
    assert was in KERNEL
    assert refused(KernelDeclaration, KERNEL.replace(was, written, 1)) == says


def test_what_is_missing_and_what_is_out_of_bounds() -> None:
    assert refused(PromptSet, '[[prompt]]\nid = "a"\ntext = "x"') == "prompt.0.domain: is missing"
    assert refused(
        Policy, (ROOT / "variants" / "policy.toml").read_text().replace("faster_alpha = ", "faster_alpha = 3 # ")
    ) == ("faster_alpha: must be below 1, not 3")
    assert refused(Policy, "").startswith("schema_version: is missing (and ")


def test_no_value_is_told_at_length() -> None:
    assert len(refused(VariantFile, f'family = "{"x" * 5000}"')) < 200


def test_the_fields_known_at_a_place() -> None:
    assert known_fields(VariantFile, ()) == tuple(VariantFile.model_fields)
    assert known_fields(VariantFile, ("variant", "any name"))[:2] == ("why", "extends")
    assert known_fields(KernelDeclaration, ("weights", 0))[0] == "mode"
    assert known_fields(VariantFile, ("family",)) == ()
