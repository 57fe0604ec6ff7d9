# SPDX-License-Identifier: Apache-2.0
"""Bits, most significant first, and the two universal codes that baselines use.

Codes of a list are written in two planes, all prefixes and then all remainders: as many bits as one
after the other, and both planes can be read without a loop over the list.

References
----------
.. [1] P. Elias, "Universal Codeword Sets and Representations of the Integers", IEEE Trans. Inf.
   Theory 21(2), 1975: gamma, 2 floor(log2 x) + 1 bits for x >= 1.
.. [2] S. W. Golomb, "Run-Length Encodings", IEEE Trans. Inf. Theory 12(3), 1966; R. F. Rice, 1979:
   the remainder has a whole number of bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.errors import CorruptPacketError, TruncatedPacketError

__all__ = ["BitReader", "BitWriter", "gamma_bits"]

_WORD_BITS: Final = 32
Bits = NDArray[np.uint8]  # one bit an element


class BitWriter:
    """Bits on their way to becoming bytes."""

    def __init__(self) -> None:
        self._parts: list[Bits] = []

    def to_bytes(self) -> bytes:
        """Return all bits, the last byte filled up with zeros."""
        return np.packbits(np.concatenate([np.zeros(0, np.uint8), *self._parts])).tobytes()

    def flags(self, values: NDArray[np.bool_]) -> None:
        """Write one bit a value."""
        self._parts.append(values.astype(np.uint8))

    def fields(self, values: NDArray[Any], widths: int | NDArray[np.int64]) -> None:
        """Write the low bits of unsigned numbers below 2**32, as many as `widths` says."""
        words = values.astype(">u4").view(np.uint8).reshape(values.size, _WORD_BITS // 8)
        bits = np.unpackbits(words, axis=1)
        if isinstance(widths, int):
            self._parts.append(bits[:, _WORD_BITS - widths :].reshape(-1))
        else:
            self._parts.append(bits[_is_used(widths)])

    def unary(self, values: NDArray[Any]) -> None:
        """Write as many zeros as a number says, and a one."""
        ends = np.cumsum(values.astype(np.int64) + 1)
        bits = np.zeros(int(ends[-1]) if ends.size else 0, np.uint8)
        bits[ends - 1] = 1
        self._parts.append(bits)

    def gamma(self, values: NDArray[Any]) -> None:
        """Write numbers of at least 1 in Elias's gamma code [1]_."""
        widths = _floor_log2(values)
        self.unary(widths)
        self.fields(values, widths)

    def rice(self, values: NDArray[Any], width: int) -> None:
        """Write numbers of at least 0 with remainders of `width` bits [2]_."""
        self.unary(values >> width)
        self.fields(values, width)


class BitReader:
    """Reads what `BitWriter` wrote.

    Parameters
    ----------
    encoded : bytes
    what : str
        Names the bits in messages.
    """

    def __init__(self, encoded: bytes, what: str) -> None:
        self._bits = np.unpackbits(np.frombuffer(encoded, np.uint8))
        self._begin = 0
        self._what = what

    def take(self, n: int) -> Bits:
        """Return the next bits.

        Raises
        ------
        TruncatedPacketError
            If there are fewer.
        """
        self._require(n)
        self._begin += n
        return self._bits[self._begin - n : self._begin]

    def peek(self) -> Bits:
        """Return all bits that are left, without moving on."""
        return self._bits[self._begin :]

    def finish(self) -> None:
        """Raise `CorruptPacketError` if more is left than zeros that fill up a byte."""
        left = self.peek()
        if left.size >= 8 or left.any():  # noqa: PLR2004 - bits of a byte
            self._refuse("nothing but padding at the end")

    def flags(self, n: int) -> NDArray[np.bool_]:
        """Return `n` bits as booleans."""
        return self.take(n).astype(bool)

    def fields(self, n: int, widths: int | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `n` numbers of so many bits each."""
        words = np.zeros((n, _WORD_BITS), np.uint8)
        if isinstance(widths, int):
            words[:, _WORD_BITS - widths :] = self.take(n * widths).reshape(n, widths)
        else:
            words[_is_used(widths)] = self.take(int(widths.sum()))
        packed = np.packbits(words, axis=1)
        return packed.reshape(-1).view(">u4").astype(np.int64)

    def unary(self, n: int) -> NDArray[np.int64]:
        """Return `n` numbers, each the zeros before a one."""
        self._require(n)
        ends = np.flatnonzero(self.peek())[:n]
        if ends.size < n:
            raise TruncatedPacketError(f"ones of {self._what}", needed=n, available=ends.size)
        self._begin += int(ends[-1]) + 1 if n else 0
        return np.diff(ends, prepend=-1) - 1

    def gamma(self, n: int) -> NDArray[np.int64]:
        """Return `n` numbers of at least 1 and below 2**32."""
        widths = self.unary(n)
        if widths.max(initial=0) >= _WORD_BITS:
            self._refuse(f"numbers below 2**{_WORD_BITS}")
        return self.fields(n, widths) | 1 << widths

    def rice(self, n: int, width: int) -> NDArray[np.int64]:
        """Return `n` numbers of at least 0."""
        quotients = self.unary(n)
        return quotients << width | self.fields(n, width)

    def _require(self, n: int) -> None:
        available = self._bits.size - self._begin
        if n > available:
            raise TruncatedPacketError(f"bits of {self._what}", needed=n, available=available)

    def _refuse(self, expected: str) -> None:
        raise CorruptPacketError(self._what, self._begin // 8, expected=expected, found="others")


def gamma_bits(values: NDArray[Any]) -> int:
    """Return the number of bits that the gamma code of these numbers takes."""
    return int(np.sum(2 * _floor_log2(values) + 1))


def _floor_log2(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return floor(log2) of numbers of at least 1; exact below 2**53."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1


def _is_used(widths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which bits of words are the low ones that widths ask for."""
    return np.arange(_WORD_BITS) >= _WORD_BITS - widths[:, None]
