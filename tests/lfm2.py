"""A small random checkpoint of the example family, on disk and in memory, and a workspace that holds the example."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mlx.utils import tree_flatten
from mlx_lm.utils import load_model as load_model
from mlx_lm.utils import save_model

from zmlx_bench.catalog import families
from zmlx_bench.checkpoints.resolve import TOKENIZER
from zmlx_bench.measured import synthetic
from zmlx_bench.measured.families import loading as loading
from zmlx_bench.measured.families.base import Family
from zmlx_bench.workspace import Workspace

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "new_family"
NAME = "my_lfm2"
SIZES: dict[str, Any] = {
    "vocab_size": 1600, "hidden_size": 128, "intermediate_size": 128, "moe_intermediate_size": 64,
    "num_hidden_layers": 4, "num_dense_layers": 1, "num_experts": 8, "num_experts_per_tok": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096, "full_attn_idxs": [1, 3],
}  # fmt: skip
MOE_LAYERS, ATTENTIONS = 3, 2


def add(workspace: Workspace) -> Family:
    """Copy the example's three files into the workspace, as its page says; return the family."""
    shutil.copytree(EXAMPLE / "families", workspace.families, dirs_exist_ok=True)
    shutil.copytree(EXAMPLE / "variants", workspace.variants, dirs_exist_ok=True)
    return loading.load(families.folder(NAME, workspace))


def save(family: Family, folder: Path) -> Any:
    """Write a checkpoint of random weights with a tokenizer to `folder`; return the model."""
    model = synthetic.build(family, 7, sizes=SIZES)
    save_model(folder, model)
    bits = {"group_size": synthetic.GROUP_SIZE, "bits": synthetic.BITS}
    eight = {path.removesuffix(".scales"): {"group_size": 64, "bits": 8} for path in _gates(model)}
    config = {**family.facts["config"], **SIZES, "quantization": {**bits, **eight}}
    (folder / "config.json").write_text(json.dumps(config))
    for path in TOKENIZER.iterdir():
        shutil.copy(path, folder)
    return model


def _gates(model: Any) -> list[str]:
    return [path for path, _ in tree_flatten(model.parameters()) if path.endswith("feed_forward.gate.scales")]
