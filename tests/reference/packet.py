# SPDX-License-Identifier: Apache-2.0
"""Packets (spec 3, 4), and what is refused, in the order of section 11."""

from __future__ import annotations

import copy
import struct
import zlib
from dataclasses import dataclass

import zstandard

from reference.arithmetic_coder import Decoder, Encoder
from reference.chunks import divide, join, split
from reference.errors import Rejected
from reference.reconstruction import LARGEST_OFFSET, Offsets, values_of
from reference.stream import StreamState, Tensor
from reference.update_coder import Update, UpdateCoder, unknown

HEADER_BYTES = 36
LONGEST_VARINT = 5
LARGEST_LEVEL = 1 << 24
IS_FRESH, IS_MAX, HAS_EXACT, IS_ZSTD = 1, 2, 4, 8


@dataclass
class Decoded:
    """The content of one packet: the exact bytes, and the update of all other tensors."""

    exact: bytes
    update: Update
    state: StreamState


def encode(
    state: StreamState,
    exact: bytes,
    steps: list[int],
    levels: list[list[int]],
    *,
    offsets: list[Offsets] | None = None,
    is_dependent: int = 0,
    zstd: bool = False,
) -> tuple[bytes, StreamState]:
    """Return the packet of given content and the state after it. The state given is not changed.

    Without `offsets` all tensors keep those that they have.
    """
    after = copy.deepcopy(state)
    if offsets is None:
        offsets = [tensor.offsets for tensor in after.levels.tensors]
    encoders = [Encoder() for _ in divide([len(part) for part in levels])]
    coder = UpdateCoder(encoders, after.levels)
    content = content_digest(coder.code(Update(steps, levels, offsets, is_dependent)), exact)
    body = join([encoder.finish() for encoder in encoders])
    flags = (IS_FRESH if state.n_packets == 0 else 0) | (IS_MAX if state.levels.profile else 0)
    if exact:
        section = zstandard.ZstdCompressor().compress(exact) if zstd else exact
        flags |= HAS_EXACT | (IS_ZSTD if zstd else 0)
        body = varint(len(section)) + section + body
    tail = bytes([flags]) + (state.n_packets % (1 << 24)).to_bytes(3, "little")
    tail += state.schema_digest + state.digest + struct.pack("<I", content) + body
    packet = with_checksum(b"FDC\x01" + struct.pack("<I", 12 + len(tail)) + bytes(4) + tail)
    after.move_on(packet)
    return packet, after


def content_digest(update: Update, exact: bytes) -> int:
    """Return the digest of what a packet decodes to (8.1)."""
    total = number = 0
    for fixed, step in zip(update.fixed, update.steps, strict=True):
        for i, value in enumerate(fixed, number):
            if value:  # a zero adds nothing
                bits = int.from_bytes(values_of([value], step, "float32"), "little")
                total += bits * (2 * i + 1) * 0x9E3779B97F4A7C15
        number += len(fixed)
    return ((total % (1 << 64) >> 32) + zlib.crc32(exact)) % (1 << 32)


def with_content_digest(state: StreamState, packet: bytes) -> bytes:
    """Return the packet with the content digest and the CRC-32 that let it be accepted."""
    decoded = decode(state, packet, checks_content=False)
    content = struct.pack("<I", content_digest(decoded.update, decoded.exact))
    return with_checksum(packet[:32] + content + packet[36:])


def with_checksum(packet: bytes) -> bytes:
    """Return the packet with the CRC-32 it should have."""
    blank = packet[:8] + bytes(4) + packet[12:]
    return blank[:8] + struct.pack("<I", zlib.crc32(blank)) + blank[12:]


def varint(value: int) -> bytes:
    """Return a length in the shortest form of 4.1."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(state: StreamState, packet: bytes, *, checks_content: bool = True) -> Decoded:
    """Return what a packet holds and the state after it. The state given is not changed."""
    flags, body = check_header(state, packet)
    section, payload = split_body(flags, body)
    if packet[16:24] != state.schema_digest:
        raise Rejected("schema mismatch", 9)
    exact = check_exact(flags, section, sum(t.n_bytes for t in state.schema if t.is_exact))
    check_bools(exact_parts(state.schema, exact), state.schema)
    if bool(flags & IS_MAX) != bool(state.levels.profile):
        raise Rejected("settings", 11)
    if packet[24:32] != state.digest:
        raise Rejected("state mismatch", 12)
    number = int.from_bytes(packet[13:16], "little")
    if (flags & IS_FRESH, number) != (int(state.n_packets == 0), state.n_packets % (1 << 24)):
        raise Rejected("corrupt", 13)

    after = copy.deepcopy(state)
    sizes = [len(tensor.magnitudes) for tensor in after.levels.tensors]
    decoders = [Decoder(codeword) for codeword in split(payload, len(divide(sizes)))]
    update = UpdateCoder(decoders, after.levels).code(unknown(after.levels))
    for decoder in decoders:
        decoder.finish()
    if any(abs(level) > LARGEST_LEVEL for levels in update.levels for level in levels):
        raise Rejected("corrupt", 17)
    if any(abs(offset) > LARGEST_OFFSET for offsets in update.offsets for offset in offsets):
        raise Rejected("corrupt", 18)
    found = struct.pack("<I", content_digest(update, exact))
    if checks_content and packet[32:36] != found:
        raise Rejected("corrupt", 19)
    after.move_on(packet)
    return Decoded(exact, update, after)


def check_header(state: StreamState, packet: bytes) -> tuple[int, bytes]:
    """Apply rules 1 to 7; return the flags and what follows the header."""
    level_tensors = [t for t in state.schema if not t.is_exact]
    n_exact = sum(t.n_bytes for t in state.schema if t.is_exact)
    n_levels = sum(t.n_elements for t in level_tensors)
    if len(packet) > 41 + 128 * len(level_tensors) + n_exact + 64 * n_levels:
        raise Rejected("limit", 1)
    if packet[:3] != b"FDC"[: len(packet)]:
        raise Rejected("corrupt", 2)
    if len(packet) > 3 and packet[3] != 1:
        raise Rejected("unsupported" if packet[3] > 1 else "corrupt", 3)
    if len(packet) < HEADER_BYTES:
        raise Rejected("truncated", 4)
    (length,) = struct.unpack_from("<I", packet, 4)
    if length != len(packet):
        raise Rejected("truncated" if length > len(packet) else "corrupt", 5)
    if with_checksum(packet) != packet:
        raise Rejected("corrupt", 6)
    flags = packet[12]
    if flags >> 4 or (flags & IS_ZSTD and not flags & HAS_EXACT):
        raise Rejected("corrupt", 7)
    return flags, packet[HEADER_BYTES:]


def split_body(flags: int, body: bytes) -> tuple[bytes, bytes]:
    """Apply rule 8; return the exact section without its length, and the payload."""
    if not flags & HAS_EXACT:
        return b"", body
    length, position = 0, 0
    byte = 128
    while byte >= 128 and position < LONGEST_VARINT:
        if position == len(body):
            raise Rejected("truncated", 8)
        byte = body[position]
        length |= (byte & 127) << 7 * position
        position += 1
    if byte >= 128 or (byte == 0 and position > 1):
        raise Rejected("corrupt", 8)
    if length > len(body) - position:
        raise Rejected("truncated", 8)
    return body[position : position + length], body[position + length :]


def check_exact(flags: int, section: bytes, n_expected: int) -> bytes:
    """Apply rule 10; return the bytes of the exact tensors."""
    if bool(flags & HAS_EXACT) != (n_expected > 0):
        raise Rejected("corrupt", 10)
    if flags & IS_ZSTD:
        try:
            n_stated = zstandard.frame_content_size(section)  # -1 where it says nothing
            if n_stated > n_expected:
                raise Rejected("limit", 10)
            if n_stated != n_expected:
                raise Rejected("corrupt", 10)
            section = zstandard.ZstdDecompressor().decompress(section, allow_extra_data=False)
        except zstandard.ZstdError:
            raise Rejected("corrupt", 10) from None
    if len(section) != n_expected:
        raise Rejected("corrupt", 10)
    return section


def check_bools(parts: dict[str, bytes], schema: list[Tensor]) -> None:
    """Apply the rest of rule 10: a bool is a zero or a one."""
    for tensor in schema:
        if tensor.is_exact and tensor.dtype == "bool" and set(parts[tensor.name]) - {0, 1}:
            raise Rejected("corrupt", 10)


def exact_parts(schema: list[Tensor], exact: bytes) -> dict[str, bytes]:
    """Return the bytes of each exact tensor (4.1)."""
    parts, position = {}, 0
    for tensor in schema:
        if tensor.is_exact:
            parts[tensor.name] = exact[position : position + tensor.n_bytes]
            position += tensor.n_bytes
    return parts
