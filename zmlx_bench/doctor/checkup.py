"""Observations of a machine's fitness to measure, each with its remedy."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from pathlib import Path
from typing import Literal

import psutil

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints import hub
from zmlx_bench.checkpoints.resolve import FILLED
from zmlx_bench.errors import CannotHere, ZmlxError
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import memory, metal, state
from zmlx_bench.machine.command import output_of
from zmlx_bench.machine.tested import TESTED
from zmlx_bench.schema.base import Backend, NonEmpty, StrictModel
from zmlx_bench.workspace import Workspace

_ENOUGH_GB = 2.0
_QUIET_LOAD = 0.5
_SWAPPED_GB = 1.0
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class Observation(StrictModel):
    """One thing looked at."""

    subject: NonEmpty
    level: Literal["good", "note", "problem"]
    """A note weakens measurements or limits what can be run; a problem prevents measuring."""
    found: NonEmpty
    remedy: str = ""


def observations(workspace: Workspace | None = None) -> list[Observation]:
    """Look at everything and return what was found, in a fixed order; `workspace` may have families of its own."""
    try:
        backend = backends.choose("auto")
    except CannotHere as error:
        return [
            Observation(subject="backend", level="problem", found="none runs here", remedy=str(error)),
            *_versions(),
        ]
    now = state.read(backend)
    return [
        Observation(subject="backend", level="good", found=backend),
        *_other_backends(),
        *_versions(),
        _memory(),
        *_wired(backend),
        *_compressor(),
        _load(now.load_average),
        _power(now.power_source),
        *_saving(),
        _heat(now.thermal_pressure, now.temperature_c, now.throttled),
        *_gpu(now.other_gpu_processes),
        _compiler(),
        hub_cache(hub_folder(), workspace),
    ]


def _other_backends() -> list[Observation]:
    return [
        Observation(subject=f"backend {name}", level="note", found="not on this machine", remedy=reason)
        for name in ("metal", "cuda")
        if (reason := backends.why_not(backends.named(name))) is not None
    ]


def _versions() -> list[Observation]:
    found: list[Observation] = []
    for name, tested in TESTED.items():
        version = backends.installed(name)
        if version is not None and version in tested:
            found.append(Observation(subject=name, level="good", found=f"{version} (tested: {tested})"))
        else:
            remedy = f"make setup, or pip install '{name}=={tested.newest}': roundings differ between versions"
            text = f"{version or 'not installed'}; zmlx was tested with {tested}"
            found.append(
                Observation(subject=name, level="problem" if version is None else "note", found=text, remedy=remedy)
            )
    return found


def _memory() -> Observation:
    here = memory.read()
    found = f"{here.available_gb:.1f} of {here.total_gb:.1f} GB free"
    closing = "close other programs"
    if here.limited_by is not None:
        found += f" ({here.limited_by}; the machine has {here.machine_gb:.1f} GB)"
        closing += ", or raise the container's memory limit"
    if here.available_gb < _ENOUGH_GB:
        text = f"{found}; even a tiny session wants {_ENOUGH_GB:g} GB"
        return Observation(subject="memory", level="problem", found=text, remedy=closing)
    if (swapped := psutil.swap_memory().used / 1e9) > _SWAPPED_GB:
        text = f"{found}, but {swapped:.1f} GB are swapped out"
        remedy = "close other programs: weights that are swapped out are read from the disk while decoding"
        return Observation(subject="memory", level="note", found=text, remedy=remedy)
    return Observation(subject="memory", level="good", found=found)


def _wired(backend: Backend) -> list[Observation]:
    """Say what Metal lets the GPU use, and whether the published checkpoints fit that; nothing elsewhere."""
    usable = metal.usable_memory_gb() if backend == "metal" else None
    if usable is None:
        return []
    limit = metal.wired_limit_gb()
    by = "macOS's own limit" if limit is None else f"iogpu.wired_limit_mb is set to {limit:.1f} GB"
    found = f"Metal recommends at most {usable:.1f} GB ({by})"
    largest = max(families.facts(name).memory_gb for name in families.usual())
    if largest <= usable * FILLED:
        return [Observation(subject="wired limit", level="good", found=found)]
    remedy = (
        "sudo sysctl iogpu.wired_limit_mb=N raises it until the next start; leave some GB to the system, or use "
        "--checkpoint tiny"
    )
    text = f"{found}; the published checkpoints take up to {largest:g} GB"
    return [Observation(subject="wired limit", level="note", found=text, remedy=remedy)]


def _compressor() -> list[Observation]:
    """Say how much memory macOS's compressor takes; nothing elsewhere."""
    taken = metal.compressed_gb() if sys.platform == "darwin" else None
    if taken is None:
        return []
    found = f"takes {taken:.1f} GB"
    if taken <= _SWAPPED_GB:
        return [Observation(subject="memory compressor", level="good", found=found)]
    remedy = "close other programs, or restart: what is compressed while a session runs makes it INCONCLUSIVE"
    return [Observation(subject="memory compressor", level="note", found=found, remedy=remedy)]


def _load(load: float | None) -> Observation:
    if load is None:
        text = "this platform does not say"
        return Observation(subject="background load", level="note", found=text, remedy="close what you do not need")
    found = f"{load:.2f} processes running or waiting (one minute)"
    on_mac = sys.platform == "darwin"
    busy = busiest_processes() if on_mac or load > _QUIET_LOAD else []
    # An idle Mac has a load average of 1 to 3: there the processes tell whether anything works.
    if not busy if on_mac else load <= _QUIET_LOAD:
        return Observation(subject="background load", level="good", found=found)
    busiest = ", ".join(f"{name} ({share:.0%} of a core)" for name, share in busy)
    remedy = "let other work end, or stop it, before measuring: noise widens intervals until nothing can be decided"
    text = f"{found}; busiest now: {busiest}" if busiest else found
    return Observation(subject="background load", level="note", found=text, remedy=remedy)


def busiest_processes(most: int = 3, window_s: float = 0.2) -> list[tuple[str, float]]:
    """Return the names of the processes that use most of a core over `window_s`, with their shares; ours is left out.

    Only those above a tenth of a core, and those that we may look at.
    """
    before: dict[int, float] = {}
    found: list[tuple[str, float]] = []
    mine = psutil.Process().pid
    for process in psutil.process_iter(["pid", "cpu_times"]):
        if process.info["cpu_times"] is not None and process.pid != mine:
            before[process.pid] = process.info["cpu_times"].user + process.info["cpu_times"].system
    time.sleep(window_s)
    for process in psutil.process_iter(["pid", "name", "cpu_times"]):
        if process.info["cpu_times"] is not None and process.pid in before:
            used = process.info["cpu_times"].user + process.info["cpu_times"].system - before[process.pid]
            found.append((process.info["name"], used / window_s))
    return sorted((one for one in found if one[1] > 0.1), key=lambda one: -one[1])[:most]


def _power(source: str | None) -> Observation:
    if source == "battery":
        remedy = "plug in the power supply: on battery the clocks are lowered"
        return Observation(subject="power", level="note", found="on battery", remedy=remedy)
    return Observation(subject="power", level="good", found="plugged in" if source == "ac" else "no battery")


def _saving() -> list[Observation]:
    """Return a note where the system is set to save power."""
    if sys.platform == "darwin":
        settings = output_of("pmset", "-g") or ""
        if any(line.split() == ["lowpowermode", "1"] for line in settings.splitlines()):
            remedy = "System Settings > Battery > Low Power Mode: Never"
            return [Observation(subject="low power mode", level="note", found="on", remedy=remedy)]
        return []
    try:
        governor = _GOVERNOR.read_text(encoding="utf-8").strip()
    except OSError:
        return []
    if governor != "powersave":
        return []
    remedy = "sudo cpupower frequency-set -g performance"
    return [Observation(subject="CPU governor", level="note", found="powersave", remedy=remedy)]


def _gpu(others: int | None) -> list[Observation]:
    if not others:
        return []
    remedy = "end them (nvidia-smi lists them): they take time and memory from what is measured"
    return [Observation(subject="GPU", level="note", found=f"{others} other processes use it", remedy=remedy)]


def measuring(who: str | None) -> Observation:
    """Say whether another command measures on the device; `who` is that, such as `process 123`."""
    if who is None:
        return Observation(subject="device", level="good", found="nothing else of zmlx measures on it")
    remedy = "wait until it has ended: another session is refused meanwhile, unless with --share-device"
    return Observation(subject="device", level="note", found=f"{who} measures on it", remedy=remedy)


def _heat(pressure: str | None, temperature: float | None, throttled: bool | None) -> Observation:
    if pressure is None and temperature is None and throttled is None:
        remedy = "none needed while the blocks of a session agree; else leave pauses: zmlx run ... --cooldown 30"
        return Observation(subject="heat", level="note", found="this platform does not say", remedy=remedy)
    reading = pressure or (f"{temperature:g} C" if temperature is not None else "no temperature known")
    if throttled:
        return Observation(
            subject="heat",
            level="note",
            found=f"{reading}; clocks are held back",
            remedy="let it cool down, or have sessions wait for it: zmlx run ... --cooldown cool",
        )
    return Observation(subject="heat", level="good", found=reading)


def _compiler() -> Observation:
    mac = sys.platform == "darwin"
    # A Mac has a `c++` that only asks to install the tools.
    ready = not mac or output_of("xcode-select", "-p") is not None
    for name in ("c++", "g++", "clang++"):
        if ready and shutil.which(name):
            return Observation(subject="C++ compiler", level="good", found=name)
    how = "xcode-select --install" if mac else "install g++ (Debian: apt-get install g++), then make setup"
    needed = "MLX compiles its fused CPU kernels with it while running, and the native kernels need it"
    return Observation(subject="C++ compiler", level="note" if mac else "problem", found=f"none; {needed}", remedy=how)


def hub_folder() -> Path:
    """Return the folder of the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def hub_cache(folder: Path, workspace: Workspace | None = None) -> Observation:
    """Say which published checkpoints lie in the hub's cache at `folder`, and what to do for the others.

    Of the families that are meant where none is named; one whose facts cannot be read has none, and says so where
    it is used.
    """
    wanted: list[families.FamilyFacts] = []
    for name in families.usual(workspace):
        with contextlib.suppress(ZmlxError):
            wanted.append(families.facts(name, workspace))
    missing = [one for one in wanted if hub.cached(one.hub_id, cache=folder) is None]
    if not missing:
        return Observation(subject="hub cache", level="good", found="every published checkpoint is here")
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    room = shutil.disk_usage(existing).free / 1e9
    *others, last = [f"{one.hub_id} ({one.memory_gb:g} GB)" for one in missing]
    get = " and ".join(f"hf download {one.hub_id}" for one in missing)
    if room < sum(one.memory_gb for one in missing):
        get = f"free disk space ({room:.0f} GB are free at the cache; HF_HOME moves it), then {get}"
    remedy = f"to measure the published models: {get}; until then --checkpoint tiny needs none"
    names = f"{', '.join(others)} and {last}" if others else last
    return Observation(subject="hub cache", level="note", found=f"does not hold {names}", remedy=remedy)
