"""Sessions with capsules that hold together, made from log gains with the project's own plan and derivation."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from zmlx_bench.analysis.audit import derive
from zmlx_bench.analysis.near import nearness
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.ledger import matrix
from zmlx_bench.protocol.plan import arms_of, draw_up
from zmlx_bench.protocol.prefix import Taken, cut, cut_failed
from zmlx_bench.schema.audit import ArmTrace, Audit, PromptAudit
from zmlx_bench.schema.base import CheckpointKind, Role, Status, content_hash
from zmlx_bench.schema.capsule import Software, output_hash
from zmlx_bench.schema.identity import Identity
from zmlx_bench.schema.kernel import Numerics
from zmlx_bench.schema.machine import Machine, MachineState
from zmlx_bench.schema.matrix import row_of
from zmlx_bench.schema.plan import Checkpoint, Conditions, Job, Timeouts
from zmlx_bench.schema.prompts import Encoded, Prompt, PromptSet, ids_hash
from zmlx_bench.schema.run import Generation, Run
from zmlx_bench.schema.sealed import UNSEALED
from zmlx_bench.schema.session import CapsuleRef, Session
from zmlx_bench.schema.variant import ResolvedKernel, ResolvedVariant
from zmlx_bench.session import capsules, store
from zmlx_bench.workspace import Workspace

ROOT = Path(__file__).parents[1]
BUDGETS = (20, 50)
"""Budgets of the policy that these workspaces have, in place of 200 and 1024."""
START = datetime(2030, 1, 1, 10, tzinfo=UTC)
MACHINE = Machine(device="Made CPU", backend="cpu", os="Made 1", arch="made", cpu_count=2, cores=2, memory_gb=8.0)
TOKEN_IDS = tuple(range(10))
"""Of every prompt."""
SOFTWARE = Software(mlx="0.0.1", mlx_lm="0.0.2", zmlx="0.0.3", python="3.11.0", commit=None, dirty=None)


@dataclass(frozen=True)
class Made:
    """A variant and what measuring it shall show."""

    name: str
    gain: float | tuple[float, float] = 0.05
    """True log gain, or one for each budget."""
    spread: float = 0.002
    """Scatter of a process (log)."""
    wrong_at: int | None = None
    """First token that differs from the baseline's."""
    status: Status = "ok"
    peak_mem_gb: float = 1.25
    source: str = "a"
    """Stands for the kernel's source."""
    code: str = ""
    """Whose code it is, where it is another variant's under this name."""
    identified: bool = False
    """Whether it was recorded with its identity, in which its kernel's digest is `source`."""
    idle: bool = False
    energy_j: float | None = None
    """Of each timed process; the baseline's is as much where any variant's is known."""
    message: str = ""
    """What it says when it fails."""
    stock_top1: float | None = None
    """Where it is declared near: share of an audit's positions at which stock agrees with float32. It is as near."""
    numerics: Numerics = "stock"
    """What its kernel declares."""
    env: tuple[tuple[str, str], ...] = ()
    """Variables that it sets."""

    @property
    def variant(self) -> ResolvedVariant:
        """The resolved variant."""
        source = content_hash([self.code or self.name, self.source])
        kernel = ResolvedKernel(
            kernel=f"kernel_{self.name}",
            mode=self.numerics,
            sites=("combine",),
            numerics=self.numerics,
            source_sha256=source,
        )
        identity = None
        if self.identified:
            digests = {kernel.kernel: source}
            identity = Identity(formula=1, digest=source, declaration=source, kernels=digests, path=source)
        return ResolvedVariant(
            name=self.name,
            family="qwen3",
            why=f"whether {self.name} pays",
            kernels=(kernel,),
            identity=identity,
            env=dict(self.env),
            fidelity="identical" if self.stock_top1 is None else "near",
        )


def make_workspace(root: Path) -> Workspace:
    """Make an empty workspace whose policy asks for the small budgets."""
    workspace = Workspace(root)
    for folder in (workspace.variants, workspace.kernels):
        folder.mkdir(parents=True)
    policy = (ROOT / "variants" / "policy.toml").read_text(encoding="utf-8")
    text = policy.replace("\n200 = ", f"\n{BUDGETS[0]} = ").replace("\n1024 = ", f"\n{BUDGETS[1]} = ")
    (workspace.variants / "policy.toml").write_text(text, encoding="utf-8")
    return workspace


def add_session(
    workspace: Workspace,
    hour: float,
    variants: Sequence[Made],
    *,
    incumbent: Made | None = None,
    blocks: int = 6,
    budgets: Sequence[int] = BUDGETS,
    null_arm: bool = True,
    null_gain: float = 0.0,
    prompts: int = 4,
    kind: CheckpointKind = "tiny",
    family: str = "qwen3",
    checkpoint: Checkpoint | None = None,
    option: str | None = None,
    minutes: float = 10.0,
    clock_set_s: float | None = None,
    machine: Machine = MACHINE,
    software: Software = SOFTWARE,
    audited: bool = False,
) -> Session:
    """Record a session that starts `hour` hours after the first and takes `minutes`: `session.json`, capsules, matrix
    rows."""
    start = START + timedelta(hours=hour)
    name = f"{start:%Y%m%dT%H%M%SZ}-{family}-{len(variants):04x}"
    checkpoint = checkpoint or Checkpoint(
        kind=kind, label=kind, digest=f"{kind}-0123456789abcdef", source="made", config_sha256="0" * 64,
        weights={"model.safetensors": "1" * 64},
    )  # fmt: skip
    texts = PromptSet(prompt=tuple(Prompt(id=f"p{i}", domain="made", text=f"Prompt {i}.") for i in range(prompts)))
    plan = draw_up(
        family=family, checkpoint=checkpoint, conditions=Conditions(), backend="cpu", tokens=budgets, blocks=blocks,
        seed=1, cooldown_s=0.0, timeouts=Timeouts(), prompts=texts,
        encoded=Encoded(chat_template=False, token_ids={prompt.id: TOKEN_IDS for prompt in texts.prompt}),
        arms=arms_of([m.variant for m in variants], incumbent.variant if incumbent else None, null_arm=null_arm),
        audit_positions=min(budgets) if audited or any(m.stock_top1 is not None for m in variants) else None,
    )  # fmt: skip
    maker = _Maker({m.name: m for m in (*variants, *([incumbent] if incumbent else []))}, null_gain, name)
    roles = {arm.name: arm.role for arm in plan.arms}
    runs = [run for job in plan.jobs if job.kind != "audit" for run in maker.runs(job, roles[job.arm])]
    audits = {job.arm: maker.audit(job, max(budgets)) for job in plan.jobs if job.kind == "audit"}
    ended = _utc(start + timedelta(minutes=minutes))
    session = Session(
        schema_version=2, session=name, state="running", started=_utc(start), command=("zmlx", "run", family),
        checkpoint_option=option or kind, plan=plan, machine=machine, software=software, content_sha256=UNSEALED,
    )  # fmt: skip
    made = capsules.build(session, runs, maker.outputs, ended=ended, audits=audits)
    paths = [capsule_files.write(workspace, capsule) for capsule in made]
    references = tuple(
        CapsuleRef(file=path.name, content_sha256=capsule.content_sha256)
        for path, capsule in zip(paths, made, strict=True)
    )
    finished = session.model_copy(
        update={"state": "finished", "ended": ended, "clock_set_s": clock_set_s, "capsules": references}
    )
    matrix.record(workspace, name, [row_of(capsule) for capsule in made])
    return store.write(workspace, finished)


class _Maker:
    """Answers jobs: log speed = a drift of the block + the arm's gain + scatter that is the same for every call."""

    def __init__(self, made: dict[str, Made], null_gain: float, seed: str) -> None:
        self._made, self._null_gain, self._seed = made, null_gain, seed
        self.outputs: dict[str, tuple[int, ...]] = {}

    def runs(self, job: Job, role: Role) -> Iterator[Run]:
        """Yield the run of a job's process at each budget that it serves."""
        whole = self._whole(job, role)
        for tokens in job.prefixes:
            if whole.status != "ok":
                yield cut_failed(whole, tokens)
                continue
            (generation,) = whole.generations
            ids = self.outputs[generation.output]
            self.outputs[output_hash(ids[:tokens])] = ids[:tokens]
            decode_s = sum(generation.token_us[: tokens - 1]) / 1e6
            taken = Taken(
                decode_s=decode_s, supervisor_decode_s=decode_s * 1.001, peak_mem_gb=generation.peak_mem_gb,
                cache_gb=0.25, peak_rss_gb=1.5, page_faults_minor=10, page_faults_major=0, energy_j=whole.energy_j,
            )  # fmt: skip
            yield cut(whole, tokens, ids, taken)
        yield whole

    def audit(self, job: Job, tokens: int) -> Audit:
        """Return an audit in which the variant is at each position as far from float32 as stock is."""
        made, positions = self._made[job.arm], job.tokens
        agreeing = round((made.stock_top1 or 0.0) * positions)
        agrees = tuple(position < agreeing for position in range(positions))
        trace = ArmTrace(kl=(0.1,) * positions, agrees=agrees, max_error=(1.0,) * positions)
        prompts = tuple(
            PromptAudit(
                prompt=prompt, prompt_sha256=ids_hash(TOKEN_IDS), output=output_hash(_text(prompt, tokens)),
                baseline=trace, variant=trace,
            )
            for prompt in job.prompts
        )  # fmt: skip
        near = None if made.stock_top1 is None else nearness(prompts, self.outputs)
        return Audit(status="ok", prompts=prompts, figures=derive(prompts), near=near)

    def _whole(self, job: Job, role: Role) -> Run:
        made = self._made.get(job.arm)
        if made is not None and made.status != "ok":
            said = made.message or f"made to end with {made.status}\nand a traceback"
            return Run(
                arm=job.arm, role=role, job=job.id, block=job.block, position=job.position, tokens=job.tokens,
                status=made.status, message=said, exit_code=1,
            )  # fmt: skip
        timed = job.kind == "timed"
        state = MachineState(cpu_busy_by_others=0.1, throttled=None)
        return Run(
            arm=job.arm, role=role, job=job.id, block=job.block, position=job.position, tokens=job.tokens, status="ok",
            exit_code=0, load_s=1.0, warm_up_s=0.5,
            generations=tuple(self._generation(job, prompt, timed) for prompt in job.prompts),
            energy_j=self._energy_j(made) if timed else None,
            calls_per_token={"combine": 0.0 if made.idle else 2.0} if made else {}, peak_rss_gb=1.5,
            page_faults_minor=10, page_faults_major=0, before=state, after=state,
        )  # fmt: skip

    def _energy_j(self, made: Made | None) -> float | None:
        return made.energy_j if made else next((m.energy_j for m in self._made.values() if m.energy_j), None)

    def _generation(self, job: Job, prompt: str, timed: bool) -> Generation:
        made = self._made.get(job.arm)
        ids = _text(prompt, job.tokens)
        if made is not None and made.wrong_at is not None:
            ids[made.wrong_at] += 1000
        name = output_hash(ids)
        self.outputs[name] = tuple(ids)
        token_us = self._token_us(job)
        total_us = sum(token_us)
        return Generation(
            prompt=prompt, prompt_tokens=len(TOKEN_IDS), prompt_sha256=ids_hash(TOKEN_IDS), output=name,
            tokens=job.tokens, ttft_s=0.1, decode_s=total_us / 1e6,
            supervisor_decode_s=total_us / 1e6 * 1.001,
            token_us=token_us if timed else (),
            peak_mem_gb=made.peak_mem_gb if made else 1.25, active_before_gb=1.0, cache_gb=0.25,
            margins=() if timed else tuple(0.5 for _ in range(job.tokens)),
        )  # fmt: skip

    def _token_us(self, job: Job) -> tuple[int, ...]:
        """Return times that give each budget of the job the speed that it shall have."""
        found: list[int] = []
        for tokens in job.budgets:
            steps = tokens - 1 - len(found)
            total_us = round(1e6 * (tokens - 1) / math.exp(math.log(100.0) + self._gain(job, tokens)))
            each, rest = divmod(total_us - sum(found), steps)
            found += [each + (1 if i < rest else 0) for i in range(steps)]
        return tuple(found)

    def _gain(self, job: Job, tokens: int) -> float:
        drift = random.Random(f"{self._seed}/{job.block}/{tokens}").gauss(0.0, 0.05)
        made = self._made.get(job.arm)
        # Alternating scatter averages to zero over an even number of blocks, so that the gain is what was asked for.
        sign = 1.0 if (job.block or 0) % 2 else -1.0
        if made is None:
            return drift + (self._null_gain if job.arm == "null" else 0.0) + sign * 0.0005 * (job.arm == "null")
        gain = made.gain if isinstance(made.gain, float) else made.gain[int(tokens != BUDGETS[0])]
        return drift + gain + sign * made.spread


def _text(prompt: str, tokens: int) -> list[int]:
    """Return the baseline's answer to a prompt."""
    text = random.Random(prompt)
    return [text.randrange(1000) for _ in range(tokens)]


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
