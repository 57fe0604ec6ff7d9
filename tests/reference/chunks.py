# SPDX-License-Identifier: Apache-2.0
"""How an update is divided among codewords (spec 4.3), and how a payload holds them (4.2)."""

from __future__ import annotations

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
    n_chunks = min(1 << max(n_levels // LEAST_CHUNK, 1).bit_length() - 1, MOST_CHUNKS)
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


def varint(value: int) -> bytes:
    """Return a number in the shortest form of 4.1."""
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


def join(codewords: list[bytes]) -> bytes:
    """Return the payload that holds these codewords."""
    return b"".join([varint(len(codeword)) for codeword in codewords[:-1]] + codewords)


def split(payload: bytes, n_codewords: int) -> list[bytes]:
    """Return the codewords that a payload holds (rule 14)."""
    begin = 0
    lengths = []
    for _ in range(n_codewords - 1):
        length, begin = read_varint(payload, begin)
        lengths.append(length)
    codewords = []
    for length in lengths:
        if length > len(payload) - begin:
            raise Rejected("truncated", 14)
        codewords.append(payload[begin : begin + length])
        begin += length
    return [*codewords, payload[begin:]]


def read_varint(payload: bytes, begin: int) -> tuple[int, int]:
    """Return a number in the form of 4.1, and where it ends."""
    value = 0
    for n_bytes in range(5):
        if begin + n_bytes >= len(payload):
            raise Rejected("truncated", 14)
        byte = payload[begin + n_bytes]
        value |= (byte & 0x7F) << 7 * n_bytes
        if byte < 0x80:
            if (byte == 0 and n_bytes) or value >= 1 << 32:
                break
            return value, begin + n_bytes + 1
    raise Rejected("corrupt", 14)
