"""Make an mlx-lm checkpoint of trained weights: quantised with MLX as the published checkpoints are.

`python -m tools.train_tiny.export qwen3 WEIGHTS TOKENIZER OUT` (needs mlx-lm and torch).
"""

import importlib
import json
import shutil
import sys
from pathlib import Path

import mlx.core as mx
import torch
from mlx_lm.models import glm4_moe_lite, qwen3_moe
from mlx_lm.utils import quantize_model, save_model

ARCHITECTURE = {"qwen3": qwen3_moe, "glm47": glm4_moe_lite}


def to_mlx(value: torch.Tensor) -> mx.array:
    """The same numbers in MLX, bf16 or float32."""
    kept = mx.float32 if value.dtype == torch.float32 else mx.bfloat16
    return mx.array(value.float().numpy()).astype(kept)


def main(family: str, weights: Path, tokenizer: Path, out: Path) -> None:
    """Quantise and write config.json, model.safetensors and the tokenizer's files."""
    config = dict(importlib.import_module(f"tools.train_tiny.model_{family}").CONFIG)
    architecture = ARCHITECTURE[family]
    model = architecture.Model(architecture.ModelArgs.from_dict(config))
    state: dict[str, torch.Tensor] = {}
    for part in sorted(weights.glob("part*.pt")):
        state |= torch.load(part, weights_only=True)
    model.load_weights([(name, to_mlx(value)) for name, value in state.items()], strict=True)
    model.eval()
    predicate = getattr(model, "quant_predicate", None)
    model, config = quantize_model(model, config, 64, 4, quant_predicate=predicate)
    mx.eval(model.parameters())
    out.mkdir(parents=True, exist_ok=True)
    save_model(out, model)
    (out / "model.safetensors.index.json").unlink(missing_ok=True)
    config.pop("quantization_config", None)
    (out / "config.json").write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, out / name)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
