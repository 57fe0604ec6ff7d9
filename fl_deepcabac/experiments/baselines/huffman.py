# SPDX-License-Identifier: Apache-2.0
"""Canonical Huffman codes of at most 15 bits.

References
----------
.. [1] D. A. Huffman, "A Method for the Construction of Minimum-Redundancy Codes", Proc. IRE 40(9),
   1952.
.. [2] E. S. Schwartz and B. Kallick, "Generating a Canonical Prefix Encoding", Comm. ACM 7(3),
   1964: lengths are all that a decoder needs.
"""

from __future__ import annotations

import heapq
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.errors import CorruptPacketError
from fl_deepcabac.experiments.baselines.bits import BitReader, BitWriter

__all__ = ["MAX_LENGTH", "code_lengths", "read_symbols", "write_symbols"]

# A decoder's table has 2**15 entries, and a length fits half a byte.
MAX_LENGTH: Final = 15
Lengths = NDArray[np.int64]


def code_lengths(counts: NDArray[np.integer[Any]]) -> Lengths:
    """Return the bits of each symbol's code; 0 for symbols that do not occur.

    Where the best code [1]_ has longer ones than 15 bits, rare symbols are counted as less rare.
    """
    lengths = _huffman_lengths(counts)
    while lengths.max(initial=0) > MAX_LENGTH:
        counts = (counts + 1) // 2
        lengths = _huffman_lengths(counts)
    return lengths


def _huffman_lengths(counts: NDArray[np.integer[Any]]) -> Lengths:
    lengths = np.zeros(counts.size, np.int64)
    # Ties are broken by the order of symbols, so that equal counts give equal codes.
    heap = [(int(counts[i]), int(i), [int(i)]) for i in np.flatnonzero(counts)]
    heapq.heapify(heap)
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    while len(heap) > 1:
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        members = first[2] + second[2]
        lengths[members] += 1
        heapq.heappush(heap, (first[0] + second[0], min(first[1], second[1]), members))
    return lengths


def write_symbols(bits: BitWriter, symbols: NDArray[np.integer[Any]], lengths: Lengths) -> None:
    """Write symbols in the code of these lengths; a code of one symbol takes no bits."""
    if np.count_nonzero(lengths) > 1:
        bits.fields(_codes(lengths)[symbols], lengths[symbols])


def read_symbols(bits: BitReader, n: int, lengths: Lengths) -> NDArray[np.int64]:
    """Return the `n` symbols that `write_symbols` wrote.

    Raises
    ------
    CorruptPacketError
        If lengths are no code's.
    TruncatedPacketError
        If bits are missing.
    """
    used = np.flatnonzero(lengths)
    if used.size == 1 and lengths[used[0]] == 1:
        return np.full(n, used[0])
    if n and int(np.sum(1 << MAX_LENGTH - lengths[used])) != 1 << MAX_LENGTH:
        raise CorruptPacketError("Huffman code", 0, expected="lengths of a code", found="others")
    if not n:
        return np.zeros(0, np.int64)
    symbol_at, length_at = _tables(lengths)
    left = bits.peek()[: n * int(lengths.max())]
    words = _words_at_every_bit(left)
    starts = _follow(np.arange(words.size) + length_at[words], n)
    symbols = symbol_at[words[np.minimum(starts, words.size - 1)]]
    # What was read past the end counts, too, and is then missed.
    bits.take(int(lengths[symbols].sum()) if starts[-1] < left.size else left.size + 1)
    return symbols


def _codes(lengths: Lengths) -> NDArray[np.int64]:
    """Return the canonical codes: shorter ones first, then by symbol, counted upwards [2]_."""
    codes = np.zeros(lengths.size, np.int64)
    code = length = 0
    for symbol in np.lexsort((np.arange(lengths.size), lengths)):
        if lengths[symbol]:
            code <<= int(lengths[symbol]) - length
            length = int(lengths[symbol])
            codes[symbol] = code
            code += 1
    return codes


def _tables(lengths: Lengths) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the symbol, and the length of its code, that each word of 15 bits begins with."""
    used = np.flatnonzero(lengths)
    order = used[np.argsort(_codes(lengths)[used] << MAX_LENGTH - lengths[used])]
    symbol_at = np.repeat(order, 1 << MAX_LENGTH - lengths[order])
    return symbol_at, lengths[symbol_at]


def _words_at_every_bit(bits: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the 15 bits from each place on; zeros follow the last."""
    padded = np.concatenate([bits, np.zeros(MAX_LENGTH, np.uint8)]).astype(np.int32)
    words = np.zeros(bits.size + 1, np.int32)
    for i in range(MAX_LENGTH):
        words = words << 1 | padded[i : i + words.size]
    return words


def _follow(following: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return `n` places, each the one that follows the last, from 0 on; at the end they stay."""
    last = following.size - 1
    steps = np.minimum(following, last).astype(np.uint32).data
    places = np.empty(n, np.int64)
    place = 0
    view = places.data
    for i in range(n):
        view[i] = place
        place = steps[place]
    return places
