# SPDX-License-Identifier: Apache-2.0
"""How an update is divided among codewords (spec 4.3), and how a payload holds them (4.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from reference.errors import Rejected

BLOCK = 64
LEAST_CHUNK = 1 << 18
MOST_CHUNKS = 64


@dataclass(frozen=True)
class Part:
    """The levels begin .. end-1 of one tensor."""

    tensor: int
    begin: int
    end: int


def divide(sizes: list[int]) -> list[list[Part]]:
    """Return the parts of each chunk, for tensors of these numbers of levels."""
    n_levels = sum(sizes)
    n_chunks = min(max(n_levels // LEAST_CHUNK, 1), MOST_CHUNKS)
    targets = [n_levels * c // n_chunks for c in range(1, n_chunks)]
    chunks: list[list[Part]] = [[]]
    start = 0  # of the tensor, in the levels of all tensors end to end
    for tensor, size in enumerate(sizes):
        begin = 0
        for target in targets:
            if start <= target < start + size:
                end = (target - start) // BLOCK * BLOCK
                if end > begin:
                    chunks[-1].append(Part(tensor, begin, end))
                begin = end
                chunks.append([])
        if size > begin:
            chunks[-1].append(Part(tensor, begin, size))
        start += size
    return chunks


def join(codewords: list[bytes]) -> bytes:
    """Return the payload that holds these codewords."""
    lengths = [struct.pack("<I", len(codeword)) for codeword in codewords[:-1]]
    return b"".join(lengths + codewords)


def split(payload: bytes, n_codewords: int) -> list[bytes]:
    """Return the codewords that a payload holds (rule 14)."""
    begin = 4 * (n_codewords - 1)
    if len(payload) < begin:
        raise Rejected("truncated", 14)
    codewords = []
    for (length,) in struct.iter_unpack("<I", payload[:begin]):
        if length > len(payload) - begin:
            raise Rejected("truncated", 14)
        codewords.append(payload[begin : begin + length])
        begin += length
    return [*codewords, payload[begin:]]
