"""The device that a measured process works on."""

from __future__ import annotations

import mlx.core as mx


def take(backend: str) -> None:
    """Make the device of `backend` (`cpu`, `cuda` or `metal`) MLX's default one.

    To be called before mlx-lm is imported, which makes the stream that it generates in as it is imported, on what is
    the default device then.
    """
    mx.set_default_device(mx.cpu if backend == "cpu" else mx.gpu)


def check_generation_stream() -> None:
    """Raise RuntimeError where mlx-lm generates on another device than the default one."""
    from mlx_lm.generate import generation_stream

    # Not every MLX says where a stream is.
    device = getattr(generation_stream, "device", mx.default_device())
    if device != mx.default_device():
        raise RuntimeError(f"mlx-lm generates on {device} and not on {mx.default_device()}: it was imported too early")
