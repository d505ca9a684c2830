"""What importing the measured room costs beyond mlx, without the modules that need mlx-lm or what it brings.

Each figure is the time of the import statements in a fresh process, by the wall and by the processor, which other
work on the machine disturbs less. Rounds of mlx alone and of mlx and the room alternate; the last rows are their
difference, paired by round. Bytecode is there already, as from the second time on everywhere.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import zmlx_bench.measured as room

MLX = ("mlx.core", "mlx.nn")
_TRY = """
import importlib, sys
class Without:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("mlx", "zmlx_bench"):
            raise ImportError(name)
sys.meta_path.insert(0, Without())
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    print(name)
"""
_TIMED = """
import importlib, sys, time
wall, cpu = time.perf_counter(), time.process_time()
for name in sys.argv[1:]:
    importlib.import_module(name)
print((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3)
"""


_CACHE = tempfile.TemporaryDirectory()
_ENV = {**os.environ, "PYTHONPYCACHEPREFIX": _CACHE.name}
_ENV.pop("PYTHONDONTWRITEBYTECODE", None)


def _run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=_ENV).stdout


def without_mlx_lm() -> list[str]:
    """Return the modules of the room that can be imported where there is mlx and no mlx-lm."""
    return _run(_TRY, *(found.name for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."))).split()


def _times(modules: Sequence[str]) -> tuple[float, float]:
    wall, cpu = _run(_TIMED, *modules).split()
    return float(wall), float(cpu)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    modules = without_mlx_lm()
    _times((*MLX, *modules))
    alone, both = [], []
    for _ in range(arguments.rounds):
        alone.append(_times(MLX))
        both.append(_times((*MLX, *modules)))
    print(f"{len(modules)} modules: {', '.join(name.removeprefix(room.__name__ + '.') for name in modules)}\n")
    print(f"| import, {arguments.rounds} rounds | median ms | least | most |\n|---|---|---|---|")
    for column, clock in enumerate(("wall", "processor")):
        one, other = [times[column] for times in alone], [times[column] for times in both]
        beyond = [b - a for a, b in zip(one, other, strict=True)]
        for name, taken in (("mlx", one), ("mlx and the room", other), ("the room beyond mlx", beyond)):
            print(f"| {name}, {clock} | {statistics.median(taken):.1f} | {min(taken):.1f} | {max(taken):.1f} |")


if __name__ == "__main__":
    main()
