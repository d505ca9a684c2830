"""Tries whether the tests of the decision notice when it is changed: `make mutants`.

    python tools/mutants.py [--show]

mutmut (the extra `mutants`; its settings stand in pyproject.toml) makes some 2,500 mutants of
zmlx_bench/analysis/decision in the folder `mutants/` and runs tests/analysis/decision on each, one at a time: an hour
or two. What was tried is kept, so a run that was interrupted goes on, and a mutant of a function that has not changed
is not tried again unless it survived. A survivor is a line that no test holds: it wants a test at its boundary, or a
reason in `tools/mutants.toml` why no test can tell it from the original. `--show` tells what is known without trying.

What mutmut does not change: constants of a module, the policy's figures (`test_thresholds.py` holds them), properties
and whatever else has a decorator, sentences. A mutant that a simulation alone would notice counts as a survivor: those
tests are left out, for they take minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXPLAINED = Path(__file__).with_suffix(".toml")
RUN = [sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
KILLED = frozenset({1, 3, 24, -24, 36, 152, 255, -11, -9})
"""Exit codes that mutmut keeps of a mutant that a test noticed, that did not end, or that broke the interpreter."""
_NAME = re.compile(r"zmlx_bench\.analysis\.decision\.(\w+)\.x_?(.+)__mutmut_\d+")


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed."""

    name: str
    """mutmut's; its number changes with the source."""
    key: str
    """The function, and the line as the mutant has it."""
    before: str


def key_of(name: str, changed: str) -> str:
    """Return what a mutant is explained by: module.function: changed line."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name}: is no name of a mutant of the decision")
    function = found[2].strip("ǁ").replace("ǁ", ".")
    return f"{found[1]}.{function}: {changed}"


def states(folder: Path) -> dict[str, int | None]:
    """Return what mutmut keeps of each mutant: an exit code, or None for one that was not tried."""
    found: dict[str, int | None] = {}
    for path in sorted(folder.rglob("*.py.meta")):
        found.update(json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"])
    return found


def survivors(codes: Mapping[str, int | None]) -> Iterator[Survivor]:
    """Yield the mutants that were tried and not noticed."""
    from mutmut.__main__ import get_diff_for_mutant

    for name, code in codes.items():
        if code is None or code in KILLED:
            continue
        lines = get_diff_for_mutant(name).splitlines()
        sides = {
            sign: " ".join(
                line[1:].strip() for line in lines if line.startswith(sign) and not line.startswith(3 * sign)
            )
            for sign in "-+"
        }
        yield Survivor(name, key_of(name, sides["+"]), sides["-"])


def explained(path: Path) -> dict[str, str]:
    """Return the reasons, by the key of the mutant that each is for."""
    groups = tomllib.loads(path.read_text(encoding="utf-8"))["reason"]
    return {mutant: group["why"] for group in groups for mutant in group["mutants"]}


def main() -> None:
    """Try what was not tried, then the survivors again, and print those that nothing explains."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="store_true", help="try none")
    if not parser.parse_args().show:
        subprocess.run(RUN, cwd=ROOT, check=True)
        reasons = explained(EXPLAINED)
        again = [found.name for found in survivors(states(ROOT / "mutants")) if found.key not in reasons]
        if again:
            subprocess.run([*RUN, *again], cwd=ROOT, check=True)
    codes, reasons = states(ROOT / "mutants"), explained(EXPLAINED)
    left = list(survivors(codes))
    for found in left:
        if found.key not in reasons:
            print(f"{found.name}\n  - {found.before}\n  + {found.key.partition(': ')[2]}")
    for key in sorted(set(reasons) - {found.key for found in left}):
        print(f"{EXPLAINED.name}: no mutant survives that is: {key}")
    untried = sum(code is None for code in codes.values())
    unexplained = sum(found.key not in reasons for found in left)
    print(f"{len(codes)} mutants, {untried} not tried, {len(left) - unexplained} survivors explained")
    print(f"unexplained survivors: {unexplained}")
    sys.exit(1 if unexplained or untried else 0)


if __name__ == "__main__":
    main()
