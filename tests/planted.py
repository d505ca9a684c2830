"""Kernels that tests plant in a workspace of their own, each with one variant of its name for both families."""

from __future__ import annotations

from zmlx_bench.workspace import Workspace

HEAD = '''"""Planted by a test."""
import os
import time
import mlx.core as mx
from zmlx_bench.measured.api import Binding, BindRequest, Unavailable

def stock(y, scores):
    return (y * scores[..., None]).sum(axis=-2).astype(y.dtype)

'''

BODIES = {
    # Does what stock does.
    "no_op": "def bind(module, request):\n    return Binding(stock)\n",
    # Takes itself out at its first call, so that decoding never reaches it.
    "shy": """def bind(module, request):
    kind = type(module)
    def call(y, scores):
        module.__class__ = kind
        return stock(y, scores)
    return Binding(call)
""",
    "raises": "def bind(module, request):\n    raise ValueError('planted in bind')\n",
    "raises_late": """def bind(module, request):
    def call(y, scores):
        if y.shape[1] == 1:
            raise RuntimeError('planted in decode')
        return stock(y, scores)
    return Binding(call)
""",
    "unavailable": "def bind(module, request):\n    raise Unavailable('needs a machine that is not here')\n",
    "memory": """def bind(module, request):
    raise RuntimeError('[malloc_or_wait] Unable to allocate 17200000000 bytes.')
""",
    "killed": """def bind(module, request):
    os.kill(os.getpid(), 9)
""",
    "exits": "def bind(module, request):\n    os._exit(7)\n",
    "sleeps": "def bind(module, request):\n    time.sleep(3600)\n",
    "broken": "import a_module_that_is_not_there\n",
    "doubles": "def bind(module, request):\n    return Binding(lambda y, scores: 2 * stock(y, scores))\n",
    # What the unpatched model does, at any site and over any run of them, written without the steps of a family.
    "mirror": """from zmlx_bench.measured.api import Split, stock_call
from mlx_lm.models.base import scaled_dot_product_attention

def heads(x, norm, of):
    return norm(x.reshape(*x.shape[:2], of, -1)).transpose(0, 2, 1, 3)

def softmax_router(block, x):
    gates = mx.softmax(block.gate(x), axis=-1, precise=True)
    inds = mx.argpartition(gates, kth=-block.top_k, axis=-1)[..., -block.top_k:]
    scores = mx.take_along_axis(gates, inds, axis=-1)
    return inds, scores / mx.sum(scores, axis=-1, keepdims=True)

# Of a run that begins at the router; any other gives the last of them.
GIVES = {"router": ("inds", "scores"), "experts": ("inds", "scores", "h"), "down": ("scores", "y")}

def moe(block, request):
    switch, softmax = block.switch_mlp, request.kinds.get("router") == "softmax"
    def call(**held):
        for site in request.sites:
            if site == "router":
                held["inds"], held["scores"] = softmax_router(block, held["x"]) if softmax else block.gate(held["x"])
            elif site == "experts":
                x = mx.expand_dims(held["x"], (-2, -3))
                up, gate = switch.up_proj(x, held["inds"]), switch.gate_proj(x, held["inds"])
                held["h"] = switch.activation(up, gate).squeeze(-2)
            elif site == "down":
                held["y"] = switch.down_proj(mx.expand_dims(held["h"], -2), held["inds"]).squeeze(-2)
            elif site == "combine":
                held["out"] = stock(held["y"], held["scores"])
            else:
                held["out"] = held["out"] + block.shared_experts(held["x"])
        names = GIVES.get(request.sites[-1], ("out",))
        made = [held[name] for name in (names if "router" in request.sites else names[-1:])]
        return made if len(made) > 1 else made[0]
    return call

def grouped(module, request):
    def qkv(x):
        return module.q_proj(x), module.k_proj(x), module.v_proj(x)
    def norm_rope(q, k, offset):
        return (module.rope(heads(q, module.q_norm, module.n_heads), offset=offset),
                module.rope(heads(k, module.k_norm, module.n_kv_heads), offset=offset))
    def front(x, offset):
        q, k, v = qkv(x)
        return *norm_rope(q, k, offset), heads(v, lambda v: v, module.n_kv_heads)
    return {("qkv",): qkv, ("qk_norm_rope",): norm_rope}.get(request.sites, front)

def latent(module, request):
    def qkv(x):
        return module.q_a_proj(x), module.kv_a_proj_with_mqa(x)
    def norm_rope(q_a, compressed_kv, offset):
        q = module.q_b_proj(module.q_a_layernorm(q_a)).reshape(q_a.shape[0], 1, module.num_heads, -1)
        q_nope, q_pe = mx.split(q.transpose(0, 2, 1, 3), [module.qk_nope_head_dim], axis=-1)
        kv_latent, k_pe = mx.split(compressed_kv[:, None], [module.kv_lora_rank], axis=-1)
        return q_nope, module.rope(q_pe, offset), module.kv_a_layernorm(kv_latent), module.rope(k_pe, offset)
    def weigh(q_nope, q_pe, kv_latent, k_pe):
        scores = (q_pe * module.scale) @ k_pe.swapaxes(-1, -2)
        return scaled_dot_product_attention(
            q_nope, kv_latent, kv_latent, cache=None, scale=module.scale, mask=scores)
    def attend(parts, cache):
        q_nope, q_pe, kv_latent, k_pe = parts
        return weigh(module.embed_q(q_nope), q_pe, *cache.update_and_fetch(kv_latent, k_pe))
    def front(x, offset):
        return norm_rope(*qkv(x), offset)
    def behind(q_a, compressed_kv, offset, cache):
        return attend(norm_rope(q_a, compressed_kv, offset), cache)
    return {("qkv",): qkv, ("qk_norm_rope",): norm_rope, ("attention",): weigh, ("qkv", "qk_norm_rope"): front,
            ("qk_norm_rope", "attention"): behind}.get(request.sites) or Split(front, attend)

def norm(module):
    call = stock_call(module)
    def both(x, r):
        h = x + r
        return h, call(h)
    return both

def bind(module, request):
    if request.sites == ("residual_norm",):
        return Binding(norm(module))
    if "switch_mlp" in module:
        return Binding(moe(module, request))
    if "q_norm" in module or "q_a_proj" in module:
        return Binding((grouped if "q_norm" in module else latent)(module, request))
    return Binding((lambda call: lambda x: call(x))(stock_call(module)))
""",
    # Prints what would corrupt a protocol on standard output.
    "prints": """def bind(module, request):
    print('{"event":"done"}', flush=True)
    os.write(2, b'{"event":"token","id":1,"t_ns":1}\\n')
    return Binding(stock)
""",
}


def declaration() -> str:
    return (
        'schema_version = 1\nsummary = "planted by a test"\nsites = ["combine"]\n'
        'max_tokens = "any"\n[mode.stock]\nnumerics = "stock"\n'
        'backends = ["cpu", "cuda", "metal"]\n'
    )


def plant(workspace: Workspace, name: str) -> None:
    """Add the kernel `name` and a variant of the same name to the workspace."""
    folder = workspace.kernels / name
    folder.mkdir()
    (folder / "kernel.toml").write_text(declaration())
    (folder / "kernel.py").write_text(HEAD + BODIES[name])
    for family in ("qwen3", "glm47"):
        with (workspace.variants / f"{family}.toml").open("a") as file:
            file.write(f'\n[variant.{name}]\nwhy = "planted"\nkernels = {{ combine = "{name}" }}\n')
