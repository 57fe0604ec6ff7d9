# SPDX-License-Identifier: Apache-2.0
"""What both ends know and keep: schema (spec 2.1), digests (2.2), state and its bytes (10)."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from array import array
from dataclasses import dataclass

import zstandard

from reference.contexts import LevelContexts, TensorContexts
from reference.reconstruction import N_OFFSETS, NO_OFFSETS

ELEMENT_BYTES = {
    "bool": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
}


@dataclass(frozen=True)
class Tensor:
    """One line of a schema."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def n_elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def is_exact(self) -> bool:
        """Whether it travels exactly rather than as levels (2.1)."""
        return not self.dtype.startswith("float") or len(self.shape) == 0

    @property
    def n_bytes(self) -> int:
        """Size of the values as they are in memory."""
        return self.n_elements * ELEMENT_BYTES[self.dtype]


def digest(data: bytes) -> bytes:
    """Return BLAKE2b with eight bytes of output."""
    return hashlib.blake2b(data, digest_size=8).digest()


def schema_digest(schema: list[Tensor]) -> bytes:
    """Return the digest of a schema (2.2)."""
    lines = [[tensor.name, tensor.dtype, list(tensor.shape)] for tensor in schema]
    return digest(json.dumps(lines, separators=(",", ":"), ensure_ascii=True).encode("ascii"))


class TensorState:
    """Shape, last step, offsets and history of one tensor that travels as levels."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.n_rows, self.n_columns = shape[0], math.prod(shape[1:])
        if self.n_columns == 1:  # rank 1, or a column: one row (5.1)
            self.n_rows, self.n_columns = 1, self.n_rows
        self.step = 0
        self.offsets = NO_OFFSETS
        n_levels = self.n_rows * self.n_columns
        self.magnitudes = array("B", bytes(n_levels))
        self.signs = array("b", bytes(n_levels))


class LevelState:
    """Everything that sections 5 to 7 read and change."""

    def __init__(self, profile: int, shapes: list[tuple[int, ...]]) -> None:
        self.profile = profile
        self.tensor_contexts = TensorContexts()
        self.sets = [LevelContexts(profile), LevelContexts(profile)]
        self.tensors = [TensorState(shape) for shape in shapes]

    def to_bytes(self) -> bytes:
        """Return the bytes of 10.2."""
        n_levels = sum(len(tensor.magnitudes) for tensor in self.tensors)
        parts = [struct.pack("<BBIQ", 1, self.profile, len(self.tensors), n_levels)]
        parts.append(self.tensor_contexts.to_bytes())
        parts += [one_set.to_bytes() for one_set in self.sets]
        parts += [struct.pack("<I", tensor.step) for tensor in self.tensors]
        parts += [struct.pack(f"<{N_OFFSETS}b", *tensor.offsets) for tensor in self.tensors]
        parts += [tensor.magnitudes.tobytes() for tensor in self.tensors]
        parts += [tensor.signs.tobytes() for tensor in self.tensors]
        return b"".join(parts)


class StreamState:
    """A level state with its name and its place in the stream."""

    def __init__(self, schema: list[Tensor], profile: int) -> None:
        self.schema = schema
        self.schema_digest = schema_digest(schema)
        self.n_packets = 0
        self.digest = digest(b"fl_deepcabac fresh" + bytes([profile]) + self.schema_digest)
        self.levels = LevelState(profile, [t.shape for t in schema if not t.is_exact])

    def move_on(self, packet: bytes) -> None:
        """Take the name of the state after a packet (2.2)."""
        self.digest = digest(self.digest + packet)
        self.n_packets += 1

    def to_bytes(self) -> bytes:
        """Return the bytes of 10.1; the compressed frame may differ from another encoder's."""
        frame = zstandard.ZstdCompressor().compress(self.levels.to_bytes())
        length = 41 + len(frame)
        head = b"FDS" + struct.pack("<BBQQ", 1, self.levels.profile, length, self.n_packets)
        head += self.digest + self.schema_digest
        checksum = zlib.crc32(head + bytes(4) + frame)
        return head + struct.pack("<I", checksum) + frame
