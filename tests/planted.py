"""Kernels that tests plant in a workspace of their own, each with one variant of its name for both families."""

from __future__ import annotations

from zmlx_bench.workspace import Workspace

_HEAD = '''"""Planted by a test."""
import os
import time
import mlx.core as mx
from zmlx_bench.patch.contract import Binding, BindRequest, Unavailable

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
