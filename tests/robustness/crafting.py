# SPDX-License-Identifier: Apache-2.0
"""Hand-built packets: every field of spec 3 can be given, and is right where it is not."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from reference.errors import Rejected
from reference.packet import varint, with_checksum, with_content_digest
from reference.stream import StreamState, Tensor

import fl_deepcabac as dc


def fresh_digest(schema: dc.Schema, profile: int) -> bytes:
    """Return the digest of a fresh state, from the twin."""
    return StreamState(tensors_of(schema), profile).digest


def tensors_of(schema: dc.Schema) -> list[Tensor]:
    """Return the schema as the twin has it."""
    return [Tensor(spec.name, spec.dtype, spec.shape) for spec in schema.tensors]


def repaired(packet: bytes) -> bytes:
    """Return the packet with the length and the checksum it should have."""
    padded = packet.ljust(16, b"\0")
    return with_checksum(padded[:4] + struct.pack("<I", len(padded)) + padded[8:])


@dataclass
class Craft:
    """The fields of a packet in order; `None` means the right value."""

    schema: dc.Schema
    magic: bytes = b"FDC"
    version: int = 1
    length: int | None = None
    crc32: int | None = None
    flags: int | None = None
    number: int = 0
    schema_digest: bytes | None = None
    base_digest: bytes | None = None
    content: int | None = None
    exact_length: bytes | None = None
    exact: bytes = b""
    payload: bytes = b""

    def build(self) -> bytes:
        """Return the packet."""
        flags = self.flags
        if flags is None:
            flags = 0x01 | (0x04 if self.exact or self.exact_length else 0)
        exact = b""
        if flags & 0x04:
            exact = (self.exact_length or varint(len(self.exact))) + self.exact
        base = self.base_digest or fresh_digest(self.schema, flags >> 1 & 1)
        tail = bytes([flags]) + self.number.to_bytes(3, "little")
        tail += (self.schema_digest or self.schema.digest) + base
        content = self._content(tail, exact) if self.content is None else self.content
        tail += struct.pack("<I", content) + exact + self.payload
        length = 12 + len(tail) if self.length is None else self.length
        head = self.magic + bytes([self.version]) + struct.pack("<I", length)
        crc32 = zlib.crc32(head + bytes(4) + tail) if self.crc32 is None else self.crc32
        return head + struct.pack("<I", crc32) + tail

    def _content(self, tail: bytes, exact: bytes) -> int:
        """Return the digest of what the twin decodes; 0 where it refuses to."""
        body = tail + bytes(4) + exact + self.payload
        packet = with_checksum(b"FDC\x01" + struct.pack("<I", 12 + len(body)) + bytes(4) + body)
        state = StreamState(tensors_of(self.schema), tail[0] >> 1 & 1)
        try:
            return int.from_bytes(with_content_digest(state, packet)[32:36], "little")
        except Rejected:
            return 0
