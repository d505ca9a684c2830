"""On an NVIDIA GPU: MLX takes a kernel that was compiled ahead for its own, and computes the same with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not mx.cuda.is_available(), reason="needs an NVIDIA GPU")]

CALL = """
import mlx.core as mx
from pathlib import Path

def call():
    kernel = mx.fast.cuda_kernel(
        name="squares", input_names=["a"], output_names=["o"], header=f'#include "{HEADER}"\\n',
        source="auto i = cg::this_grid().thread_rank(); o[i] = SQUARE(a[i]) + a_shape[0];",
    )
    a = mx.arange(64, dtype=mx.bfloat16)
    shape = {"output_shapes": [(64,)], "output_dtypes": [mx.float32], "grid": (64, 1, 1), "threadgroup": (32, 1, 1)}
    return kernel(inputs=[a], **shape)

def compiled():
    return "libnvrtc-builtins" in Path("/proc/self/maps").read_text()
"""
AHEAD = """
from importlib.metadata import version
from zmlx_bench.measured.ahead.compiler import Compiler, architecture
from zmlx_bench.measured.ahead.texts import Texts
info = mx.device_info(mx.default_device())
compiler = Compiler(version("mlx"), architecture(info["compute_capability_major"], info["compute_capability_minor"]))
with Texts() as texts:
    made = call()
    files = compiler.compile(texts.new())
print(len(files))
"""
PLAIN = """
mx.eval(made := call())
print(compiled(), *made[0].tolist())
"""


def ran(folder: Path, code: str) -> list[str]:
    header = folder / "square.cuh"
    header.write_text("#define SQUARE(x) float(x) * float(x)\n")
    env = {**os.environ, "TMPDIR": str(folder)}
    program = f"HEADER = {str(header)!r}\n{CALL}{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_process_finds_what_was_compiled_ahead_and_computes_the_same(tmp_path: Path) -> None:
    with_it, without = tmp_path / "with", tmp_path / "without"
    for folder in (with_it, without):
        folder.mkdir()
    ran(without, "mx.eval(mx.arange(64, dtype=mx.bfloat16))")
    compiled, *values = ran(without, PLAIN)
    assert compiled == "True"
    ran(with_it, "mx.eval(mx.arange(64, dtype=mx.bfloat16))")
    assert ran(with_it, AHEAD) == ["3"]
    assert ran(with_it, PLAIN) == ["False", *values]
    assert [float(value) for value in values] == [float(i * i + 64) for i in range(64)]
