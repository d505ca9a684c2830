"""What the pages show of capsules: environment, provenance and the conditions around the processes, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zmlx_bench.measured.conditions.asked import listed
from zmlx_bench.printable import said
from zmlx_bench.report import growth, words
from zmlx_bench.schema.capsule import Capsule, Protocol
from zmlx_bench.schema.figures import Memory
from zmlx_bench.schema.machine import MachineState
from zmlx_bench.schema.run import Run, RunSet


@dataclass(frozen=True)
class MemoryLine:
    """A figure of memory for variant and baseline, as text."""

    name: str
    variant: str
    baseline: str


def _footprint(ours: Memory, stock: Memory) -> list[MemoryLine]:
    if ours.peak_footprint_gb is None and stock.peak_footprint_gb is None:
        return []
    pair = words.gigabytes(ours.peak_footprint_gb), words.gigabytes(stock.peak_footprint_gb)
    return [MemoryLine("peak footprint, GB", *pair)]


def memory(capsule: Capsule) -> list[MemoryLine]:
    """Return every figure of memory."""
    ours, stock = capsule.figures.memory, capsule.figures.baseline_memory
    held = "the weights" if capsule.conditions.context is None else "the weights and the context"
    return [
        MemoryLine("peak (MLX), GB", words.gigabytes(ours.peak_mem_gb), words.gigabytes(stock.peak_mem_gb)),
        MemoryLine(f"above {held}, GB", words.gigabytes(ours.temporary_gb), words.gigabytes(stock.temporary_gb)),
        MemoryLine("MLX's cache, GB", words.gigabytes(ours.cache_gb), words.gigabytes(stock.cache_gb)),
        *_footprint(ours, stock),
        MemoryLine("peak resident, GB", words.gigabytes(ours.peak_rss_gb), words.gigabytes(stock.peak_rss_gb)),
        MemoryLine("page faults, minor", *_pair(ours.page_faults_minor, stock.page_faults_minor)),
        MemoryLine("page faults, major", *_pair(ours.page_faults_major, stock.page_faults_major)),
        *(MemoryLine(row.name, row.variant, row.baseline) for row in growth.rows(capsule.figures)),
    ]


def _pair(ours: int | None, stock: int | None) -> tuple[str, str]:
    return words.number(ours, 0), words.number(stock, 0)


def provenance(capsule: Capsule) -> Iterator[tuple[str, str]]:
    """Yield what identifies what was measured, and where and how."""
    machine, software, protocol, checkpoint = (
        capsule.machine, capsule.software, capsule.protocol, capsule.checkpoint,
    )  # fmt: skip
    yield "session", f"{capsule.session}, ended {capsule.time}"
    yield "command", " ".join(protocol.command)
    yield "device", f"{machine.device}, backend {machine.backend}"
    system = [machine.os, machine.arch]
    system += [f"{machine.cpu} x {machine.cpu_count}"] if machine.cpu and machine.cpu_count else []
    system += [f"{machine.memory_gb:.0f} GB"] if machine.memory_gb else []
    system += [f"{machine.gpu_memory_gb:.0f} GB on the GPU"] if machine.gpu_memory_gb else []
    system += [f"wired limit set to {machine.wired_limit_gb:.1f} GB"] if machine.wired_limit_gb else []
    system += [f"driver {machine.gpu_driver}"] if machine.gpu_driver else []
    yield "machine", ", ".join(system)
    yield "software", (f"mlx {software.mlx}, mlx-lm {software.mlx_lm}, zmlx {software.zmlx}, Python {software.python}")
    yield "commit", (software.commit or "none") + (", with changes that are not committed" if software.dirty else "")
    yield "checkpoint", f"{checkpoint.label} ({checkpoint.digest}), from {checkpoint.source}"
    for name, digest in checkpoint.weights.items():
        yield f"{name} SHA-256", digest
    for kernel in capsule.variant.kernels:
        yield (
            "kernel",
            (
                f"{kernel.kernel}.{kernel.mode} at {', '.join(kernel.sites)}; numerics {kernel.numerics}; "
                f"source SHA-256 {kernel.source_sha256}"
            ),
        )
    if (other := capsule.variant.environment) is not None:
        yield "its environment", words.environment(other)
    for name, value in {**protocol.environment, **capsule.variant.env}.items():
        yield "environment", f"{name}={value}"
    yield (
        "protocol",
        (
            f"{protocol.blocks} blocks, seed {protocol.seed}, {_cooldown(protocol)}, "
            f"timed prompt {capsule.timed_prompt}, {'a' if capsule.chat_template else 'no'} chat template"
        ),
    )
    if asked := ", ".join(words.conditions(capsule.conditions)):
        caches = next((run.caches for run in capsule.runs.variant if run.caches), ())
        yield "conditions", f"{asked}; cache {listed(caches)}"
    if company := words.company(capsule.figures.busy_by_others, shared=protocol.shared_device):
        yield "company", company
    yield from conditions(capsule.runs)
    yield "content SHA-256", capsule.content_sha256
    if not capsule.intact:
        yield "EDITED", "the content is not what was hashed; `zmlx capsule verify` says what does not hold"


def _cooldown(protocol: Protocol) -> str:
    if protocol.cool_at_most_s is None:
        return f"{protocol.cooldown_s:g} s between processes"
    return f"until as cool as at the start, at most {protocol.cool_at_most_s:g} s, before processes"


def conditions(runs: RunSet) -> Iterator[tuple[str, str]]:
    """Yield the range of what was read of the machine around the timed processes; nothing for what is unknown."""
    states = [state for run in runs.every for state in (run.before, run.after) if state is not None]
    for name, field, unit in (
        ("load average", "load_average", ""),
        ("temperature", "temperature_c", " °C"),
        ("CPU clock", "cpu_mhz", " MHz"),
        ("GPU clock", "gpu_mhz", " MHz"),
        ("free memory", "available_memory_gb", " GB"),
        ("compressed memory", "compressed_gb", " GB"),
        ("other GPU processes", "other_gpu_processes", ""),
    ):
        if known := [value for state in states if (value := getattr(state, field)) is not None]:
            yield name, f"{min(known):.4g} to {max(known):.4g}{unit}"
    for name, field in (("thermal pressure", "thermal_pressure"), ("power", "power_source")):
        if words_said := _said(states, field):
            yield name, words_said


def _said(states: Sequence[MachineState], field: str) -> str:
    return ", ".join(sorted({value for state in states if (value := getattr(state, field)) is not None}))


def arms(capsule: Capsule) -> dict[str, tuple[Run, ...]]:
    """Return the timed runs of a capsule by the arm's name; the stock arms first."""
    return {group[0].arm: group for _, group in capsule.runs.by_role if group}


def failures(capsule: Capsule) -> list[str]:
    """Return how the variant's processes failed, a line each."""
    return [f"{run.status}: {said(run.message)}" for run in capsule.own_runs if run.message]
