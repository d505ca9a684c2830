from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux carries ru_maxrss through exec")
def test_the_memory_of_the_process_that_started_the_worker_is_not_its_own() -> None:
    script = "from zmlx_bench.measured.worker.usage import Usage; print(Usage().peak_rss_bytes())"
    alone = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    ballast = bytearray(b"x") * (2 * alone)
    under = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert len(ballast) == 2 * alone
    assert under == pytest.approx(alone, rel=0.3)
