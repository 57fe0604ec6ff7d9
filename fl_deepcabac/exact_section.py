# SPDX-License-Identifier: Apache-2.0
"""The exact section of a packet: tensors that travel unchanged (spec 4.1).

A length and the tensors' bytes end to end, or one zstandard frame of them where that is smaller.
Invariant: nothing is allocated beyond what the schema says the tensors take.
"""

from __future__ import annotations

import zstandard

from fl_deepcabac.errors import CorruptPacketError, LimitExceededError, TruncatedPacketError
from fl_deepcabac.schema import Schema

__all__ = ["MAX_LENGTH_BYTES", "check_bools", "locate_exact", "unpack_exact", "write_exact"]

SECTION = "exact section"
# Seven bits a byte cover the 32 bits of a packet's length.
MAX_LENGTH_BYTES = 5
ZSTD_LEVEL = 19


def write_exact(exact: bytes) -> tuple[bytes, bool]:
    """Return the section for these bytes, at least one, and whether it is a zstandard frame."""
    squeezed = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(exact)
    is_squeezed = len(squeezed) < len(exact)
    stored = squeezed if is_squeezed else exact
    return _write_varint(len(stored)) + stored, is_squeezed


def locate_exact(packet: bytes, begin: int) -> tuple[int, int]:
    """Read the length at `begin`; return where the bytes after it begin and end.

    Raises
    ------
    TruncatedPacketError, CorruptPacketError
        If the length is cut, not in its shortest form, or reaches beyond the packet.
    """
    stored_bytes, stored_begin = _parse_varint(packet, begin)
    available = len(packet) - stored_begin
    if stored_bytes > available:
        raise TruncatedPacketError(SECTION, needed=stored_bytes, available=available)
    return stored_begin, stored_begin + stored_bytes


def unpack_exact(stored: bytes, *, is_squeezed: bool, raw_bytes: int, offset: int) -> bytes:
    """Return the exact tensors uncompressed: exactly `raw_bytes` bytes.

    Raises
    ------
    CorruptPacketError, LimitExceededError
        If the section holds anything else. `offset` is its place in the packet.
    """
    if not is_squeezed:
        if len(stored) != raw_bytes:
            raise CorruptPacketError(
                SECTION, offset, expected=f"{raw_bytes} bytes", found=len(stored)
            )
        return stored
    try:
        # The frame names its size before anything is allocated for it.
        frame_bytes = zstandard.frame_content_size(stored)
        if frame_bytes > raw_bytes:
            raise LimitExceededError("exact bytes", limit=raw_bytes, requested=frame_bytes)
        if frame_bytes != raw_bytes:
            raise CorruptPacketError(
                SECTION,
                offset,
                expected=f"a frame that states {raw_bytes} bytes",
                found="none" if frame_bytes < 0 else frame_bytes,
            )
        exact = zstandard.ZstdDecompressor().decompress(
            stored, max_output_size=raw_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CorruptPacketError(
            SECTION, offset, expected="one zstandard frame", found=str(error)
        ) from None
    if len(exact) != raw_bytes:
        raise CorruptPacketError(SECTION, offset, expected=f"{raw_bytes} bytes", found=len(exact))
    return exact


def check_bools(exact: bytes, schema: Schema, *, offset: int) -> None:
    """Refuse a boolean stored as anything but 0 or 1, which NumPy would treat as neither.

    Parameters
    ----------
    exact : bytes
        The exact tensors end to end, as many bytes as the schema says.
    schema : Schema
    offset : int
        Where the section begins in the packet.

    Raises
    ------
    CorruptPacketError
    """
    begin = 0
    for spec in schema.exact_tensors:
        stored = exact[begin : begin + spec.raw_bytes]
        if spec.dtype == "bool" and stored.strip(b"\0\1"):
            raise CorruptPacketError(
                SECTION, offset, expected=f"0 or 1 in {spec.name!r}", found="another byte"
            )
        begin += spec.raw_bytes


def _write_varint(value: int) -> bytes:
    """Write seven bits a byte, least significant first; the top bit says that more follow."""
    encoded = bytearray()
    while value >= 0x80:  # noqa: PLR2004 - the radix of the code
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _parse_varint(packet: bytes, begin: int) -> tuple[int, int]:
    """Read what `_write_varint` wrote, in its shortest form only; return it and where it ends."""
    value = 0
    for i in range(MAX_LENGTH_BYTES):
        if begin + i >= len(packet):
            raise TruncatedPacketError(SECTION, needed=i + 1, available=i)
        byte = packet[begin + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:  # noqa: PLR2004 - the radix of the code
            if byte == 0 and i > 0:
                break
            return value, begin + i + 1
    raise CorruptPacketError(
        SECTION, begin, expected="a length in its shortest form", found="another"
    )
