# SPDX-License-Identifier: Apache-2.0
"""Randomised Hadamard rotation of a vector in pieces, and the best scalar quantiser behind it.

A rotated piece looks like samples of a normal distribution, whatever it was before. Invariant: all
chance is in the raw words of PCG64, which NumPy promises never to change, so that a seed means the
same rotation on every machine.

References
----------
.. [1] A. T. Suresh et al., "Distributed Mean Estimation with Limited Communication", ICML 2017.
.. [2] S. P. Lloyd, "Least Squares Quantization in PCM", IEEE Trans. Inf. Theory 28(2), 1982; J.
   Max, "Quantizing for Minimum Distortion", IRE Trans. Inf. Theory 6(1), 1960.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.method import tensor_slices
from fl_deepcabac.schema import Schema

__all__ = ["Piece", "lloyd_max", "pieces_of", "random_signs", "rotate"]

Matrix = NDArray[np.float64]
_LLOYD_ROUNDS = 2000


@dataclass(frozen=True)
class Piece:
    """A stretch of the vector that is rotated as `n_rows` rows of `width`, a power of two."""

    place: slice
    n_rows: int
    width: int

    def rows(self, values: NDArray[np.float32]) -> Matrix:
        """Return the stretch as rows, zeros at its end where it does not fill them."""
        padded = np.zeros(self.n_rows * self.width)
        own = values[self.place]
        padded[: own.size] = own
        return padded.reshape(self.n_rows, self.width)

    def flat(self, rows: Matrix) -> Matrix:
        """Return what `rows` made rows of."""
        return rows.reshape(-1)[: self.place.stop - self.place.start]


def pieces_of(schema: Schema, block: int) -> Iterator[Piece]:
    """Divide each tensor into rows of `block`, and what is left into one of the next power of two.

    Tensors are not mixed: their scales differ by orders of magnitude.
    """
    for spec, place in tensor_slices(schema):
        n_rows, n_left = divmod(spec.n_elements, block)
        edge = place.start + n_rows * block
        if n_rows:
            yield Piece(slice(place.start, edge), n_rows, block)
        if n_left:
            yield Piece(slice(edge, place.stop), 1, 1 << (n_left - 1).bit_length())


def random_signs(seed: int, n: int) -> NDArray[np.int8]:
    """Return `n` values of 1 or -1."""
    words = np.random.PCG64(seed).random_raw(-(-n // 64)).astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), count=n)
    return 1 - 2 * bits.astype(np.int8)


def rotate(rows: Matrix) -> Matrix:
    """Return the Walsh-Hadamard transform of each row, of unit length: its own inverse."""
    n_rows, width = rows.shape
    rotated, half = rows, 1
    while half < width:
        pairs = rotated.reshape(n_rows, -1, 2, half)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        rotated = np.stack([first + second, first - second], axis=2)
        half *= 2
    return rotated.reshape(n_rows, width) / math.sqrt(width)


@cache
def lloyd_max(bits: int) -> tuple[float, ...]:
    """Return the 2**bits values that quantise a standard normal with the least squared error [2]_.

    Examples
    --------
    >>> [round(value, 4) for value in lloyd_max(2)]
    [-1.5104, -0.4528, 0.4528, 1.5104]
    """
    values = np.linspace(-2.0, 2.0, 2**bits)
    for _ in range(_LLOYD_ROUNDS):
        edges = [-math.inf, *((values[1:] + values[:-1]) / 2), math.inf]
        below = np.array([(1 + math.erf(edge / math.sqrt(2))) / 2 for edge in edges])
        density = np.array([math.exp(-(edge**2) / 2) / math.sqrt(2 * math.pi) for edge in edges])
        moved = (density[:-1] - density[1:]) / (below[1:] - below[:-1])
        if np.array_equal(moved, values):
            break
        values = moved
    # Rounding has left them a little off symmetry.
    return tuple(float(value) for value in (values - values[::-1]) / 2)
