# SPDX-License-Identifier: Apache-2.0
"""Reading and writing the bytes of a method: fixed parts first, one part of any length last.

Invariant: what is read is as long as the caller says, never as long as the bytes say, so that
damaged bytes raise and ask for no memory that the model does not already need.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from fl_deepcabac.errors import CorruptPacketError, LimitExceededError, TruncatedPacketError

__all__ = [
    "PayloadReader",
    "cheapest",
    "read_varints",
    "seal",
    "squeeze",
    "unsqueeze",
    "write_count",
    "write_floats",
    "write_varints",
]

_COUNT: Final = struct.Struct("<I")
# zstandard's strongest setting that needs no extra memory in the decoder.
MAX_ZSTD_LEVEL: Final = 19
_MAX_VARINT_BYTES: Final = 5
_VARINT_MORE: Final = 0x80


class PayloadReader:
    """A place in a payload.

    Parameters
    ----------
    payload : bytes
    """

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.offset = 0

    @property
    def n_left(self) -> int:
        """Number of bytes not yet read."""
        return len(self._payload) - self.offset

    def take(self, n_bytes: int, what: str) -> bytes:
        """Return the next bytes.

        Raises
        ------
        TruncatedPacketError
            If there are fewer.
        """
        if n_bytes > self.n_left:
            raise TruncatedPacketError(what, needed=n_bytes, available=self.n_left)
        taken = self._payload[self.offset : self.offset + n_bytes]
        self.offset += n_bytes
        return taken

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(self.n_left, "rest")

    def finish(self) -> None:
        """Raise `CorruptPacketError` if bytes are left."""
        if self.n_left:
            self.refuse("payload", expected="its end", found=f"{self.n_left} more bytes")

    def refuse(self, what: str, *, expected: str, found: object) -> None:
        """Raise a `CorruptPacketError` that names this place."""
        raise CorruptPacketError(what, self.offset, expected=expected, found=found)

    def flag(self, n_values: int, what: str) -> int:
        """Return the next byte; `CorruptPacketError` unless it is below `n_values`."""
        value = self.take(1, what)[0]
        if value >= n_values:
            self.refuse(what, expected=f"a number below {n_values}", found=value)
        return value

    def count(self, limit: int, what: str) -> int:
        """Return what `write_count` wrote.

        Raises
        ------
        LimitExceededError
            If it is larger than the model allows.
        """
        (value,) = _COUNT.unpack(self.take(_COUNT.size, what))
        if value > limit:
            raise LimitExceededError(what, limit=limit, requested=value)
        return int(value)

    def sealed(self, what: str) -> bytes:
        """Return all bytes that are left: what `seal` was given.

        Raises
        ------
        CorruptPacketError
            If the checksum says otherwise.
        """
        (expected,) = _COUNT.unpack(self.take(_COUNT.size, what))
        body = self.rest()
        if (found := zlib.crc32(body)) != expected:
            self.refuse(what, expected=f"checksum {expected:08x}", found=f"{found:08x}")
        return body

    def floats(self, n: int, what: str, dtype: str = "<f4") -> NDArray[np.float32]:
        """Return what `write_floats` wrote, as float32.

        Raises
        ------
        CorruptPacketError
            If one is not finite.
        """
        itemsize = np.dtype(dtype).itemsize
        values = np.frombuffer(self.take(n * itemsize, what), dtype).astype(np.float32)
        if not np.isfinite(values).all():
            self.refuse(what, expected="finite numbers", found="others")
        return values


def write_count(value: int) -> bytes:
    """Return a count as four bytes."""
    return _COUNT.pack(value)


def seal(body: bytes) -> bytes:
    """Return bytes behind their CRC-32: for decoders of others, which trust what they are given."""
    return _COUNT.pack(zlib.crc32(body)) + body


def write_floats(values: NDArray[Any], dtype: str = "<f4") -> bytes:
    """Return numbers, row-major; those beyond the dtype become its largest."""
    bound = np.finfo(dtype).max
    written: bytes = np.clip(values, -bound, bound).astype(dtype).tobytes()
    return written


def squeeze(raw: bytes, level: int = MAX_ZSTD_LEVEL) -> bytes:
    """Return one zstandard frame that states its content's size."""
    return zstandard.ZstdCompressor(level=level).compress(raw)


def unsqueeze(frame: bytes, *, at_most: int, what: str) -> bytes:
    """Return the content of what `squeeze` made.

    Parameters
    ----------
    frame : bytes
    at_most : int
        Bytes that the content may have.
    what : str
        Names the frame in messages.

    Raises
    ------
    LimitExceededError
        If it says that it has more.
    CorruptPacketError
        If it is no such frame.
    """
    try:
        n_bytes = zstandard.frame_content_size(frame)
        if n_bytes > at_most:
            raise LimitExceededError(what, limit=at_most, requested=n_bytes)
        if n_bytes < 0:
            raise CorruptPacketError(what, 0, expected="a frame that states a size", found="none")
        if n_bytes == 0 and frame != squeeze(b""):
            # zstandard returns early here, and would not look at the rest.
            raise CorruptPacketError(what, 0, expected="an empty frame", found="another")
        content = zstandard.ZstdDecompressor().decompress(
            frame, max_output_size=n_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise CorruptPacketError(
            what, 0, expected="one zstandard frame", found=str(error)
        ) from None
    if len(content) != n_bytes:
        raise CorruptPacketError(what, 0, expected=f"{n_bytes} bytes", found=len(content))
    return content


def cheapest(*candidates: bytes) -> bytes:
    """Return the shortest candidate behind a byte that says which one it is."""
    index = min(range(len(candidates)), key=lambda i: len(candidates[i]))
    return bytes([index]) + candidates[index]


def write_varints(values: NDArray[np.integer[Any]]) -> bytes:
    """Return unsigned numbers below 2**32, seven bits a byte, the least significant first."""
    wide = values.astype(np.uint64)
    shifts = np.arange(0, 7 * _MAX_VARINT_BYTES, 7, dtype=np.uint64)
    groups = (wide[:, None] >> shifts & np.uint64(0x7F)).astype(np.uint8)
    n_bytes = np.maximum(1, _MAX_VARINT_BYTES - np.argmax(groups[:, ::-1] != 0, axis=1))
    n_bytes[wide == 0] = 1
    place = np.arange(_MAX_VARINT_BYTES)
    groups[place < n_bytes[:, None] - 1] |= _VARINT_MORE
    written: bytes = groups[place < n_bytes[:, None]].tobytes()
    return written


def read_varints(encoded: bytes, n: int, what: str) -> NDArray[np.int64]:
    """Return the `n` numbers that `write_varints` wrote.

    Raises
    ------
    CorruptPacketError
        If there are not exactly so many, or one has too many bytes.
    """
    stored = np.frombuffer(encoded, np.uint8)
    ends = np.flatnonzero(stored < _VARINT_MORE)
    starts = np.concatenate([[0], ends + 1])
    n_bytes = np.diff(starts)
    is_whole = starts[-1] == stored.size and n_bytes.max(initial=0) <= _MAX_VARINT_BYTES
    if ends.size != n or not is_whole:
        raise CorruptPacketError(what, 0, expected=f"{n} numbers", found="others")
    values = np.zeros(n, np.int64)
    for i in range(int(n_bytes.max(initial=0))):
        has_one = n_bytes > i
        group = stored[starts[:-1][has_one] + i].astype(np.int64) & 0x7F
        values[has_one] |= group << 7 * i
    return values
