"""Decode steps of a whole stack of layers, started by the host at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from .embedding import Embedding, Given
from .held import Held, Rows, Sequences


class StackSteps(ABC):
    """call(h (1, 1, D), caches, ...) -> the last norm (1, 1, D), as `Steps` is called.

    What is not served takes the model's own calls: more sequences than one, other caches than mlx-lm's plain one.
    """

    def __init__(self, stack: Any, size: int, rows: Rows, sequences: Sequences, embedding: Embedding) -> None:
        """`size` is D; `rows` is what a step appends to the caches of `sequences`; `embedding` makes h."""
        self._stack, self._size, self._rows, self._sequences = stack, size, rows, sequences
        self._embedding = embedding

    def __call__(self, h: mx.array, caches: Sequence[Any], **_: Any) -> Any:
        """Do a step; append to every cache."""
        if not self._serves(h, caches):
            return self._stock(h, caches)
        held = self._sequences.hold(caches)
        out = self._step(self._embedding.given(h), held)
        self._sequences.advance(caches, held)
        return out

    @abstractmethod
    def _step(self, given: Given, held: Held) -> mx.array:
        """Submit a step that appends a row to what is held, and return the last norm."""

    def _serves(self, h: mx.array, caches: Sequence[Any]) -> bool:
        return h.shape == (1, 1, self._size) and h.dtype == self._rows.dtype and self._rows.fit(caches)

    def _stock(self, h: mx.array, caches: Sequence[Any]) -> Any:
        for layer, cache in zip(self._stack.pipeline_layers, caches, strict=True):
            h = layer(h, None, cache)
        return self._stack.norm(h)
