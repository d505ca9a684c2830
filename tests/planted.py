"""Kernels that tests plant in a workspace of their own, each with one variant of its name for both families."""

from __future__ import annotations

from zmlx_bench.workspace import Workspace

_HEAD = '''"""Planted by a test."""
import os
import time
import mlx.core as mx
from zmlx_bench.measured.contract import Binding, BindRequest, Unavailable

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
    # What the unpatched model does, at any site.
    "mirror": """from zmlx_bench.measured.families import moe
from zmlx_bench.measured.contract import Split
from zmlx_bench.measured.host import stock_call
from mlx_lm.models.base import scaled_dot_product_attention

def qwen_router(block):
    def router(x):
        gates = mx.softmax(block.gate(x), axis=-1, precise=True)
        inds = mx.argpartition(gates, kth=-block.top_k, axis=-1)[..., -block.top_k:]
        scores = mx.take_along_axis(gates, inds, axis=-1)
        return inds, scores / mx.sum(scores, axis=-1, keepdims=True)
    return router

def qkv(module, names):
    return lambda x: tuple(module[name](x) for name in names)

def norm_rope(module):
    def call(q, k, offset):
        def turned(x, norm, heads):
            x = norm(x.reshape(*x.shape[:2], heads, -1)).transpose(0, 2, 1, 3)
            return module.rope(x, offset=offset)
        return turned(q, module.q_norm, module.n_heads), turned(k, module.k_norm, module.n_kv_heads)
    return call

def heads(module):
    turn = norm_rope(module)
    def call(x, offset):
        q, k, v = (module[name](x) for name in ("q_proj", "k_proj", "v_proj"))
        v = v.reshape(*v.shape[:2], module.n_kv_heads, -1).transpose(0, 2, 1, 3)
        return *turn(q, k, offset), v
    return call

def attention(module):
    def call(q_nope, q_pe, kv_latent, k_pe):
        scores = (q_pe * module.scale) @ k_pe.swapaxes(-1, -2)
        return scaled_dot_product_attention(
            q_nope, kv_latent, kv_latent, cache=None, scale=module.scale, mask=scores)
    return call

def mla_front(module):
    def call(x, offset):
        b = x.shape[0]
        q = module.q_b_proj(module.q_a_layernorm(module.q_a_proj(x))).reshape(b, 1, module.num_heads, -1)
        q_nope, q_pe = mx.split(q.transpose(0, 2, 1, 3), [module.qk_nope_head_dim], axis=-1)
        kv_latent, k_pe = mx.split(module.kv_a_proj_with_mqa(x)[:, None], [module.kv_lora_rank], axis=-1)
        return q_nope, module.rope(q_pe, offset), module.kv_a_layernorm(kv_latent), module.rope(k_pe, offset)
    return call

def mla(module):
    front, weigh = mla_front(module), attention(module)
    def attend(parts, cache):
        q_nope, q_pe, kv_latent, k_pe = parts
        return weigh(module.embed_q(q_nope), q_pe, *cache.update_and_fetch(kv_latent, k_pe))
    return Split(front, attend)

def norm(module):
    call = stock_call(module)
    def both(x, r):
        h = x + r
        return h, call(h)
    return both

def bind(module, request):
    if request.sites[:2] == ("qkv", "qk_norm_rope"):
        front = heads if request.family == "qwen3" else mla_front
        return Binding((mla if len(request.sites) == 3 else front)(module))
    if request.sites[0] in ("qkv", "qk_norm_rope", "attention", "residual_norm", "shared_experts", "linear"):
        (site,) = request.sites
        names = ("q_proj", "k_proj", "v_proj") if request.family == "qwen3" else ("q_a_proj", "kv_a_proj_with_mqa")
        made = {"qkv": lambda: qkv(module, names), "qk_norm_rope": lambda: norm_rope(module),
                "attention": lambda: attention(module), "residual_norm": lambda: norm(module)}
        return Binding(made[site]() if site in made else (lambda f: lambda x: f(x))(stock_call(module)))
    router = qwen_router(module) if request.family == "qwen3" else lambda x: module.gate(x)
    steps = {"router": router, "experts": moe.stock_experts(module), "down": moe.stock_down(module), "combine": stock}
    def call(**held):
        out = None
        for site in request.sites:
            if site == "router":
                out = held["inds"], held["scores"] = router(held["x"])
            elif site == "experts":
                out = held["h"] = steps[site](held["x"], held["inds"])
            elif site == "down":
                out = held["y"] = steps[site](held["h"], held["inds"])
            elif site == "combine":
                out = stock(held["y"], held["scores"])
            else:
                out = out + module.shared_experts(held["x"])
        return out
    return Binding(call)
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
        'families = ["qwen3", "glm47"]\nmax_tokens = "any"\n[mode.stock]\nnumerics = "stock"\n'
        'backends = ["cpu", "cuda", "metal"]\n'
    )


def plant(workspace: Workspace, name: str) -> None:
    """Add the kernel `name` and a variant of the same name to the workspace."""
    folder = workspace.kernels / name
    folder.mkdir()
    (folder / "kernel.toml").write_text(declaration())
    (folder / "kernel.py").write_text(_HEAD + BODIES[name])
    for family in ("qwen3", "glm47"):
        with (workspace.variants / f"{family}.toml").open("a") as file:
            file.write(f'\n[variant.{name}]\nwhy = "planted"\nkernels = {{ combine = "{name}" }}\n')
