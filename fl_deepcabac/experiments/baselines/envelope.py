# SPDX-License-Identifier: Apache-2.0
"""How a payload travels: as the only Array of a record, behind a checksum and its encode time.

Invariant: the envelope has as many bytes as that of our packets (`flower/records.py`), and a type
of its own, so that neither is taken for the other.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from flwr.app import Array, ArrayRecord, RecordDict

from fl_deepcabac.errors import CorruptPacketError, DecodeError, TruncatedPacketError

__all__ = ["PAYLOAD_STYPE", "parse_payload", "write_payload"]

PAYLOAD_STYPE: Final = "fl_deepcabac.baseline"
PAYLOAD_KEY: Final = "payload"
# CRC-32 of what follows; encode time in seconds, half precision.
ENVELOPE: Final = struct.Struct("<Ie")
CHECKSUM_BYTES: Final = 4
MAX_ENCODE_SECONDS: Final = 65504.0


def write_payload(payload: bytes, encode_seconds: float) -> ArrayRecord:
    """Return a payload as the only Array of a record.

    Parameters
    ----------
    payload : bytes
    encode_seconds : float
        Time that coding took.

    Returns
    -------
    ArrayRecord
    """
    unchecked = ENVELOPE.pack(0, min(encode_seconds, MAX_ENCODE_SECONDS)) + payload
    body = unchecked[CHECKSUM_BYTES:]
    envelope = zlib.crc32(body).to_bytes(CHECKSUM_BYTES, "little") + body
    return ArrayRecord({PAYLOAD_KEY: Array("uint8", (len(envelope),), PAYLOAD_STYPE, envelope)})


def parse_payload(content: RecordDict) -> tuple[str, bytes, float]:
    """Return what `write_payload` wrote, from the content of a reply.

    Returns
    -------
    tuple of (str, bytes, float)
        Name of its record, payload, and seconds of encoding.

    Raises
    ------
    DecodeError
        If there is not exactly one payload, or it is damaged.
    """
    arrays = [
        (name, array) for name, record in content.array_records.items() for array in record.values()
    ]
    if (stypes := [array.stype for _, array in arrays]) != [PAYLOAD_STYPE]:
        raise DecodeError(f"expected one array of type {PAYLOAD_STYPE}, found {stypes}")
    [(name, array)] = arrays
    envelope = array.data
    if len(envelope) < ENVELOPE.size:
        raise TruncatedPacketError("envelope", needed=ENVELOPE.size, available=len(envelope))
    checksum, seconds = ENVELOPE.unpack_from(envelope)
    if (found := zlib.crc32(memoryview(envelope)[CHECKSUM_BYTES:])) != checksum:
        raise CorruptPacketError("envelope", 0, expected=f"{found:08x}", found=f"{checksum:08x}")
    return name, envelope[ENVELOPE.size :], float(seconds)
