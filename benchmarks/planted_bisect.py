"""Planted regressions, found by real sessions: `zmlx bisect` among eight versions, and `zmlx run` against stock.

    python benchmarks/planted_bisect.py [--tokens N] [--speed N] [--run-tokens N] [--run-speed N] [--folder DIR]

Each search has a workspace of its own and planted wheels of a tiny package, of which one changes a rounding of the
logits (`tokens`) or makes the step longer by a tenth (`speed`), at a place drawn from a fixed seed; `run` measures one
such wheel against the stock model. Each answer is printed as it comes and kept in DIR: the same command goes on where
it was ended, also within a search. Everything runs on one processor; tests/bisect/planted.py says why. Exit code 1
where an answer is wrong; undecided is not wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []

from tests.bisect.planted import PACKAGE, on_one_processor, plant  # noqa: E402 - of the checkout, which the line above finds
from tests.conftest import ZMLX  # noqa: E402
from tests.wheels import borrowed, of_index  # noqa: E402
from zmlx_bench import workspace as workspaces  # noqa: E402
from zmlx_bench.ledger.decide import decide  # noqa: E402
from zmlx_bench.workspace import Workspace  # noqa: E402

SEED = 20261129
VERSIONS = 8
By = Literal["bisect", "run"]
On = Literal["tokens", "speed"]
Said = Literal["right", "undecided", "wrong"]
CHANGES: dict[On, str] = {"tokens": "rounding", "speed": "slower"}
REASONS: dict[On, str] = {"tokens": "fidelity", "speed": "performance"}
BISECTED: dict[On, tuple[str, ...]] = {"tokens": ("--tokens", "24"), "speed": ("--tokens", "128")}
MEASURED: dict[On, tuple[str, ...]] = {
    # A budget that the policy judges.
    "tokens": ("--tokens", "200", "--runs", "1"),
    "speed": ("--tokens", "200", "--tokens", "1024", "--until-decided"),
}
PROMPT = """schema_version = 1
[[prompt]]
id = "short"
domain = "prose"
text = "Once upon a time there was a lighthouse keeper who"
"""


@dataclass(frozen=True)
class Found:
    """What came out of a search."""

    said: Said
    answer: str
    planted: str
    """The version that brings the change."""
    wall_s: float


TOLD: dict[str, Said] = {"found": "right", "undecided": "undecided"}
"""What a bisection that names a span with the planted version is told to have said, by how it ended."""


@dataclass(frozen=True)
class Search:
    """One planted regression that a command is to find."""

    folder: Path
    by: By
    on: On
    number: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.by} {self.on} {self.number}"

    def found(self) -> Found:
        """Return what came out, searched for where that is not known yet."""
        kept = self.folder / "answers" / f"{self.name.replace(' ', '-')}.json"
        if not kept.exists():
            began = time.monotonic()
            said, answer, planted = self._bisected() if self.by == "bisect" else self._measured()
            kept.parent.mkdir(parents=True, exist_ok=True)
            told = {"said": said, "answer": answer, "planted": planted, "wall_s": round(time.monotonic() - began, 1)}
            kept.write_text(json.dumps(told))
        return Found(**json.loads(kept.read_text()))

    def _bisected(self) -> tuple[Said, str, str]:
        # The first version is the good end, so the change comes with one of the others.
        place = random.Random(f"{SEED}/{self.on}/{self.number}").randrange(1, VERSIONS)
        wheels = self._planted({f"1.{at}": "nothing" if at < place else CHANGES[self.on] for at in range(VERSIONS)})
        told = self._zmlx(
            "bisect", "qwen3", "--good", f"{PACKAGE}==1.0", "--bad", f"{PACKAGE}==1.{VERSIONS - 1}", "--on", self.on,
            "--find-links", str(wheels), *BISECTED[self.on],
        )  # fmt: skip
        outcome = told["outcome"]
        last_good, first_bad = (int(outcome[end].partition(".")[2]) for end in ("last_good", "first_bad"))
        said: Said = "wrong"
        if last_good < place <= first_bad:
            said = TOLD.get(outcome["kind"], "wrong")
        return said, told["answer"], f"1.{place}"

    def _measured(self) -> tuple[Said, str, str]:
        (wheel,) = self._planted({"1.0": CHANGES[self.on]}).glob("*.whl")
        self._zmlx("run", "qwen3", "--environment", str(wheel), *MEASURED[self.on])
        (decision,) = decide(Workspace(self._workspace), None).decisions.values()
        (verdict,) = decision.verdicts
        said: Said = "undecided" if verdict.verdict == "INCONCLUSIVE" else "wrong"
        if (verdict.verdict, verdict.reason) == ("REJECT", REASONS[self.on]):
            said = "right"
        return said, f"{verdict.verdict} ({verdict.reason}): {verdict.why}", "1.0"

    @property
    def _place(self) -> Path:
        return self.folder / self.name.replace(" ", "-")

    @property
    def _workspace(self) -> Path:
        return self._place / "workspace"

    def _planted(self, versions: dict[str, str]) -> Path:
        wheels = self._place / "wheels"
        # Anew they would have other bytes, and a search that goes on would begin again.
        return wheels if wheels.exists() else plant(wheels, versions)

    def _zmlx(self, *arguments: str) -> Any:
        index, log = self.folder / "index", self._place / "log"
        if not index.exists():
            borrowed(index)
        if not self._workspace.exists():
            workspaces.create(self._workspace)
        prompts = self._place / "prompts.toml"
        prompts.write_text(PROMPT)
        command = [
            *ZMLX, *arguments, "--checkpoint", "tiny", "--backend", "cpu", "--prompts", str(prompts),
            "--workspace", str(self._workspace), "--json",
        ]  # fmt: skip
        with log.open("ab") as err:
            done = subprocess.run(
                command, env=of_index(index, self.folder / "cache"), stdout=subprocess.PIPE, stderr=err, check=False
            )
        if done.returncode not in (0, 1, 2):
            raise SystemExit(f"{self.name}: left with code {done.returncode}; {log} says why")
        return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    for by, on in SEARCHES:
        option = f"--{on}" if by == "bisect" else f"--run-{on}"
        parser.add_argument(option, type=int, default=0, help=f"searches by `zmlx {by}` on {on}")
    parser.add_argument("--folder", type=Path, default=Path("planted_bisect"), help="where searches and answers lie")
    wanted = parser.parse_args()
    on_one_processor()
    wrong = 0
    for by, on in SEARCHES:
        tally: Counter[str] = Counter()
        for number in range(vars(wanted)[on if by == "bisect" else f"run_{on}"]):
            search = Search(wanted.folder.resolve(), by, on, number)
            found = search.found()
            tally[found.said] += 1
            print(
                f"{search.name}: planted {found.planted}: {found.said}: {found.answer} ({found.wall_s} s)", flush=True
            )
        if tally:
            print(f"{by} {on}: " + ", ".join(f"{tally[said]} {said}" for said in ("right", "undecided", "wrong")))
        wrong += tally["wrong"]
    raise SystemExit(int(wrong > 0))


SEARCHES: tuple[tuple[By, On], ...] = (
    ("bisect", "tokens"), ("bisect", "speed"), ("run", "tokens"), ("run", "speed"),
)  # fmt: skip

if __name__ == "__main__":
    main()
