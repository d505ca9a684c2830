"""The structural family: what is found in a model, what is held against it, and how much work that is."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models import llama, mixtral
from mlx_lm.models.switch_layers import SwitchGLU

from tests import tiny_models
from tests.tiny import Tiny, equal
from tests.variants import variant
from zmlx_bench.measured.contract import Unavailable
from zmlx_bench.measured.host import replace_call, stock_call
from zmlx_bench.workspace import Workspace

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def planted(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace("mirror")


@pytest.fixture(scope="module")
def mixture() -> Tiny:
    return tiny_models.model("mixtral")


def refused(model: Tiny) -> dict[tuple[str, str], str]:
    """Why, by first site and class of the module."""
    tried = model.family.tried(model.model)  # type: ignore[attr-defined]
    return {(host.block.steps[0].site, type(host.module).__name__): why for _, host, why in tried if why is not None}


def offered(model: Tiny) -> Counter[str]:
    return Counter(step.site for host in model.hosts() for step in host.block.steps if step.site)


@pytest.mark.parametrize(
    "kernels",
    [
        ("experts=mirror",),
        ("down=mirror",),
        ("combine=moe_combine",),
        ("experts+down+combine=mirror",),
        ("qkv=qkv_joined",),
        ("linear=mirror",),
    ],
)
def test_what_is_put_together_has_the_models_bits(mixture: Tiny, planted: Workspace, kernels: tuple[str, ...]) -> None:
    stock, state = [*mixture.logits(steps=2), *mixture.logits((9, 8, 7), 1, batch=2)], mixture.state()
    patch = mixture.patch(variant("any-mixtral", *kernels), planted.kernels)
    try:
        patch.install(count=True)
        assert equal([*mixture.logits(steps=2), *mixture.logits((9, 8, 7), 1, batch=2)], stock)
        patch.calls.clear()
        mixture.logits((9,), 0)
        assert dict(patch.calls) == patch.hosts
    finally:
        patch.undo()
    assert mixture.state() == state


def test_sites_are_found_by_what_modules_are(mixture: Tiny) -> None:
    assert offered(mixture) == {"router": 2, "experts": 2, "down": 2, "combine": 2, "qkv": 2, "linear": 11}
    assert refused(mixture) == {}
    latent = tiny_models.model("deepseek_v3")
    assert offered(latent) == {"router": 1, "experts": 1, "down": 1, "combine": 1, "qkv": 2, "linear": 19}
    assert offered(tiny_models.model("mamba2"))["linear"] > 0


def test_a_kernel_that_does_not_serve_says_why(mixture: Tiny, planted: Workspace) -> None:
    biased = tiny_models.model("gpt_oss")
    with pytest.raises(Unavailable, match="without bias"):
        biased.patch(variant("any-gpt_oss", "qkv=qkv_joined"), planted.kernels)
    with pytest.raises(Unavailable, match=r"router of kind softmax or .*; this model's is of"):
        mixture.patch(variant("any-mixtral", "router=native_router"), planted.kernels)
    with pytest.raises(Unavailable, match="this model has no site shared_experts"):
        biased.patch(variant("any-gpt_oss", "shared_experts=mirror"), planted.kernels)


def test_a_residual_stream_of_the_known_form_has_the_models_bits(planted: Workspace) -> None:
    model = tiny_models.model("llama")
    stock = [*model.logits(steps=2), *model.logits((9, 8, 7), 1, batch=2)]
    patch = model.patch(variant("any-llama", "residual_norm=mirror", "qkv=qkv_joined"), planted.kernels)
    try:
        assert patch.hosts == {"residual_norm": 4, "qkv": 2}
        assert equal([*model.logits(steps=2), *model.logits((9, 8, 7), 1, batch=2)], stock)
    finally:
        patch.undo()


def test_a_residual_stream_of_another_form_is_not_offered() -> None:
    scaled = tiny_models.model("granite", residual_multiplier=0.5)
    assert refused(scaled)[("residual_norm", "GraniteModel")].endswith("do not give the model's bits")
    windowed = tiny_models.model("llama", layer_types=["sliding_attention", "full_attention"], sliding_window=4096)
    assert not offered(windowed)["residual_norm"], "no trial of few tokens would see its window"


class Scaled(SwitchGLU):
    """Does more than the steps say."""

    def __call__(self, x: mx.array, indices: mx.array) -> Any:
        return super().__call__(x, indices) * 1.5


class OfTwoInputs(llama.Attention):
    """Projects its values from something else."""

    def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> Any:
        own, self._x = x, x + 1
        kept = self.v_proj
        try:
            self.v_proj = _On(kept, self._x)
            return super().__call__(own, mask, cache)
        finally:
            self.v_proj = kept


class _On:
    def __init__(self, layer: Any, x: mx.array) -> None:
        self.layer, self.x = layer, x

    def __call__(self, _: mx.array) -> mx.array:
        return self.layer(self.x)


def test_a_module_that_does_something_else_is_not_offered_and_the_rest_is() -> None:
    model = tiny_models.model("mixtral")
    for layer in model.model.layers:
        layer.block_sparse_moe.switch_mlp.__class__ = Scaled
    assert offered(model) == {"qkv": 2, "linear": 11}
    assert refused(model)[("experts", "Scaled")] == "its steps, put together, do not give the model's bits"


def test_projections_of_two_inputs_are_not_joined() -> None:
    model = tiny_models.model("llama")
    model.model.layers[1].self_attn.__class__ = OfTwoInputs
    assert offered(model) == {"qkv": 1, "linear": 15, "residual_norm": 1}
    assert refused(model) == {("qkv", "OfTwoInputs"): "its projections are not all taken of one input"}


def test_an_input_given_by_name_is_not_offered() -> None:
    """A kernel's largest call is read from the first argument."""
    assert "given by name" in refused(tiny_models.model("gptj"))[("qkv", "GPTJAttention")]


def test_a_module_that_is_never_called_is_not_offered() -> None:
    model = tiny_models.model("llama")
    model.model.spare = nn.QuantizedLinear(64, 32, group_size=32)
    assert refused(model) == {("linear", "QuantizedLinear"): "the model does not call it"}


def test_a_model_that_does_not_answer_offers_nothing() -> None:
    class Silent(mixtral.Model):
        def __call__(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("not today")

    model = tiny_models.model("mixtral")
    model.model.__class__ = Silent
    assert not model.hosts()
    assert refused(model)[("qkv", "MixtralAttention")].endswith("random tokens: RuntimeError: not today")


@contextmanager
def work(model: Tiny) -> Iterator[Counter[str]]:
    """Count passes over the model, and results that are compared."""
    found: Counter[str] = Counter()
    trial = sys.modules[f"{type(model.family).__module__.rpartition('.')[0]}.trial"]
    compare = trial.digest

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            found[name] += 1
            return call(*args, **kwargs)

        return run

    undo = replace_call(model.model, counted("passes", stock_call(model.model)))
    trial.digest = counted("compared", compare)  # type: ignore[attr-defined]
    try:
        yield found
    finally:
        trial.digest = compare  # type: ignore[attr-defined]
        undo()


def asked(name: str, **sizes: Any) -> tuple[Counter[str], int]:
    """What it takes to find the hosts of a model, and how many there are."""
    small = {"hidden_size": 32, "head_dim": 32, "num_attention_heads": 1, "num_key_value_heads": 1}
    small |= {"intermediate_size": 32, "moe_intermediate_size": 32}
    model = tiny_models.model(name, **{**small, "layer_types": "null", **sizes})
    with work(model) as found:
        hosts = len(model.hosts())
        assert len(model.hosts()) == hosts
    return found, hosts


def test_a_hundred_layers_are_asked_as_often_as_two() -> None:
    of_two, few = asked("llama", num_hidden_layers=2)
    of_many, many = asked("llama", num_hidden_layers=100)
    assert of_many == of_two
    assert of_two["passes"] == 2 * 3, "as it is, and put together: a prompt and two tokens each"
    assert many - few == 98 * (few - 2) / 2, "hosts grow with the layers, the stack and the output projection aside"


def test_five_hundred_experts_are_asked_as_often_as_four() -> None:
    assert asked("mixtral", num_local_experts=512) == asked("mixtral", num_local_experts=4)


ROUTERS = {
    "qwen3_moe": "softmax",
    "mixtral": "softmax_of_chosen",
    "qwen2_moe": "softmax_descending",
    "deepseek_v3": "given",
    "granitemoe": "given",
}
"""By architecture, how its router weighs and orders the experts, where more than two are chosen."""


@pytest.mark.parametrize("name", ROUTERS)
def test_a_blocks_form_is_recognised_by_its_bits(name: str, planted: Workspace) -> None:
    model = tiny_models.model(name, num_experts_per_tok=4)
    blocks = [host for host in model.hosts() if host.offers(("combine",))]
    assert {host.kinds(("router",))["router"] for host in blocks} == {ROUTERS[name]}
    stock = [*model.logits(steps=2), *model.logits((9, 8, 7), 1, batch=2)]
    patch = model.patch(variant(f"any-{name}", "experts+down+combine=mirror"), planted.kernels)
    try:
        assert equal([*model.logits(steps=2), *model.logits((9, 8, 7), 1, batch=2)], stock)
    finally:
        patch.undo()


def test_a_block_of_another_form_keeps_the_sites_of_its_experts() -> None:
    model = tiny_models.model("lfm2_moe")
    assert (offered(model)["experts"], offered(model)["combine"]) == (1, 0)
