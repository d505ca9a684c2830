"""The checkpoint of version 1, whose identity was a kind with 16 hex digits over config, weights and tokenizer."""

from __future__ import annotations

from typing import Any

from zmlx_bench.schema.migrations.plain import Plain, renamed, without

DIGESTS = {
    "synthetic-af7ee767d71e06e0": "af7ee767d71e06e07f06f8508ac1ec5c15d97ab656ef7ae913d87172355a7e7c",
    "synthetic-c912a85904c4554e": "c912a85904c4554e223310d7880254eb48135dc85e95b8c4c04063d4c2b45fb2",
    "tiny-573a875a673f11cc": "8836fde8c31276c93eb5931111f1b0ba869803c909f77a664559819f48fbe851",
    "tiny-c55a9bc1e136490e": "c0fea9c306547729e823ab94c3e563494a02236eda2ddabed6a5804d08726465",
}
"""Of the checkpoints whose evidence of version 1 landed: the shipped ones, and those that a recorded recipe makes."""


def digest_of(checkpoint_id: Any) -> Any:
    """Return the digest of a checkpoint of version 1; its old identity stands for one that nobody can compute now."""
    return DIGESTS.get(checkpoint_id, checkpoint_id) if isinstance(checkpoint_id, str) else checkpoint_id


def update_to_2(checkpoint: Plain) -> Plain:
    """`id` becomes `digest`; the hash over weights and tokenizer together, which nothing compares any more, goes."""
    changed = renamed(without(checkpoint, "weights_sha256"), "id", "digest")
    return {**changed, "digest": digest_of(changed["digest"])} if "digest" in changed else changed
