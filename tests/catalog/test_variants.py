"""Declarations of variants and kernels: resolved as written, and every error names file, table and field."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.planted import declaration, plant
from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.variants import Catalog, families_with_variants
from zmlx_bench.errors import UnusableInput
from zmlx_bench.workspace import Workspace

Add = Callable[[str], Workspace]


@pytest.fixture
def add(fresh_workspace: Workspace) -> Add:
    """Append to the variants of qwen3."""

    def append(text: str) -> Workspace:
        with (fresh_workspace.variants / "qwen3.toml").open("a") as file:
            file.write(f"\n{text}\n")
        return fresh_workspace

    return append


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[variant.v]\nwhy = "x"\nkernels = { combin = "moe_combine" }', "variant.v.kernels.combin"),
        ('[variant.v]\nwhy = "x"\nkernels = { combine = "moe_combin" }', "did you mean 'moe_combine'?"),
        ('[variant.v]\nwhy = "x"\nkernels = { combine = "moe_combine.fp23" }', "did you mean 'fp32'?"),
        ('[variant.v]\nwhy = "x"\nkernels = { qkv = "moe_combine" }', "v.kernels.qkv: moe_combine is for combine, not"),
        ('[variant.v]\nwhy = "x"\nkernels = { combine = "Moe Combine" }', "variant.v.kernels.combine: "),
        ('[variant.v]\nwhy = "x"\nextends = "qwen_qkv_joinde"', "variant.v.extends: unknown variant 'qwen_qkv_joinde'"),
        ('[variant.v]\nwhy = "x"\nextends = "v"', "variant.v.extends: goes in a circle: v -> v"),
        (
            '[variant.a]\nwhy = "x"\nextends = "b"\n[variant.b]\nwhy = "x"\nextends = "a"',
            "variant.a.extends: goes in a circle: a -> b -> a",
        ),
        ('[variant.v]\nwhy = "x"', "variant.v.kernels: names no kernel"),
        ('[variant.v]\nkernels = { combine = "moe_combine" }', "variant.v.why: is missing"),
        ('[variant.v]\nwhy = ""\nkernels = { combine = "moe_combine" }', "variant.v.why: "),
        ('[variant.v]\nwhy = "x"\nkernel = "moe_combine"', "variant.v.kernel: unknown field; did you mean 'kernels'?"),
        ('[variant.qwen_qkv_joined]\nwhy = "x"', "qwen_qkv_joined"),
        ('[variant.QWEN_QKV_joined]\nwhy = "x"\nextends = "qwen_qkv_joined"', "differs from 'qwen_qkv_joined' only in"),
        ('[variant.baseline]\nwhy = "x"\nextends = "qwen_qkv_joined"', "variant.baseline: the name 'baseline' is res"),
        ('[variant."a/b"]\nwhy = "x"\nextends = "qwen_qkv_joined"', "variant.a/b"),
        (
            '[variant.v]\nwhy = "x"\nextends = "qwen_qkv_joined"\nenv = { LD_PRELOAD = "x" }',
            "variant.v.env: 'LD_PRELOAD' may not be set by a variant; only ZMLX_* and MLX_* may",
        ),
        (
            '[variant.v]\nwhy = "x"\nextends = "qwen_qkv_joined"\nenv = { MLX_x = "1" }',
            "variant.v.env: 'MLX_x' may not",
        ),
        (
            '[variant.v]\nwhy = "x"\nextends = "qwen_combine_near"\nenv = { MLX_A = "1" }',
            "variant.v.env: near is found inside one process",
        ),
        ('[variant.v]\nwhy = "x"\nextends = "qwen_qkv_joined"\nfidelity = "close"', "variant.v.fidelity: "),
        ("not toml", "qwen3.toml: "),
    ],
)
def test_an_error_names_file_table_and_field(add: Add, text: str, says: str) -> None:
    workspace = add(text)
    with pytest.raises(UnusableInput) as caught:
        Catalog(workspace, "qwen3")
    message = str(caught.value)
    assert str(workspace.variants / "qwen3.toml") in message
    assert says in message
    assert "\n" not in message


def test_at_most_four_defaults(add: Add) -> None:
    more = "\n".join(f'[variant.v{i}]\nwhy = "x"\nextends = "qwen_qkv_joined"\ndefault = true' for i in range(5))
    with pytest.raises(UnusableInput, match=r"variant\.v\d\.default: at most 4 variants may be default"):
        Catalog(add(more), "qwen3")


def test_what_is_near_is_no_default(fresh_workspace: Workspace) -> None:
    path = fresh_workspace.variants / "qwen3.toml"
    text = path.read_text().replace("default = true", "default = false")
    path.write_text(text + '\n[variant.v]\nwhy = "x"\nextends = "qwen_combine_near"\ndefault = true\n')
    with pytest.raises(UnusableInput, match=r"variant\.v\.default: a variant that is near is measured by"):
        Catalog(fresh_workspace, "qwen3")


def test_a_file_of_another_family(fresh_workspace: Workspace) -> None:
    path = fresh_workspace.variants / "glm47.toml"
    path.write_text((fresh_workspace.variants / "qwen3.toml").read_text())
    with pytest.raises(UnusableInput, match="family: is 'qwen3'; must be 'glm47', as the file's name says"):
        Catalog(fresh_workspace, "glm47")
    path.unlink()
    with pytest.raises(UnusableInput, match="the family 'glm47' has no variants in this workspace"):
        Catalog(fresh_workspace, "glm47")


def test_extends_takes_kernels_and_environment_over_and_may_replace_them(add: Add) -> None:
    catalog = Catalog(
        add(
            '[variant.a]\nwhy = "x"\nextends = "qwen_qkv_joined"\nkernels = { combine = "moe_combine.fp32" }\n'
            'env = { MLX_A = "1", MLX_B = "1" }\n'
            '[variant.b]\nwhy = "y"\nextends = "a"\nkernels = { combine = "moe_combine" }\nenv = { MLX_B = "2" }'
        ),
        "qwen3",
    )
    b = catalog.resolve("b")
    assert {(k.sites, k.kernel, k.mode) for k in b.kernels} == {
        (("qkv",), "qkv_joined", "stock"),
        (("combine",), "moe_combine", "stock"),
    }
    assert b.env == {"MLX_A": "1", "MLX_B": "2"}
    assert b.why == "y"


def test_what_is_near_is_inherited_and_a_declaration_of_its_own(add: Add) -> None:
    catalog = Catalog(
        add(
            '[variant.a]\nwhy = "x"\nextends = "qwen_combine_near"\n'
            '[variant.b]\nwhy = "x"\nextends = "a"\nfidelity = "identical"'
        ),
        "qwen3",
    )
    assert [catalog.resolve(name).fidelity for name in ("a", "b")] == ["near", "identical"]
    assert "a" not in catalog.choose(["all"])
    digests = {
        name: found.digest
        for name in ("qwen_combine_fp32", "a", "b")
        if (found := catalog.identify(catalog.resolve(name), "cpu").identity) is not None
    }
    assert digests["b"] == digests["qwen_combine_fp32"]
    assert digests["a"] != digests["b"]
    assert "fidelity" not in catalog.resolve("b").model_dump(mode="json")


def test_what_run_measures(fresh_workspace: Workspace) -> None:
    catalog = Catalog(fresh_workspace, "qwen3")
    assert catalog.choose(None) == catalog.defaults()
    assert 1 <= len(catalog.defaults()) <= 4
    assert catalog.choose(["all"]) == [name for name in catalog.names() if name != "qwen_combine_near"]
    assert catalog.choose(["qwen_combine_near"]) == ["qwen_combine_near"]
    assert catalog.choose(["qwen_qkv_joined", "qwen_qkv_joined"]) == ["qwen_qkv_joined"]
    with pytest.raises(UnusableInput, match="names no variant"):
        catalog.choose([])


def test_a_fused_kernel_stands_at_each_of_its_sites_or_not_at_all(add: Add) -> None:
    workspace = add('[variant.half]\nwhy = "x"\nkernels = { down = "no_op" }')
    plant(workspace, "no_op")
    text = declaration().replace('["combine"]', '["down", "combine"]')
    (workspace.kernels / "no_op" / "kernel.toml").write_text(text)
    with (workspace.variants / "qwen3.toml").open("a") as file:
        file.write('[variant.whole]\nwhy = "x"\nkernels = { down = "no_op", combine = "no_op" }\n')
    catalog = Catalog(workspace, "qwen3")
    (kernel,) = catalog.resolve("whole").kernels
    assert kernel.sites == ("down", "combine")
    with pytest.raises(UnusableInput, match=r"variant\.half\.kernels\.combine: no_op is fused over down, combine"):
        catalog.resolve("half")


def test_a_declaration_that_still_lists_families_says_what_to_do(fresh_workspace: Workspace) -> None:
    path = fresh_workspace.kernels / "qkv_joined" / "kernel.toml"
    path.write_text('families = ["glm47"]\n' + path.read_text())
    with pytest.raises(UnusableInput, match=r"kernel\.toml: .*`families` is no longer declared; delete the line"):
        Catalog(fresh_workspace, "qwen3")


def test_the_source_hash_follows_every_file_of_the_kernel(fresh_workspace: Workspace) -> None:
    def digest() -> str:
        return kernel_catalog.source_hash(fresh_workspace, kernel_catalog.load(fresh_workspace)["qkv_joined"])

    folder = fresh_workspace.kernels / "qkv_joined"
    first = digest()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "kernel.pyc").write_bytes(b"x")
    assert digest() == first
    (folder / "extra.metal").write_text("// x")
    second = digest()
    (folder / "extra.metal").rename(folder / "other.metal")
    assert len({first, second, digest()}) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: (f / "kernel.py").unlink(), "has kernel.toml but no kernel.py with `bind`"),
        (lambda f: (f / "kernel.toml").write_text("schema_version = 2"), "2 is newer than this zmlx knows"),
        (
            lambda f: (f / "kernel.toml").write_text(declaration() + "extra = 1\n"),
            "unknown field; known: numerics, backends, changes",
        ),
        (
            lambda f: (f / "kernel.toml").write_text('uses = ["gpu"]\n' + declaration()),
            "`uses` is no longer declared; delete the line: it is found from the kernel's imports",
        ),
        (
            lambda f: (f / "kernel.toml").write_text(declaration().replace('"stock"\n', '"fp32"\n')),
            "`changes` must be empty for numerics 'stock' and must say what changes",
        ),
    ],
)
def test_a_kernel_that_is_declared_wrongly(
    fresh_workspace: Workspace, change: Callable[..., object], says: str
) -> None:
    plant(fresh_workspace, "no_op")
    change(fresh_workspace.kernels / "no_op")
    with pytest.raises(UnusableInput) as caught:
        kernel_catalog.load(fresh_workspace)
    assert says in str(caught.value)
    assert "no_op" in str(caught.value)


def test_a_kernel_that_is_no_python_is_named_by_file_and_line(fresh_workspace: Workspace) -> None:
    broken = fresh_workspace.kernels / "moe_combine" / "kernel.py"
    broken.write_text("import os\ndef (\n")
    catalog = Catalog(fresh_workspace, "qwen3")
    with pytest.raises(
        UnusableInput, match=r"kernels/moe_combine: its imports cannot be read: .* \(kernel\.py, line 2\)"
    ):
        catalog.resolve("qwen_combine_exact")


def test_a_kernel_folder_that_leads_outside(fresh_workspace: Workspace, tmp_path: object) -> None:
    outside = fresh_workspace.root.parent / "outside"
    outside.mkdir()
    (outside / "kernel.toml").write_text(declaration())
    (fresh_workspace.kernels / "leads").symlink_to(outside)
    with pytest.raises(UnusableInput, match="leads outside the workspace's kernels/"):
        kernel_catalog.load(fresh_workspace)


def test_every_declared_variant_of_the_project_resolves(repository: Workspace) -> None:
    assert families_with_variants(repository) == sorted([family_catalog.ANY, *family_catalog.names()])
    for family in family_catalog.names():
        catalog = Catalog(repository, family)
        for name in catalog.names():
            assert catalog.resolve(name).kernels


def test_a_kernel_is_hashed_anew_for_each_variant_unless_the_hashes_are_kept(fresh_workspace: Workspace) -> None:
    known: dict[str, str] = {}
    anew, kept = (Catalog(fresh_workspace, "qwen3", hashes) for hashes in (None, known))

    def found(catalog: Catalog) -> list[str]:
        return [use.source_sha256 for use in catalog.resolve("qwen_qkv_joined").kernels]

    before = found(anew)
    assert before == found(kept) == [known["qkv_joined"]]
    with (fresh_workspace.kernels / "qkv_joined" / "kernel.py").open("a") as file:
        file.write("EDITED = 1\n")
    assert found(anew) != before
    assert found(kept) == before
