"""What is promoted under conditions goes in under exactly these, and no kernel that does not serve them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import zmlx_bench
from tests.tiny import Tiny
from tests.use.promoted import promote, promotion
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.errors import UnusableInput
from zmlx_bench.measured.conditions import caches
from zmlx_bench.schema.plan import Conditions
from zmlx_bench.use.arguments import GROUP_SIZE, conditions
from zmlx_bench.use.decide import NotChosen
from zmlx_bench.workspace import Workspace

PAIR = Conditions(batch=2)


@pytest.fixture(scope="module")
def place(make_workspace: Callable[..., Workspace]) -> Workspace:
    made = make_workspace("no_op", "doubles")
    kernel = made.kernels / "doubles" / "kernel.toml"
    kernel.write_text(kernel.read_text().replace("[mode", 'serves = { batch = 1, caches = ["plain"] }\n\n[mode', 1))
    return made


def apply(tiny: Tiny, place: Workspace, **options: Any) -> zmlx_bench.Applied:
    applied = zmlx_bench.apply(tiny.model, workspace=place.root, **options)
    applied.undo()
    return applied


def test_only_what_was_promoted_under_these_conditions_goes_in(tiny: Tiny, place: Workspace) -> None:
    identity = Catalog(place, tiny.name).identify(Catalog(place, tiny.name).resolve("no_op"), "cpu", PAIR).identity
    assert identity is not None
    under = {"conditions": PAIR.model_dump(), "identity": identity.digest, "parts": identity}
    promote(place, promotion(place, tiny.name, "no_op", **under))
    assert apply(tiny, place, batch=2).variant == "no_op"
    for other in ({}, {"batch": 3}, {"batch": 2, "max_kv_size": 64}, {"kv_bits": 8}, {"context": 100, "batch": 2}):
        applied = apply(tiny, place, **other)
        assert not applied
        assert "no_op for tiny on" in applied.why
        assert "--batch 2" in applied.why
    assert "--context 100 --batch 2` and `zmlx promote` find out" in apply(tiny, place, context=100, batch=2).why


@pytest.mark.parametrize(
    ("under", "says"),
    [
        ({"batch": 2}, "doubles serves one sequence at a time, and --batch 2 decodes 2 at once"),
        ({"kv_bits": 4}, "doubles serves a plain cache, and --kv-bits 4 gives a quantised one"),
        ({"max_kv_size": 64}, "doubles serves a plain cache, and --max-kv-size 64 gives a rotating one"),
    ],
)
def test_a_variant_asked_for_by_name_must_serve(tiny: Tiny, place: Workspace, under: dict[str, int], says: str) -> None:
    assert apply(tiny, place, variant="doubles", context=50).variant == "doubles"
    assert apply(tiny, place, variant="doubles", **under).why == f"doubles cannot be applied: {says}"


def test_conditions_that_mlx_lm_cannot_run_are_refused(tiny: Tiny, place: Workspace) -> None:
    with pytest.raises(UnusableInput, match="quantises no cache that rotates"):
        apply(tiny, place, kv_bits=8, max_kv_size=64)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), Conditions()),
        (("--prompt", "--kv-bits"), Conditions()),
        (("--kv-bits", "8", "--quantized-kv-start", "0"), Conditions(kv_bits=8)),
        (("--max-kv-size=64", "--temp", "0"), Conditions(max_kv_size=64)),
        (("--max-kv-size", "many"), Conditions()),
    ],
)
def test_mlx_lms_options_say_the_conditions(arguments: tuple[str, ...], expected: Conditions) -> None:
    assert conditions(arguments) == expected


@pytest.mark.parametrize("start", [(), ("--quantized-kv-start", "5000")])
def test_nothing_is_measured_with_a_cache_that_is_quantised_later(start: tuple[str, ...]) -> None:
    with pytest.raises(NotChosen, match="add --quantized-kv-start 0"):
        conditions(("--kv-bits", "8", *start))


def test_nothing_is_measured_with_a_cache_in_groups_of_ones_own() -> None:
    from_the_first = ("--kv-bits", "8", "--quantized-kv-start", "0")
    with pytest.raises(NotChosen, match="leave it out"):
        conditions((*from_the_first, "--kv-group-size", "32"))
    assert caches.GROUP_SIZES[0] == GROUP_SIZE
    assert conditions((*from_the_first, "--kv-group-size", str(GROUP_SIZE))) == Conditions(kv_bits=8)
    assert conditions(("--kv-group-size", "32")) == Conditions()


def test_whole_steps_serve_one_sequence_with_a_plain_cache(repository: Workspace) -> None:
    catalog = Catalog(repository, "qwen3")
    for name in ("qwen_step", "qwen_graph"):
        for asked in (PAIR, Conditions(kv_bits=8), Conditions(max_kv_size=64)):
            assert "serves" in str(catalog.unserved(catalog.resolve(name), asked))
        assert catalog.unserved(catalog.resolve(name), Conditions(context=8192)) is None
    graph = Catalog(repository, "glm47")
    assert "mla_graph serves one sequence" in str(graph.unserved(graph.resolve("glm_graph"), PAIR))
    assert "mla_attention serves one sequence" in str(graph.unserved(graph.resolve("glm_fused"), PAIR))
