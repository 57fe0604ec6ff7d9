# SPDX-License-Identifier: Apache-2.0
"""A codebook per tensor, and Huffman codes of its indices.

References
----------
.. [1] S. Han, H. Mao and W. J. Dally, "Deep Compression: Compressing Deep Neural Networks with
   Pruning, Trained Quantization and Huffman Coding", ICLR 2016.
.. [2] S. P. Lloyd, "Least Squares Quantization in PCM", IEEE Trans. Inf. Theory 28(2), 1982.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.bits import BitReader, BitWriter
from fl_deepcabac.experiments.baselines.checks import require_integer
from fl_deepcabac.experiments.baselines.huffman import code_lengths, read_symbols, write_symbols
from fl_deepcabac.experiments.baselines.method import Carried, FloatMethod, tensor_slices
from fl_deepcabac.experiments.baselines.payload import PayloadReader, write_floats
from fl_deepcabac.schema import Schema

__all__ = ["KMeans", "find_codebook"]

_LENGTH_BITS = 4


@dataclass(frozen=True, kw_only=True)
class KMeans(FloatMethod):
    """Each value as one of 2**bits of its tensor's own, found by k-means, in Huffman code [1]_.

    A tensor's code lengths, half a byte each, its codebook, then all indices. Zero is always in the
    codebook. Tensors of no more values than a codebook travel as they are.

    Parameters
    ----------
    bits : int
        In [1, 8].
    iterations : int
        At most so many rounds of Lloyd's algorithm [2]_, from values spread evenly over the range,
        which the paper found best.
    """

    name: ClassVar[str] = "kmeans"
    bits: int = 4
    iterations: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer(self, "bits", 1, 8)
        require_integer(self, "iterations", 0, 10_000)

    def pack(self, carried: Carried) -> bytes:
        """Return code lengths and codebooks, small tensors, and indices."""
        heads, bits = [], BitWriter()
        for spec, place in tensor_slices(carried.schema):
            values = carried.values[place]
            if spec.n_elements <= 2**self.bits:
                heads.append(write_floats(values))
                continue
            codebook = find_codebook(values, 2**self.bits, self.iterations)
            indices = np.searchsorted(_edges(codebook), values)
            lengths = code_lengths(np.bincount(indices, minlength=2**self.bits))
            head = BitWriter()
            head.fields(lengths, _LENGTH_BITS)
            heads += [head.to_bytes(), write_floats(codebook[lengths > 0])]
            write_symbols(bits, indices, lengths)
        return b"".join(heads) + bits.to_bytes()

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float32]:
        """Return the vector."""
        n = sum(spec.n_elements for spec in schema.level_tensors)
        values, coded = np.zeros(n, np.float32), []
        for spec, place in tensor_slices(schema):
            if spec.n_elements <= 2**self.bits:
                values[place] = reader.floats(spec.n_elements, "small tensor")
                continue
            n_bytes = -(-(_LENGTH_BITS << self.bits) // 8)
            head = BitReader(reader.take(n_bytes, "code lengths"), "code lengths")
            lengths = head.fields(2**self.bits, _LENGTH_BITS)
            codebook = np.zeros(2**self.bits, np.float32)
            is_used = lengths > 0
            codebook[is_used] = reader.floats(int(is_used.sum()), "codebook")
            coded.append((place, lengths, codebook))
        bits = BitReader(reader.rest(), "indices")
        for place, lengths, codebook in coded:
            values[place] = codebook[read_symbols(bits, place.stop - place.start, lengths)]
        bits.finish()
        return values


def find_codebook(
    values: NDArray[np.float32], n_entries: int, iterations: int
) -> NDArray[np.float64]:
    """Return values that are near those of a tensor, ascending, zero among them.

    In one dimension clusters are intervals: with sorted values and their running sums, an iteration
    takes time for the codebook only, not for the tensor.
    """
    ordered = np.sort(values).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    codebook = np.linspace(ordered[0], ordered[-1], n_entries)
    zero = int(np.abs(codebook).argmin())
    codebook[zero] = 0.0
    codebook.sort()
    for _ in range(iterations):
        zero = int(np.flatnonzero(codebook == 0.0)[0])
        bounds = np.searchsorted(ordered, _edges(codebook))
        bounds = np.concatenate([[0], bounds, [ordered.size]])
        n_members = np.diff(bounds)
        means = np.divide(
            np.diff(sums[bounds]), n_members, out=codebook.copy(), where=n_members > 0
        )
        means[zero] = 0.0
        means = np.maximum.accumulate(means)  # rounding of sums can swap neighbours
        if np.array_equal(means, codebook):
            break
        codebook = means
    return codebook


def _edges(codebook: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middles between neighbours."""
    return (codebook[1:] + codebook[:-1]) / 2
