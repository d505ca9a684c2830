"""A small workspace made with the project's own schemas, plan and derivation; its numbers come from a generator."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from zmlx_bench.ledger import capsules as ledger
from zmlx_bench.ledger import matrix
from zmlx_bench.ledger.decide import decide, record
from zmlx_bench.schema.base import Role
from zmlx_bench.schema.capsule import Software, output_hash
from zmlx_bench.schema.machine import Machine, MachineState
from zmlx_bench.schema.matrix import row_of
from zmlx_bench.schema.plan import Checkpoint, Job, Plan, Timeouts
from zmlx_bench.schema.prompts import Prompt, PromptSet
from zmlx_bench.schema.run import Generation, Run
from zmlx_bench.schema.session import CapsuleRef, Session
from zmlx_bench.schema.variant import ResolvedKernel, ResolvedVariant
from zmlx_bench.session import capsules, store
from zmlx_bench.session.plan import arms_of, draw_up
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = Checkpoint(
    kind="tiny",
    label="tiny",
    id="tiny-0123456789abcdef",
    source="made",
    config_sha256="0" * 64,
    weights_sha256="1" * 64,
)
MACHINE = Machine(device="Made CPU", backend="cpu", os="Made 1", arch="made", cpu_count=2, memory_gb=8.0)
SOFTWARE = Software(mlx="0.0.1", mlx_lm="0.0.2", zmlx="0.0.3", python="3.11.0", commit=None, dirty=None)
PROMPTS = PromptSet(prompt=tuple(Prompt(id=f"p{i}", domain="made", text=f"Prompt {i}.") for i in range(4)))
COMMAND = ("zmlx", "run", "qwen3", "--tokens", "20", "--tokens", "50", "--runs", "3")


def variant(name: str) -> ResolvedVariant:
    kernel = ResolvedKernel(
        kernel="moe_combine", mode="stock", sites=("combine",), numerics="stock", source_sha256=output_hash([len(name)])
    )
    return ResolvedVariant(name=name, family="qwen3", why="made", kernels=(kernel,))


def plan_of(names: list[str], tokens: list[int], runs: int, seed: int) -> Plan:
    return draw_up(
        family="qwen3", checkpoint=CHECKPOINT, backend="cpu", tokens=tokens, runs=runs, seed=seed, cooldown_s=0.0,
        timeouts=Timeouts(), prompts=PROMPTS, arms=arms_of([variant(n) for n in names], None, null_arm=True),
    )  # fmt: skip


class Maker:
    """Answers jobs with invented times and tokens; the same seed gives the same answers."""

    def __init__(self, seed: int, wrong: str | None = None, slow: str | None = None, fast: Sequence[str] = ()) -> None:
        self._random = random.Random(seed)
        self._wrong, self._slow, self._fast = wrong, slow, fast
        self.outputs: dict[str, tuple[int, ...]] = {}

    def generation(self, arm: str, prompt: str, tokens: int, timed: bool) -> Generation:
        text = random.Random(prompt)
        ids = [text.randrange(1000) for _ in range(tokens)]
        if arm == self._wrong:
            ids[tokens // 2] += 1
        name = output_hash(ids)
        self.outputs[name] = tuple(ids)
        pace = 12_000 if arm == self._slow else 9_000 if arm in self._fast else 10_000
        steps = [self._random.randrange(pace, pace + 400) for _ in range(tokens - 1)]
        return Generation(
            prompt=prompt, prompt_tokens=10, output=name, tokens=tokens, ttft_s=0.1 + self._random.random() / 100,
            decode_s=sum(steps) / 1e6, supervisor_decode_s=sum(steps) / 1e6 * 1.001,
            token_us=tuple(steps) if timed else (), peak_mem_gb=1.25, active_before_gb=1.0, cache_gb=0.25,
            margins=() if timed else tuple(0.5 for _ in range(tokens)),
        )  # fmt: skip

    def run(self, job: Job, role: Role) -> Run:
        timed = job.kind == "timed"
        return Run(
            arm=job.arm, role=role, job=job.id, block=job.block, position=job.position, tokens=job.tokens, status="ok",
            exit_code=0, load_s=1.0, warm_up_s=0.5,
            generations=tuple(self.generation(job.arm, p, job.tokens, timed) for p in job.prompts),
            calls_per_token={"combine": 2.0} if role == "variant" else {}, peak_rss_gb=1.5, page_faults_minor=10,
            page_faults_major=0, before=MachineState(throttled=None),
            after=MachineState(cpu_busy_by_others=0.1, throttled=None),
        )  # fmt: skip


def add_session(
    workspace: Workspace, name: str, ended: str, names: list[str], *, runs: int = 3, seed: int = 1,
    tokens: tuple[int, ...] = (20, 50), wrong: str | None = None, slow: str | None = None,
    fast: Sequence[str] = (),
) -> Session:  # fmt: skip
    """Record a session: `session.json`, its capsules, its matrix rows."""
    plan, maker = plan_of(names, list(tokens), runs, seed), Maker(seed, wrong, slow, fast)
    roles: dict[str, Role] = {arm.name: arm.role for arm in plan.arms}
    runs_made = [maker.run(job, roles[job.arm]) for job in plan.jobs if job.kind != "warmup"]
    session = Session(
        schema_version=1, session=name, state="running", started=ended.replace("T10", "T09"), command=COMMAND,
        checkpoint_option="tiny",
        plan=plan, machine=MACHINE, software=SOFTWARE, content_sha256="0" * 64,
    )  # fmt: skip
    made = capsules.build(session, runs_made, maker.outputs, chat_template=False, ended=ended)
    paths = [ledger.write(workspace, capsule) for capsule in made]
    references = [
        CapsuleRef(file=path.name, content_sha256=capsule.content_sha256)
        for path, capsule in zip(paths, made, strict=True)
    ]
    finished = session.model_copy(update={"state": "finished", "ended": ended, "capsules": tuple(references)})
    matrix.append(workspace.matrix, [row_of(capsule) for capsule in made])
    return store.write(workspace, finished)


def small_workspace(root: Path) -> Workspace:
    """Two sessions of two variants: `combine_one` is faster by a tenth; `other_one` diverges, then is slow."""
    workspace = Workspace(root)
    for folder in (workspace.variants, workspace.kernels):
        folder.mkdir(parents=True)
    policy = (ROOT / "variants" / "policy.toml").read_text()
    (workspace.variants / "policy.toml").write_text(
        policy.replace("\n200 = ", "\n20 = ").replace("\n1024 = ", "\n50 = ")
    )
    names = ["combine_one", "other_one"]
    for day, odd in ((1, {"wrong": "other_one"}), (2, {"slow": "other_one"})):
        name, ended = f"2030010{day}-qwen3-000{day}", f"2030-01-0{day}T10:00:00.000Z"
        add_session(workspace, name, ended, names, seed=day, fast=["combine_one"], **odd)
    return workspace


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "workspace"
    promote(small_workspace(root))
    return root


@pytest.fixture
def add() -> Callable[..., Session]:
    """Record another session: `add(workspace, name, ended, variants, ...)`."""
    return add_session


@pytest.fixture
def workspace(_template: Path, tmp_path: Path) -> Workspace:
    """A copy of the small workspace, with `combine_one` promoted."""
    shutil.copytree(_template, tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


def promote(workspace: Workspace) -> None:
    """Carry the decision on the workspace's evidence into `promoted.toml` and the notebook."""
    if not workspace.notebook.exists():
        workspace.notebook.write_text("# Lab notebook\n\n## Notes\n\nNothing is claimed here: 1.5x.\n")
    record(workspace, decide(workspace, None))
