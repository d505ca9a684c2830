"""Train one tiny model, the learning rate and the phases following the clock.

`python -m tools.train_tiny.train qwen3 --ids ids.npz --out DIR --minutes 3.5`. First the corpus alone; then, with
simulated 4-bit weights, the corpus together with chats and the passages that answer the default prompts.
"""

import argparse
import importlib
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Windows drawn per domain, as a multiple of its size: the Chinese text is small.
EXTRA = {"train_chinese": 3.0, "train_mathematics": 0.7}
QUANTISED_FROM = 0.6
BALANCED_UNTIL = 0.9
PEAK, DROPOUT, BALANCE = 3e-3, 0.1, 0.01
ROWS = 16
PARTS = 2


class Batches:
    """Random windows of the training streams, and rows of chats, on the device."""

    def __init__(self, ids: dict[str, np.ndarray], device: str, scale: int, passage_rows: int) -> None:
        tensors = {name: torch.from_numpy(array.astype(np.int64)).to(device) for name, array in ids.items()}
        names = [name for name in tensors if name.startswith("train_")]
        self.streams = [tensors[name] for name in names]
        weights = torch.tensor([len(tensors[name]) * EXTRA.get(name, 1.0) for name in names])
        self.weights = weights / weights.sum()
        self.passages, self.chats = tensors["passages"], tensors["chats"]
        self.held = {name: tensors[name] for name in tensors if name.startswith("held_")}
        self.scale, self.device, self.passage_rows = scale, device, passage_rows

    def corpus(self, rows: int, length: int) -> Tensor:
        """`rows` windows of length + 1 ids."""
        out = []
        counts = torch.multinomial(self.weights, rows, replacement=True).bincount(minlength=len(self.streams))
        for stream, count in zip(self.streams, counts.tolist(), strict=True):
            if count:
                starts = torch.randint(len(stream) - length - 1, (count, 1), device=self.device)
                out.append(stream[starts + torch.arange(length + 1, device=self.device)])
        return torch.cat(out)

    def first(self) -> tuple[Tensor, int]:
        """A batch of the first phase, and how many of its leading rows are passages."""
        return self.corpus(32 // self.scale, 1024), 0

    def second(self) -> tuple[Tensor, int]:
        """A batch of the second phase, and how many of its leading rows are passages."""

        def rows(table: Tensor, count: int) -> Tensor:
            return table[torch.randint(len(table), (count,), device=self.device)]

        length = self.passages.shape[1] - 1
        passages, chats = max(self.passage_rows // self.scale, 1), max(2 // self.scale, 1)
        corpus = ROWS // self.scale - passages - chats
        parts = (rows(self.passages, passages), rows(self.chats, chats), self.corpus(max(corpus, 1), length))
        return torch.cat(parts), passages


def corrupted(ids: Tensor, rows: int, share: float) -> Tensor:
    """A copy with a share of wrong ids in the first `rows` rows: a passage must survive a slip of its own."""
    wrong = ids[:rows].roll(7, 1)
    ids = ids.clone()
    ids[:rows] = torch.where(torch.rand(wrong.shape, device=ids.device) < share, wrong, ids[:rows])
    return ids


def loss_of(
    model: torch.nn.Module, ids: Tensor, smoothed: int = 0, smoothing: float = 0.0, corrupt: float = 0.0
) -> Tensor:
    """Mean cross-entropy in nats; the first `smoothed` rows with smoothed labels, so that margins stay natural."""
    with torch.autocast(ids.device.type, torch.bfloat16):
        logits = model(corrupted(ids, smoothed, corrupt)[:, :-1])
    logits, target = logits.float(), ids[:, 1:]
    parts = []
    if smoothed:
        low, aim = logits[:smoothed].flatten(0, 1), target[:smoothed].flatten()
        parts.append(F.cross_entropy(low, aim, reduction="sum", label_smoothing=smoothing))
    parts.append(F.cross_entropy(logits[smoothed:].flatten(0, 1), target[smoothed:].flatten(), reduction="sum"))
    return torch.stack(parts).sum() / target.numel()


@torch.no_grad()
def held_out(model: torch.nn.Module, batches: Batches, length: int = 1024) -> str:
    """Nats per token of each held-out stream and the share of passage tokens that greedy decoding gets right."""
    model.eval()
    report = []
    for name, stream in batches.held.items():
        rows = stream[: (len(stream) - 1) // length * length + 1]
        windows = rows.unfold(0, length + 1, length)[: 64 // batches.scale]
        report.append(f"{name[5:]} {loss_of(model, windows).item():.3f}")
    with torch.autocast(batches.device, torch.bfloat16):
        rows = batches.passages[:5, :1400]
        right = (model(rows[:, :-1]).argmax(-1) == rows[:, 1:]).float().mean(1)
    model.train()
    return " ".join(report) + " | passages " + " ".join(f"{share:.3f}" for share in right.tolist())


def save(model: torch.nn.Module, out: Path) -> None:
    """Weights as bf16 (the correction bias as float32), in PARTS files."""
    out.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.cpu() if name.endswith("correction_bias") else value.bfloat16().cpu()
        for name, value in model.state_dict().items()
    }
    names = sorted(state)
    for part in range(PARTS):
        torch.save({name: state[name] for name in names[part::PARTS]}, out / f"part{part}.pt")


def main() -> None:
    """Train until the time is up, then save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("family", choices=("qwen3", "glm47"))
    parser.add_argument("--ids", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.5)
    parser.add_argument("--scale", type=int, default=1, help="divide the batch, to try it on a CPU")
    parser.add_argument("--passage-rows", type=int, default=2, help="rows of a batch of 16 that are passages")
    parser.add_argument("--smoothing", type=float, default=0.05, help="label smoothing of the passages")
    parser.add_argument("--corrupt", type=float, default=0.0, help="share of wrong ids in the passages read")
    args = parser.parse_args()
    torch.manual_seed(5)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = importlib.import_module(f"tools.train_tiny.model_{args.family}")
    model = source.Model(source.CONFIG, DROPOUT).to(device)
    batches = Batches(dict(np.load(args.ids)), device, args.scale, args.passage_rows)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=PEAK,
        betas=(0.9, 0.95),
        fused=device == "cuda",
    )
    start, step, shown, tokens = time.monotonic(), 0, 0.0, 0
    while (progress := (time.monotonic() - start) / (args.minutes * 60)) < 1:
        rate = PEAK * min(1.0, (step + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.switch.on = progress >= QUANTISED_FROM
        ids, smoothed = batches.second() if model.switch.on else batches.first()
        loss = loss_of(model, ids, smoothed, args.smoothing, args.corrupt)
        (loss + BALANCE * model.balance_loss()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if progress < BALANCED_UNTIL:
            model.after_step()
        step, tokens = step + 1, tokens + ids.numel()
        if progress >= shown:
            shown += 0.1
            print(f"{progress:.2f} {step=} {tokens=} {loss.item():.3f} {held_out(model, batches)}", flush=True)
    model.switch.on = True
    print(f"end {step=} {tokens=} {held_out(model, batches)}", flush=True)
    save(model, args.out)


if __name__ == "__main__":
    main()
