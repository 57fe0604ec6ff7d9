# SPDX-License-Identifier: Apache-2.0
"""Where the values stand that a sparse method sends.

References
----------
.. [1] F. Sattler et al., "Robust and Communication-Efficient Federated Learning from Non-i.i.d.
   Data", IEEE Trans. Neural Netw. Learn. Syst. 31(9), 2020: Golomb code of the distances, with the
   best whole number of remainder bits (equation 14 and around).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.bits import BitReader, BitWriter
from fl_deepcabac.experiments.baselines.method import tensor_slices
from fl_deepcabac.experiments.baselines.payload import (
    PayloadReader,
    cheapest,
    read_varints,
    squeeze,
    unsqueeze,
    write_varints,
)
from fl_deepcabac.schema import Schema

__all__ = [
    "find_largest",
    "read_golomb",
    "read_positions",
    "rice_width",
    "write_golomb",
    "write_positions",
]

Places = NDArray[np.int64]
_GOLDEN_RATIO = (math.sqrt(5) + 1) / 2
_MAX_VARINT_BYTES = 5


def rice_width(n_chosen: int, n: int) -> int:
    """Return the remainder bits that suit `n_chosen` of `n` places, all equally likely [1]_."""
    if not 0 < n_chosen < n:
        return 0
    ratio = math.log(_GOLDEN_RATIO - 1) / math.log1p(-n_chosen / n)
    return max(0, 1 + math.floor(math.log2(ratio)))


def write_golomb(places: Places, n: int) -> bytes:
    """Return ascending places below `n` as Golomb-coded distances."""
    bits = BitWriter()
    bits.rice(np.diff(places, prepend=-1) - 1, rice_width(places.size, n))
    return bits.to_bytes()


def read_golomb(reader: PayloadReader, n_chosen: int, n: int) -> Places:
    """Return what `write_golomb` wrote, from the rest of a payload.

    Raises
    ------
    CorruptPacketError, TruncatedPacketError
        If these are not `n_chosen` places below `n`.
    """
    bits = BitReader(reader.rest(), "positions")
    distances = bits.rice(n_chosen, rice_width(n_chosen, n))
    bits.finish()
    return _add_up(reader, distances + 1, n)


def write_positions(places: Places, n: int) -> bytes:
    """Return ascending places below `n` in the shortest of three forms.

    Golomb-coded distances; distances as bytes, or one bit a place, both behind zstandard.
    """
    is_chosen = np.zeros(n, bool)
    is_chosen[places] = True
    return cheapest(
        write_golomb(places, n),
        squeeze(write_varints(np.diff(places, prepend=-1) - 1)),
        squeeze(np.packbits(is_chosen).tobytes()),
    )


def read_positions(reader: PayloadReader, n_chosen: int, n: int) -> Places:
    """Return what `write_positions` wrote, from the rest of a payload; raises as `read_golomb`."""
    form = reader.flag(3, "form of the positions")
    if form == 0:
        return read_golomb(reader, n_chosen, n)
    if form == 1:
        limit = _MAX_VARINT_BYTES * n_chosen
        encoded = unsqueeze(reader.rest(), at_most=limit, what="positions")
        return _add_up(reader, read_varints(encoded, n_chosen, "positions") + 1, n)
    n_bytes = -(-n // 8)
    content = PayloadReader(unsqueeze(reader.rest(), at_most=n_bytes, what="positions"))
    bits = np.unpackbits(np.frombuffer(content.take(n_bytes, "positions"), np.uint8))
    places = np.flatnonzero(bits)
    if places.size != n_chosen or places.max(initial=-1) >= n:
        reader.refuse("positions", expected=f"{n_chosen} places below {n}", found="others")
    return places


def _add_up(reader: PayloadReader, distances: Places, n: int) -> Places:
    """Return the places that distances lead to."""
    # No distance may reach n: sums of fewer than 2**31 of them cannot overflow then.
    if distances.max(initial=0) > n or (places := np.cumsum(distances) - 1).max(initial=-1) >= n:
        reader.refuse("positions", expected=f"places below {n}", found="others")
    return places


def find_largest(
    values: NDArray[np.float32], schema: Schema, *, density: float, scope: str
) -> Places:
    """Return the places, ascending, of those values that are largest in size.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
    schema : Schema
    density : float
        Part of the values; at least one, rounded to a whole number.
    scope : {"update", "tensor"}
        Whether that part is taken of all values or of each tensor.

    Returns
    -------
    ndarray, int64
        None of them that of a zero.
    """
    places = [place for _, place in tensor_slices(schema)] if scope == "tensor" else [slice(None)]
    chosen: list[NDArray[Any]] = [np.zeros(0, np.int64)]
    for place in places:
        size = np.abs(values[place])
        if size.size:
            n_chosen = max(1, round(density * size.size))
            largest = np.argpartition(size, size.size - n_chosen)[size.size - n_chosen :]
            chosen.append((place.start or 0) + largest[size[largest] > 0])
    return np.sort(np.concatenate(chosen)).astype(np.int64)
