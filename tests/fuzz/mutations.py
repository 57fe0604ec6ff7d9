# SPDX-License-Identifier: Apache-2.0
"""Inputs from inputs, without an engine: the same ones for a seed, on every machine."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from fuzz.corpus import read_dictionary

__all__ = ["mutations"]

# Changes pile up so deep, then another input is taken.
MAX_DEPTH = 8
BYTES = 256


def mutations(corpus: Sequence[bytes], *, seed: int) -> Iterator[bytes]:
    """Yield inputs without end: small changes to those of a corpus, and their changes."""
    draw = random.Random(seed)
    while True:
        data = draw.choice(corpus)
        for _ in range(draw.randint(1, MAX_DEPTH)):
            data = _mutate(data, corpus, draw)
            yield data


def _mutate(data: bytes, corpus: Sequence[bytes], draw: random.Random) -> bytes:
    """Change one thing: a byte, a bit, a token of the dictionary, the length, or the rest."""
    begin, kind = draw.randint(0, len(data)), draw.randrange(7)
    before, behind = data[:begin], data[begin:]
    if kind == 0:
        return before + bytes([draw.randrange(BYTES)]) + behind[1:]
    if kind == 1 and behind:
        return before + bytes([behind[0] ^ 1 << draw.randrange(8)]) + behind[1:]
    if kind == 2:
        return before + draw.randbytes(draw.randint(1, 8)) + behind
    if kind == 3:
        return before + behind[draw.randint(1, 8) :]
    if kind == 4:
        other = draw.choice(corpus)
        return before + other[draw.randint(0, len(other)) :]
    token = draw.choice(read_dictionary())
    return before + token + behind[len(token) if kind == 5 else 0 :]
