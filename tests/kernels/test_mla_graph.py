"""What of the latent step runs without a GPU: its plan, its text, and a whole step of a small model in the shim."""

from __future__ import annotations

import copy
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models import glm4_moe_lite
from mlx_lm.models.cache import make_prompt_cache

from tests.kernels import gpu
from tests.kernels.cuda_launch import ERROR, error
from tests.kernels.experts import doubles
from tests.kernels.graph import Extension, compile_text
from tests.shim.run import ShimError, run_kernel

plans = gpu.module("mla_graph.plan")
shapes = gpu.module("mla_graph.shape")
kernel = gpu.module("mla_graph.kernel")
embeddings = gpu.module("_lib.graph.embedding")
launches = gpu.module("_lib.graph.launches")
Unavailable = gpu.module("mla_graph.plan").Unavailable

SMALL = {
    "vocab_size": 256,
    "hidden_size": 512,
    "intermediate_size": 512,
    "moe_intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "n_routed_experts": 8,
    "routed_scaling_factor": 1.8,
    "kv_lora_rank": 128,
    "q_lora_rank": 256,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 64,
    "v_head_dim": 128,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 1,
}
PUBLISHED = SMALL | {
    "hidden_size": 2048,
    "intermediate_size": 10240,
    "moe_intermediate_size": 1536,
    "num_hidden_layers": 3,
    "num_attention_heads": 20,
    "num_key_value_heads": 20,
    "n_routed_experts": 64,
    "kv_lora_rank": 512,
    "q_lora_rank": 768,
    "qk_nope_head_dim": 192,
    "v_head_dim": 256,
    "num_experts_per_tok": 4,
}
STEP_ERROR = 0.015
"""Of a step's roundings to 8 bits; what is wired wrong is off by half and more."""
LAYER = ["front", "norms_q_b_heads", "by_place", "embed", "by_latent", "softmax", "attended", "unembed", "o_proj"]


@pytest.fixture(autouse=True, scope="module")
def _cpu() -> None:
    mx.set_default_device(mx.cpu)


def model_of(sizes: dict[str, Any]) -> Any:
    given = glm4_moe_lite.ModelArgs(
        model_type="glm4_moe_lite",
        topk_method="noaux_tc",
        scoring_func="sigmoid",
        norm_topk_prob=True,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        rope_theta=1e6,
        rope_scaling=None,
        attention_bias=False,
        attention_dropout=0.0,
        partial_rotary_factor=1.0,
        tie_word_embeddings=False,
        num_nextn_predict_layers=0,
        **sizes,
    )
    model = glm4_moe_lite.Model(given)
    model.set_dtype(mx.bfloat16)
    nn.quantize(model, 64, 4)
    return model


def plan_of(stack: Any) -> Any:
    embedding = embeddings.Embedding(stack.embed_tokens, mx.bfloat16)
    return plans.Plan(stack, shapes.shape_of(stack), Extension, embedding)


@pytest.fixture(scope="module")
def small() -> Any:
    """A small model with weights drawn once, its first projections joined."""
    mx.random.seed(5)
    model = model_of(SMALL)
    for layer in model.layers[1:]:
        gate = layer.mlp.gate
        gate.weight = mx.random.normal(gate.weight.shape).astype(mx.bfloat16)
        gate.e_score_correction_bias = 0.1 * mx.random.normal(gate.e_score_correction_bias.shape)
    mx.eval(model.parameters())
    for layer in model.layers:
        gpu.module("mla_norm_rope.kernel").joined_projection(layer.self_attn)
    return model


@pytest.fixture(scope="module")
def published() -> Any:
    """The plan of three layers of the published sizes; no weight is evaluated."""
    model = model_of(PUBLISHED)
    return plan_of(model.model)


def name_of(link: Any) -> str:
    return str(link.name if isinstance(link, launches.Planned) else link.out.name)


def test_a_layer_is_eight_launches_and_three_products(published: Any) -> None:
    found = [name_of(each) for each in published.links()]
    dense = [*LAYER, "add_norm", "dense", "dense_down"]
    assert found == ["begin", *dense, *[*LAYER, "add_norm_gates", "experts", "all_downs"] * 2, "end"]


def test_every_cache_is_written_and_read_in_its_layer_alone(published: Any) -> None:
    for i, link in enumerate(published.links()[1:-1]):
        layer = i // (len(LAYER) + 3)
        given = (link.a, link.b, link.out) if isinstance(link, launches.Multiplied) else (*link.inputs, *link.outputs)
        found = {each.value.index for each in given if isinstance(each.value, Extension.Buffer)}
        assert found <= {2 * layer, 2 * layer + 1, 6, 7, 8}
        in_cache = name_of(link) in ("norms_q_b_heads", "by_latent", "by_place", "attended")
        assert bool(found & {2 * layer, 2 * layer + 1}) == in_cache


def test_layers_share_their_kernels(published: Any) -> None:
    names = [launches.function(each)[0] for each in published.links() if isinstance(each, launches.Planned)]
    assert names[10:18] == names[19:27]
    # The first layer's add is left out.
    assert names[1] != names[10]


def test_a_launch_after_a_product_waits_for_it(published: Any) -> None:
    made: list[dict[str, Any]] = []

    class Making(Extension):
        Launch = Product = dict

        @staticmethod
        def Chain(_: bytes, links: list[dict[str, Any]], *__: Any) -> None:
            made.extend(links)

    links = published.links()
    launches.make_chain(Making, b"", links, [])
    waits = {name_of(link) for link, each in zip(links, made, strict=True) if each.get("ahead") is False}
    # The first two and the last stand at the ends of what is captured.
    assert waits == {"begin", "front", "softmax", "unembed", "end"}
    assert [each["ahead"] for link, each in zip(links, made, strict=True) if name_of(link) == "front"][1:] == [True] * 2
    assert [name_of(link) for link, each in zip(links, made, strict=True) if each.get("aside")] == ["by_place"] * 3


def test_the_text_compiles(published: Any) -> None:
    planned = [each for each in published.links() if isinstance(each, launches.Planned)]
    compile_text(launches.program(plans.HEADERS, planned))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_group": 2, "topk_group": 1}, "groups of experts"),
        ({"q_lora_rank": None}, "needs q_b_proj"),
        ({"n_shared_experts": None}, "shared_experts"),
        ({"kv_lora_rank": 192}, "heads of 192 rows"),
    ],
)
def test_what_is_not_served_is_said(change: dict[str, Any], said: str) -> None:
    stack = model_of(SMALL | change).model

    def plan() -> None:
        kernel.check(stack)
        plan_of(stack).links()

    with pytest.raises(Unavailable, match=said):
        plan()


def firsts_of(attention: Any) -> list[Any]:
    return [attention.q_a_proj, attention.kv_a_proj_with_mqa]


class Host:
    """Runs the links of a step one after the other: launches in the shim, products in MLX."""

    def __init__(self, model: Any, cache: Any) -> None:
        self.shape = shapes.shape_of(model.model)
        self.plan = plan_of(model.model)
        self.position = cache[0].offset
        self.kept = {2 * i + at: each for i, one in enumerate(cache) for at, each in enumerate((one.keys, one.values))}
        # The graph reads past the end of q_a's arrays, where joining laid those of kv_a.
        self.arrays: dict[int, mx.array] = {
            id(attention.q_a_proj[part]): mx.concatenate([each[part] for each in firsts_of(attention)])
            for attention in (layer.self_attn for layer in model.layers)
            for part in ("weight", "scales", "biases")
        }
        self.made: dict[str, mx.array] = {}

    def step(self, given: Any) -> mx.array:
        """Return the last norm."""
        s, keys = self.shape, self.position + 1
        self.numbers = {plans.POSITION: self.position, plans.KIND: given.kind}
        self.sizes = {
            "x": s.d,
            "h": s.d,
            "normed": s.d,
            "offsets": 2,
            "q_nope": s.heads * s.nope,
            "q_pe": s.heads * s.rope,
            "latents": s.rank,
            "places": s.rope,
            "weights": s.top,
            "chosen": s.top,
            "all_gates": s.experts,
        }
        for link in self.plan.links():
            if isinstance(link, launches.Multiplied):
                size = [keys if isinstance(each, Extension.Number) else each for each in (link.cols, link.depth)]
                a = self.read(link.a, link.rows * size[1]).reshape(link.rows, size[1])
                b = self.read(link.b, size[0] * size[1]).reshape(size if link.transposed else size[::-1])
                self.write(link.out, a @ (b.T if link.transposed else b))
            else:
                self.launch(link, given.value)
        return self.made["normed"]

    def launch(self, link: Any, first: mx.array) -> None:
        s, keys = self.shape, self.position + 1
        sizes = self.sizes | {"out": s.d}
        if link.name in ("experts", "dense"):
            sizes["h"] = link.constants["I"] * (link.constants.get("TOP", 0) + 1 if link.name == "experts" else 1)
        if link.name == "embed":
            sizes["out"] = s.heads * s.rank
        if link.name == "unembed":
            sizes["out"] = s.heads * s.v
        if link.name == "softmax":
            sizes["weights"] = s.heads * keys
        inputs, constants = {}, list(link.constants.items())
        for given in link.inputs:
            if isinstance(given.value, Extension.Number):
                constants.append((given.name, self.numbers[given.value.index]))
            elif isinstance(given.value, Extension.Input):
                inputs[given.name] = mx.view(first, mx.bfloat16).reshape(-1)
            else:
                inputs[given.name] = self.read(given, s.heads * keys)
        written = list(link.outputs)
        if link.name == "front":
            sizes["q"] = sizes["k"] = sizes["v"] = s.q_rank + s.rank + s.rope
            # Nothing is left for k and v.
            written = [each for each in written if each.name not in ("k", "v")]
        macros = {name: text.split(" + ")[0].strip("(") for name, text in link.macros.items() if name in plans.IN_CACHE}
        macros = {**link.macros, **macros}
        if link.name == "front":
            macros |= {"k": "q", "v": "q"}
        defined = "".join(f"#define {name} {text}\n" for name, text in macros.items())
        # The host's compiler wants it elsewhere, and aligns so anyway.
        body = link.body.replace("__shared__ alignas(16) T", "__shared__ __align__(16) T")
        found = run_kernel(
            f"{defined}{body}" + "".join(f"\n#undef {name}" for name in macros),
            f'#include "cuda_device.h"\n{plans.HEADERS.removeprefix(plans.DEVICE)}',
            inputs=inputs,
            outputs={each.name: ((sizes[each.name],), each.dtype) for each in written},
            grid=(link.blocks[0] * link.threads, link.blocks[1], 1),
            threadgroup=(link.threads, 1, 1),
            template=constants,
            words="cuda",
        )
        for each, value in zip(written, found, strict=True):
            self.write(each, value)

    def read(self, parameter: Any, count: int) -> mx.array:
        value = parameter.value
        if isinstance(value, Extension.Buffer):
            return self.kept[value.index].reshape(-1)[:count]
        return self.arrays.get(id(value), value)

    def write(self, parameter: Any, value: mx.array) -> None:
        self.made[parameter.name] = value
        if isinstance(parameter.value, Extension.Output):
            return
        if not isinstance(parameter.value, Extension.Buffer):
            self.arrays[id(parameter.value)] = value
        elif parameter.value.index < 2 * self.shape.layers:
            at, width = parameter.value.index, value.size
            rows = self.kept[at][:, :, : self.position]
            self.kept[at] = mx.concatenate([rows, value.reshape(1, 1, 1, width)], axis=2)
        else:
            self.kept[parameter.value.index] = value


@pytest.mark.process
def test_a_step_of_a_small_model(small: Any) -> None:
    prompt, token = mx.array([[7, 91, 33, 200, 5, 77, 140]]), mx.array([[66]])
    cache = make_prompt_cache(small)
    mx.eval(small(prompt, cache=cache))
    host = Host(small, cache)
    embedding = embeddings.Embedding(small.model.embed_tokens, mx.bfloat16)
    row = small.model.embed_tokens(token)
    ours = host.step(embedding.given(row))
    embedding.undo()
    # A row goes the same way, if it is rounded once, as a GPU rounds it.
    of = small.model.embed_tokens
    scales, biases = (each[token].astype(mx.float32) for each in (of.scales, of.biases))
    row = mx.dequantize(of.weight[token], scales, biases, group_size=64, bits=4).astype(mx.bfloat16)
    assert gpu.same(ours, Host(small, cache).step(embeddings.Given(row, 0)))
    # The CPU's own bfloat16 is five times further off.
    exact = copy.deepcopy(small)
    exact.set_dtype(mx.float32)
    exact_cache = make_prompt_cache(exact)
    for each, of in zip(exact_cache, cache, strict=True):
        each.keys, each.values, each.offset = of.keys.astype(mx.float32), of.values.astype(mx.float32), of.offset
    out = exact.model(token, cache=exact_cache)
    assert error(ours, doubles(out)[0, 0]) < STEP_ERROR
    for i, each in enumerate(exact_cache):
        for at, rows in enumerate((each.keys, each.values)):
            new = host.kept[2 * i + at][:, :, -1:]
            assert error(new, doubles(rows[:, :, each.offset - 1 : each.offset])) < STEP_ERROR


@pytest.mark.process
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("lane - part + step % 4", "lane"),
        ("low >> (4 * part)", "low"),
        ("own_pairs[step * 8 + 4]", "own_pairs[step * 8]"),
        ("group / 4], lane - part + group % 4", "group / 4], lane"),
        ("size_t(head) * N + row", "row"),
        ("x + head * K", "x"),
    ],
)
def test_an_error_in_a_heads_rows_is_found(right: str, wrong: str) -> None:
    text = plans._read("head_rows")
    assert right in text
    exact, ours = head_rows(text)
    assert error(ours, exact) < ERROR["tensor cores"]
    try:
        _, ours = head_rows(text.replace(right, wrong))
    except ShimError:
        return
    assert not error(ours, exact) < 2 * ERROR["tensor cores"]


def head_rows(text: str) -> tuple[np.ndarray[Any, Any], mx.array]:
    """Return what 3 heads of 128 rows of 192 weights give exactly, and in the shim."""
    heads, n, k = 3, 128, 192
    w, s, z = mx.quantize(mx.random.normal((heads, n, k), key=mx.random.key(1)).astype(mx.bfloat16), 64, 4)
    x = mx.random.normal((heads, k), key=mx.random.key(2)).astype(mx.bfloat16)
    found = run_kernel(
        text,
        f'#include "cuda_device.h"\n{plans.HEADERS.removeprefix(plans.DEVICE)}',
        inputs={"x": x, "w": w, "s": s, "z": z},
        outputs={"out": ((heads, n), mx.bfloat16)},
        grid=(2 * 128, heads, 1),
        threadgroup=(128, 1, 1),
        template=[("T", mx.bfloat16), ("N", n), ("K", k), ("WARPS", 4), ("SCALE", plans.bits(1.0))],
        words="cuda",
    )
    weights = doubles(
        mx.dequantize(w.reshape(heads * n, -1), s.reshape(heads * n, -1), z.reshape(heads * n, -1), 64, 4)
    )
    return np.einsum("hnk,hk->hn", weights.reshape(heads, n, k), doubles(x)), found[0]
