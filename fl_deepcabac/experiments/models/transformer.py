# SPDX-License-Identifier: Apache-2.0
"""A small causal transformer over characters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

__all__ = ["CharTransformer"]

LinearBuilder = Callable[[int, int], nn.Module]

# Of embeddings and positions; whatever it is, the first normalisation makes up for it.
INITIAL_SPREAD = 0.02


class Block(nn.Module):
    """Causal attention and a perceptron, each normalised before and added to its input.

    Parameters
    ----------
    width : int
        Features per position; a multiple of `n_heads`.
    n_heads : int
        Heads of the attention.
    linear : callable
        Builds the four linear layers from their numbers of inputs and outputs.
    """

    def __init__(self, width: int, n_heads: int, linear: LinearBuilder) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ln1 = nn.LayerNorm(width)
        self.qkv = linear(width, 3 * width)
        self.proj = linear(width, width)
        self.ln2 = nn.LayerNorm(width)
        self.up = linear(width, 4 * width)
        self.down = linear(4 * width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape, (n, length, width)."""
        hidden = hidden + self._attend(self.ln1(hidden))
        added: torch.Tensor = self.down(functional.gelu(self.up(self.ln2(hidden))))
        return hidden + added

    def _attend(self, hidden: torch.Tensor) -> torch.Tensor:
        """Mix each position with those before it."""
        n, length, width = hidden.shape
        per_head = (n, length, 3, self.n_heads, width // self.n_heads)
        query, key, value = self.qkv(hidden).view(per_head).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        projected: torch.Tensor = self.proj(mixed.transpose(1, 2).reshape(n, length, width))
        return projected


class CharTransformer(nn.Module):
    """Tell the next character at every position.

    Parameters
    ----------
    n_characters : int
        Size of the vocabulary.
    length : int
        Longest sequence. Unit: characters.
    width, n_layers, n_heads : int
        Features per position, blocks, and heads of each.
    linear : callable
        Builds the linear layers of the blocks.

    Notes
    -----
    Positions are learnt, the output is not tied to the embedding, and nothing is dropped at random.
    For 63 characters and sequences of 80 there are 327 327 weights.
    """

    def __init__(
        self,
        *,
        n_characters: int,
        length: int,
        width: int = 112,
        n_layers: int = 2,
        n_heads: int = 4,
        linear: LinearBuilder = nn.Linear,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_characters, width)
        self.positions = nn.Parameter(torch.empty(length, width))
        self.blocks = nn.ModuleList(Block(width, n_heads, linear) for _ in range(n_layers))
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_characters)
        for weights in (self.embedding.weight, self.positions):
            nn.init.normal_(weights, std=INITIAL_SPREAD)

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        """Return scores of what follows, (n, length, n_characters), of indices (n, length)."""
        hidden = self.embedding(characters) + self.positions[: characters.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        scores: torch.Tensor = self.head(self.ln(hidden))
        return scores
