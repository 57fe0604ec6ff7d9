# SPDX-License-Identifier: Apache-2.0
"""The packet: one update on the wire (spec 3 and 4).

A header of 36 bytes, the exact tensors, the payload of the levels. Every byte is accounted for, and
the header is checked in the order that the specification gives, before anything is allocated.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from fl_deepcabac.config import Profile
from fl_deepcabac.errors import (
    CorruptPacketError,
    LimitExceededError,
    SchemaMismatchError,
    TruncatedPacketError,
    UnsupportedVersionError,
)
from fl_deepcabac.exact_section import (
    MAX_LENGTH_BYTES,
    check_bools,
    locate_exact,
    unpack_exact,
    write_exact,
)
from fl_deepcabac.schema import Schema

__all__ = [
    "FORMAT_VERSION",
    "HEADER_BYTES",
    "PacketHeader",
    "ParsedPacket",
    "inspect_packet",
    "parse_packet",
    "write_packet",
]

MAGIC = b"FDC"
FORMAT_VERSION = 1
# magic, version, total length, CRC-32, flags and number, schema digest, base state digest, content
# digest.
HEADER = struct.Struct("<3sBIII8s8sI")
HEADER_BYTES = HEADER.size
CRC_OFFSET = 8
FLAGS_OFFSET = 12
CONTENT_OFFSET = 32

FLAG_FRESH = 0x01
FLAG_MAX_PROFILE = 0x02
FLAG_EXACT = 0x04
FLAG_EXACT_ZSTD = 0x08
KNOWN_FLAGS = FLAG_FRESH | FLAG_MAX_PROFILE | FLAG_EXACT | FLAG_EXACT_ZSTD
SEQUENCE_LIMIT = 1 << 24

MAX_PACKET_BYTES = 2**32 - 1
# A level has at most 36 context-coded bins of at most 13 bits and 24 bypass bins: below 64 bytes.
MAX_LEVEL_BYTES = 64
MAX_TENSOR_BYTES = 128


@dataclass(frozen=True, slots=True)
class PacketHeader:
    """What a packet says of itself.

    Parameters
    ----------
    version : int
        Format version.
    is_fresh : bool
        Whether the packet was coded against a fresh state.
    profile : {"fast", "max"}
    total_bytes : int
        Length of the whole packet.
    sequence_number : int
        Packets of the stream before this one, modulo ``2**24``.
    schema_digest, base_state_digest : bytes
        8 bytes each: the model, and the state that the packet was coded against.
    content_digest : int
        Of what the packet decodes to.
    exact_bytes : int
        Bytes of the exact section, its length field included.
    payload_bytes : int
        Bytes of the coded levels.
    crc32 : int
        Of the whole packet with this field zero.
    """

    version: int
    is_fresh: bool
    profile: Profile
    total_bytes: int
    sequence_number: int
    schema_digest: bytes
    base_state_digest: bytes
    content_digest: int
    exact_bytes: int
    payload_bytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class ParsedPacket:
    """A packet taken apart; the payload is not decoded yet.

    Parameters
    ----------
    header : PacketHeader
    exact : bytes
        The exact tensors of the schema end to end, uncompressed.
    payload : bytes
    """

    header: PacketHeader
    exact: bytes
    payload: bytes


def write_packet(
    *,
    schema: Schema,
    profile: Profile,
    base_state_digest: bytes,
    sequence_number: int,
    is_fresh: bool,
    content_digest: int,
    exact: bytes,
    payload: bytes,
) -> bytes:
    """Assemble a packet (spec 3).

    Parameters
    ----------
    schema : Schema
    profile : {"fast", "max"}
    base_state_digest : bytes
        8 bytes.
    sequence_number : int
    is_fresh : bool
    content_digest : int
        From `content_digest.content_digest`.
    exact : bytes
        From `arrays.join_exact`; stored with zstandard where that is smaller.
    payload : bytes
        From the level coder.

    Returns
    -------
    bytes

    Raises
    ------
    LimitExceededError
        If the packet would not fit its 32-bit length field.
    """
    flags = FLAG_FRESH * is_fresh | FLAG_MAX_PROFILE * (profile == "max")
    exact_section = b""
    if exact:
        exact_section, is_squeezed = write_exact(exact)
        flags |= FLAG_EXACT | FLAG_EXACT_ZSTD * is_squeezed
    total_bytes = HEADER_BYTES + len(exact_section) + len(payload)
    if total_bytes > MAX_PACKET_BYTES:
        raise LimitExceededError("packet bytes", limit=MAX_PACKET_BYTES, requested=total_bytes)
    flags_and_number = flags | (sequence_number % SEQUENCE_LIMIT) << 8
    header = HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        total_bytes,
        0,
        flags_and_number,
        schema.digest,
        base_state_digest,
        content_digest,
    )
    packet = header + exact_section + payload
    crc32 = zlib.crc32(packet).to_bytes(4, "little")
    return packet[:CRC_OFFSET] + crc32 + packet[CRC_OFFSET + 4 :]


def parse_packet(packet: bytes, schema: Schema) -> ParsedPacket:
    """Take a packet apart, rejecting in the order of spec 11.

    Parameters
    ----------
    packet : bytes
    schema : Schema
        The model this side knows; all sizes come from it.

    Returns
    -------
    ParsedPacket

    Raises
    ------
    TruncatedPacketError, CorruptPacketError, UnsupportedVersionError, LimitExceededError
        If the bytes are at fault.
    SchemaMismatchError
        If the packet is sound but belongs to another model.
    """
    limit = _max_packet_bytes(schema)
    if len(packet) > limit:
        raise LimitExceededError("packet bytes", limit=limit, requested=len(packet))
    header, exact_begin, payload_begin = _parse_sections(packet)
    if header.schema_digest != schema.digest:
        raise SchemaMismatchError(
            f"schema digest: expected {schema.digest.hex()}, found {header.schema_digest.hex()}"
        )
    stored = packet[exact_begin:payload_begin]
    is_squeezed = bool(packet[FLAGS_OFFSET] & FLAG_EXACT_ZSTD)
    raw_bytes = sum(spec.raw_bytes for spec in schema.exact_tensors)
    if bool(header.exact_bytes) != bool(raw_bytes):
        raise CorruptPacketError(
            "exact section", exact_begin, expected=f"{raw_bytes} bytes", found=len(stored)
        )
    exact = unpack_exact(stored, is_squeezed=is_squeezed, raw_bytes=raw_bytes, offset=exact_begin)
    check_bools(exact, schema, offset=exact_begin)
    return ParsedPacket(header, exact, packet[payload_begin:])


def inspect_packet(packet: bytes) -> PacketHeader:
    """Read the header of a packet without knowing its schema.

    Parameters
    ----------
    packet : bytes

    Returns
    -------
    PacketHeader

    Raises
    ------
    TruncatedPacketError, CorruptPacketError, UnsupportedVersionError
        If the bytes are at fault.
    """
    return _parse_sections(packet)[0]


def _parse_sections(packet: bytes) -> tuple[PacketHeader, int, int]:
    """Check all that needs no schema; return the header and where exact bytes and payload begin."""
    crc32, flags = _check_envelope(packet)
    exact_begin = payload_begin = HEADER_BYTES
    if flags & FLAG_EXACT:
        exact_begin, payload_begin = locate_exact(packet, HEADER_BYTES)
    (_, version, total_bytes, _, flags_and_number, schema_digest, base, content) = (
        HEADER.unpack_from(packet)
    )
    header = PacketHeader(
        version=version,
        is_fresh=bool(flags & FLAG_FRESH),
        profile="max" if flags & FLAG_MAX_PROFILE else "fast",
        total_bytes=total_bytes,
        sequence_number=flags_and_number >> 8,
        schema_digest=schema_digest,
        base_state_digest=base,
        content_digest=content,
        exact_bytes=payload_begin - HEADER_BYTES,
        payload_bytes=total_bytes - payload_begin,
        crc32=crc32,
    )
    return header, exact_begin, payload_begin


def _check_envelope(packet: bytes) -> tuple[int, int]:
    """Check magic, version, length, CRC and flags, in this order; return the CRC and the flags."""
    if not isinstance(packet, bytes):
        raise TypeError(f"packet: expected bytes, found {type(packet).__name__}")
    if packet[:3] != MAGIC[: len(packet)]:
        raise CorruptPacketError("magic", 0, expected=MAGIC.hex(), found=packet[:3].hex())
    if len(packet) > len(MAGIC) and packet[3] != FORMAT_VERSION:
        if packet[3] > FORMAT_VERSION:
            raise UnsupportedVersionError(found=packet[3], supported=FORMAT_VERSION)
        raise CorruptPacketError("version", 3, expected=str(FORMAT_VERSION), found=packet[3])
    if len(packet) < HEADER_BYTES:
        raise TruncatedPacketError(needed=HEADER_BYTES, available=len(packet))
    _, _, total_bytes, crc32, flags_and_number, _, _, _ = HEADER.unpack_from(packet)
    if len(packet) < total_bytes:
        raise TruncatedPacketError(needed=total_bytes, available=len(packet))
    if len(packet) > total_bytes:
        raise CorruptPacketError(
            "length", 4, expected=f"{len(packet)} bytes, those given", found=total_bytes
        )
    zeroed = zlib.crc32(packet[CRC_OFFSET + 4 :], zlib.crc32(packet[:CRC_OFFSET] + bytes(4)))
    if zeroed != crc32:
        raise CorruptPacketError(
            "CRC-32", CRC_OFFSET, expected=f"{zeroed:08x}", found=f"{crc32:08x}"
        )
    flags = flags_and_number & 0xFF
    is_known = not flags & ~KNOWN_FLAGS and (flags & FLAG_EXACT or not flags & FLAG_EXACT_ZSTD)
    if not is_known:
        raise CorruptPacketError(
            "flags", FLAGS_OFFSET, expected="known flags only", found=f"{flags:#04x}"
        )
    return crc32, flags


def _max_packet_bytes(schema: Schema) -> int:
    """Bound the bytes of any packet of this schema (spec 9)."""
    n_levels = sum(spec.n_elements for spec in schema.level_tensors)
    exact_bytes = sum(spec.raw_bytes for spec in schema.exact_tensors)
    entries = HEADER_BYTES + MAX_LENGTH_BYTES + MAX_TENSOR_BYTES * len(schema.level_tensors)
    return min(entries + exact_bytes + MAX_LEVEL_BYTES * n_levels, MAX_PACKET_BYTES)
