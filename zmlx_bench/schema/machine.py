"""What is known of the machine: fixed facts of a session, and its state around each process. Unknown is null."""

from __future__ import annotations

from zmlx_bench.schema.base import Backend, Count, NonEmpty, NonNegative, Positive, StrictModel


class Machine(StrictModel):
    """Facts that do not change during a session."""

    device: NonEmpty
    """Name of the GPU, on a Mac with its cores, or on the cpu backend of the CPU with the cores that may be used;
    part of the key that groups evidence."""
    backend: Backend
    os: NonEmpty
    arch: NonEmpty
    cpu: str | None = None
    cpu_count: Positive | None = None
    cores: Positive | None = None
    """CPU cores that processes here may use, which part of a machine may be; null in evidence of version 1."""
    memory_gb: NonNegative | None = None
    """What processes here may use: all that the machine has, or less where something limits it."""
    memory_limited_by: NonEmpty | None = None
    """What limits `memory_gb`, such as the control group of a container; null where nothing does."""
    gpu_memory_gb: NonNegative | None = None
    """On CUDA the GPU's own; on Metal the working set that it recommends at most."""
    wired_limit_gb: NonNegative | None = None
    """macOS: what somebody set `iogpu.wired_limit_mb` to; null for macOS's own limit, and elsewhere."""
    gpu_driver: str | None = None


def cores_told(device: str, cores: int | None) -> tuple[str, ...]:
    """Return `16 cores` where they tell two hosts of one device apart; nothing where `device` ends with them."""
    if cores is None:
        return ()
    words = f"{cores} core{'' if cores == 1 else 's'}"
    return () if device.endswith((f"({words})", f" {words})")) else (words,)


class MachineState(StrictModel):
    """State just before or after a process."""

    load_average: NonNegative | None = None
    """One-minute load average."""
    cpu_busy_by_others: NonNegative | None = None
    """Cores that other processes kept busy while the worker ran; only in the state after it."""
    cpu_mhz: NonNegative | None = None
    gpu_mhz: NonNegative | None = None
    temperature_c: float | None = None
    """GPU temperature on CUDA; the hottest CPU sensor elsewhere."""
    thermal_pressure: str | None = None
    """macOS: nominal, moderate, heavy, trapping or sleeping."""
    power_source: str | None = None
    """`ac` or `battery`."""
    available_memory_gb: NonNegative | None = None
    compressed_gb: NonNegative | None = None
    """macOS: memory that its compressor takes; null elsewhere."""
    other_gpu_processes: Count | None = None
    throttled: bool | None = None
    """Whether the platform says that it holds the clocks back; null where it does not say."""
