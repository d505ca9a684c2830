"""Compare an exported checkpoint with the PyTorch model, and measure held-out bits per byte.

`python -m tools.train_tiny.check qwen3 CHECKPOINT IDS.npz TEXT` loads the checkpoint in MLX, gives its dequantised
weights to the PyTorch model (float32) and prints the differences of logits, then the bits per byte of every domain.
"""

import importlib
import math
import sys
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
import torch
import torch.nn.functional as F
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache

LENGTH = 1024


def dequantised(model: object) -> dict[str, torch.Tensor]:
    """The weights of an MLX model as float32 tensors under their names before quantisation."""
    found = dict(tree_flatten(model.parameters()))  # type: ignore[attr-defined]
    out = {}
    for name, value in found.items():
        if name.endswith((".scales", ".biases")):
            continue
        scales = found.get(name.removesuffix("weight") + "scales") if name.endswith("weight") else None
        if scales is not None:
            bits = value.shape[-1] * 32 // (scales.shape[-1] * 64)
            biases = found[name.removesuffix("weight") + "biases"]
            value = mx.dequantize(value, scales.astype(mx.float32), biases.astype(mx.float32), group_size=64, bits=bits)
        out[name] = torch.from_numpy(np.array(value.astype(mx.float32)))
    return out


def decoded(model: object, ids: list[int], start: int) -> np.ndarray:
    """MLX's logits of positions start.. one token at a time, as in generation."""
    cache = make_prompt_cache(model)
    mx.eval(model(mx.array([ids[:start]]), cache))  # type: ignore[operator]
    rows = [model(mx.array([[i]]), cache)[0, -1].astype(mx.float32) for i in ids[start:]]  # type: ignore[operator]
    return np.array(mx.stack(rows))


def compare(model: object, reference: torch.nn.Module, ids: list[int]) -> None:
    """Print how far MLX's logits, of a prefill and of decoding, are from PyTorch's float32 ones."""
    with torch.no_grad():
        truth = reference(torch.tensor([ids]))[0].numpy()
    prefill = np.array(model(mx.array([ids])).astype(mx.float32))[0]  # type: ignore[operator]
    start = len(ids) // 2
    for name, logits, expected in (("prefill", prefill, truth), ("decode", decoded(model, ids, start), truth[start:])):
        error = np.abs(logits - expected)
        agree = (logits.argmax(-1) == expected.argmax(-1)).mean()
        print(
            f"{name}: logits differ by {error.mean():.4f} on average, {error.max():.3f} at most; "
            f"top-1 agrees {agree:.3f}"
        )


def bits_per_byte(model: torch.nn.Module, stream: np.ndarray, size: int) -> float:
    """Bits per byte of a stream in windows of LENGTH; the first token of a window is given, its bytes count."""
    nats = 0.0
    with torch.no_grad():
        for start in range(0, len(stream), 4 * LENGTH):
            piece = torch.from_numpy(stream[start : start + 4 * LENGTH].astype(np.int64))
            for row in piece.split(LENGTH):
                if len(row) > 1:
                    nats += F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="sum").item()
    return nats / math.log(2) / size


def main(family: str, checkpoint: Path, streams: Path, text: Path) -> None:
    """Print both reports."""
    model, _ = mlx_lm.load(str(checkpoint))
    source = importlib.import_module(f"tools.train_tiny.model_{family}")
    reference = source.Model(source.CONFIG).eval()
    reference.load_state_dict(dequantised(model))
    arrays = np.load(streams)
    ids = arrays["passages"][0, :384].tolist()
    compare(model, reference, ids)
    model.set_dtype(mx.float32)
    print("the same with float32 activations")
    compare(model, reference, ids)
    total_bits, total_bytes = 0.0, 0
    for name in sorted(arrays.files):
        if name.startswith("held_"):
            size = (text / f"{name[5:]}.held.txt").stat().st_size
            figure = bits_per_byte(reference, arrays[name], size)
            print(f"{name[5:]}: {figure:.3f} bits per byte of {size} bytes", flush=True)
            total_bits, total_bytes = total_bits + figure * size, total_bytes + size
    print(f"total: {total_bits / total_bytes:.3f} bits per byte of {total_bytes} bytes")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
