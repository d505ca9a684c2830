"""Tools of macOS as scripts that print what the real ones do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def tool(folder: Path, name: str, script: str) -> Path:
    """Put an executable shell script into `folder`."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, **scripts: str) -> None:
    """Let this process take the machine for a Mac with these tools; `mlx` is what MLX's own process prints."""
    for name, script in scripts.items():
        tool(folder, name, script)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(sys, "executable", str(folder / "mlx"))


SYSCTL = """case "$2" in
  machdep.cpu.brand_string) echo "Apple M4 Max" ;;
  iogpu.wired_limit_mb) echo "${WIRED_MB:-0}" ;;
  *) echo "sysctl: unknown oid '$2'" >&2; exit 1 ;;
esac"""

IOREG = """cat <<'END'
+-o AGXAcceleratorG16X  <class AGXAcceleratorG16X, id 0x1000004e6, registered, matched, active, busy 0 (0 ms)>
    {
      "IOClass" = "AGXAcceleratorG16X"
      "MetalPluginClassName" = "AGXG16XDevice"
      "IOPowerManagement" = {"DevicePowerState"=2,"CurrentPowerState"=2,"CapabilityFlags"=2,"MaxPowerState"=2}
      "gpu-core-count" = 32
      "model" = "Apple M4 Max"
      "GPUConfigurationVariable" = {"num_gps"=6,"gpu_gen"=16,"num_cores"=32,"num_mgpus"=1}
    }
END"""
