# SPDX-License-Identifier: Apache-2.0
"""DRIVE and EDEN: a few bits a coordinate after a random rotation, and one scale a piece.

References
----------
.. [1] S. Vargaftik et al., "DRIVE: One-bit Distributed Mean Estimation", NeurIPS 2021.
.. [2] S. Vargaftik et al., "EDEN: Communication-Efficient and Robust Distributed Mean Estimation
   for Federated Learning", ICML 2022.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.bits import BitReader, BitWriter
from fl_deepcabac.experiments.baselines.checks import require_integer, require_name
from fl_deepcabac.experiments.baselines.method import Carried, FloatMethod
from fl_deepcabac.experiments.baselines.payload import PayloadReader, write_floats
from fl_deepcabac.experiments.baselines.rotation import (
    Piece,
    lloyd_max,
    pieces_of,
    random_signs,
    rotate,
)
from fl_deepcabac.experiments.settings import SettingsError
from fl_deepcabac.schema import Schema

__all__ = ["Drive", "Eden"]

_SEED: Final = struct.Struct("<Q")


@dataclass(frozen=True, kw_only=True)
class Drive(FloatMethod):
    """The signs of a rotated piece [1]_.

    A seed, one scale a piece, one bit a coordinate. Each tensor is rotated in pieces of its own.

    Parameters
    ----------
    scale : {"unbiased", "least error"}
        "unbiased" makes the mean over rotations that of the update, for averages over many clients;
        "least error" makes a single update as near as it can be, and suits error feedback.
    block : int
        Length of a piece, a power of two in [8, 2**20].
    """

    name: ClassVar[str] = "drive"
    scale: str = "unbiased"
    block: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        require_name(self, "scale", ("unbiased", "least error"))
        require_integer(self, "block", 8, 2**20)
        if self.block & (self.block - 1):
            raise SettingsError("block", expected="a power of two", found=self.block)

    @property
    def _n_bits(self) -> int:
        return 1

    def pack(self, carried: Carried) -> bytes:
        """Return seed, scales and the index of each coordinate's centroid."""
        seed = int(carried.rng.integers(2**63))
        pieces = list(pieces_of(carried.schema, self.block))
        centroids = np.array(lloyd_max(self._n_bits))
        edges = (centroids[1:] + centroids[:-1]) / 2
        scales, bits = [np.zeros(0)], BitWriter()
        for piece, signs in zip(pieces, _signs_of(pieces, seed), strict=True):
            rotated = rotate(piece.rows(carried.values) * signs)
            norms = np.linalg.norm(rotated, axis=1)
            # Of standard deviation 1, as the centroids expect.
            spread = np.where(norms > 0, norms, 1)[:, None] / np.sqrt(piece.width)
            indices = np.searchsorted(edges, rotated / spread)
            scales.append(self._scales(rotated, centroids[indices], norms))
            bits.fields(indices.reshape(-1), self._n_bits)
        return _SEED.pack(seed) + write_floats(np.concatenate(scales)) + bits.to_bytes()

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float64]:
        """Return the vector."""
        (seed,) = _SEED.unpack(reader.take(_SEED.size, "seed"))
        pieces = list(pieces_of(schema, self.block))
        scales = reader.floats(sum(piece.n_rows for piece in pieces), "scales").astype(np.float64)
        bits = BitReader(reader.rest(), "indices")
        centroids = np.array(lloyd_max(self._n_bits))
        values = np.zeros(sum(spec.n_elements for spec in schema.level_tensors))
        row = 0
        for piece, signs in zip(pieces, _signs_of(pieces, seed), strict=True):
            indices = bits.fields(piece.n_rows * piece.width, self._n_bits)
            own_scales = scales[row : row + piece.n_rows, None]
            row += piece.n_rows
            rotated = centroids[indices].reshape(piece.n_rows, piece.width) * own_scales
            values[piece.place] = piece.flat(rotate(rotated) * signs)
        bits.finish()
        return values

    def _scales(
        self, rotated: NDArray[np.float64], chosen: NDArray[np.float64], norms: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return what the centroids of each row are to be multiplied by."""
        # Relative to the norm, because squares of large values are no numbers.
        unit = rotated / np.where(norms > 0, norms, 1)[:, None]
        likeness = np.sum(unit * chosen, axis=1)
        scales: NDArray[np.float64] = norms * likeness / np.sum(np.square(chosen), axis=1)
        if self.scale == "unbiased":
            scales = np.divide(norms, likeness, out=np.zeros_like(norms), where=norms > 0)
        return scales


@dataclass(frozen=True, kw_only=True)
class Eden(Drive):
    """The best of 2**bits values for each coordinate of a rotated piece [2]_; else as `Drive`.

    Parameters
    ----------
    bits : int
        A coordinate, in [1, 8]; the paper has 1 to 4.
    """

    name: ClassVar[str] = "eden"
    bits: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer(self, "bits", 1, 8)

    @property
    def _n_bits(self) -> int:
        return self.bits


def _signs_of(pieces: list[Piece], seed: int) -> list[NDArray[np.int8]]:
    """Return the diagonal of each piece's rotation, in its rows."""
    ends = np.cumsum([piece.n_rows * piece.width for piece in pieces])
    signs = random_signs(seed, int(ends[-1]) if pieces else 0)
    return [
        own.reshape(piece.n_rows, piece.width)
        for own, piece in zip(np.split(signs, ends[:-1]), pieces, strict=False)
    ]
