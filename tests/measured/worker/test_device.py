"""The worker's device is the default one before mlx-lm makes the stream that it generates in."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import QUIET_ENV
from tests.instructions import small_instructions

pytestmark = pytest.mark.process

# Runs the worker and writes down in which order the device is taken and mlx-lm is imported.
WATCHED = """
import sys
import mlx.core as mx
order, take = [], mx.set_default_device
mx.set_default_device = lambda device: (order.append("device"), take(device))
class Watch:
    @staticmethod
    def find_spec(name, path, target=None):
        if name == "mlx_lm":
            order.append("mlx_lm")
sys.meta_path.insert(0, Watch)
from zmlx_bench.measured.worker.__main__ import main
code = main()
from mlx_lm.generate import generation_stream
print(*order, generation_stream.device == mx.default_device())
sys.exit(code)
"""

TOO_LATE = """
import mlx.core as mx
mx.set_default_device(mx.Device(mx.cpu, 1))
from mlx_lm.generate import generation_stream
from zmlx_bench.measured.worker import device
device.take("cpu")
device.check_generation_stream()
"""


def test_the_device_is_taken_before_mlx_lm_is_imported() -> None:
    read_end, write_end = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(write_end)], input=small_instructions("qwen3", tokens=2).encoded(),
        stdout=subprocess.PIPE, check=True, pass_fds=(write_end,), env=QUIET_ENV,
    )  # fmt: skip
    os.close(write_end)
    os.close(read_end)
    order = done.stdout.split()
    assert order[0] == b"device"
    assert order.count(b"device") == 1
    assert b"mlx_lm" in order
    assert order[-1] == b"True"


def test_a_stream_on_another_device_is_refused() -> None:
    done = subprocess.run([sys.executable, "-c", TOO_LATE], capture_output=True, text=True, check=False, env=QUIET_ENV)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: mlx-lm generates on Device(cpu, 1) and not on Device(cpu, 0)")
