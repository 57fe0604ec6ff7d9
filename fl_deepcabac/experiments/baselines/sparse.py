# SPDX-License-Identifier: Apache-2.0
"""Sending the largest values only: as they are (top-k), or as their mean and a sign (STC).

References
----------
.. [1] S. U. Stich et al., "Sparsified SGD with Memory", NeurIPS 2018; A. F. Aji and K. Heafield,
   "Sparse Communication for Distributed Gradient Descent", EMNLP 2017.
.. [2] F. Sattler et al., "Robust and Communication-Efficient Federated Learning from Non-i.i.d.
   Data", IEEE Trans. Neural Netw. Learn. Syst. 31(9), 2020, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.bits import BitReader, BitWriter
from fl_deepcabac.experiments.baselines.checks import require_name, require_number
from fl_deepcabac.experiments.baselines.method import Carried, FloatMethod, tensor_slices
from fl_deepcabac.experiments.baselines.payload import PayloadReader, write_count, write_floats
from fl_deepcabac.experiments.baselines.positions import (
    find_largest,
    read_golomb,
    read_positions,
    write_golomb,
    write_positions,
)
from fl_deepcabac.schema import Schema

__all__ = ["SparseTernary", "TopK"]

_DTYPES: Final = {"float32": "<f4", "float16": "<f2"}
MIN_DENSITY: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class TopK(FloatMethod):
    """The largest values, with error feedback [1]_.

    Parameters
    ----------
    density : float
        Part of the weights that is sent, in [1e-6, 1].
    scope : {"update", "tensor"}
        Whether that part is taken of the update or of each tensor.
    values : {"float32", "float16"}
        How they are sent.
    """

    name: ClassVar[str] = "topk"
    error_feedback: bool = True
    density: float = 0.01
    scope: str = "update"
    values: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self, "density", MIN_DENSITY, 1.0)
        require_name(self, "scope", ("update", "tensor"))
        require_name(self, "values", tuple(_DTYPES))

    def pack(self, carried: Carried) -> bytes:
        """Return the number of values, the values, and their positions."""
        values = carried.values
        places = find_largest(values, carried.schema, density=self.density, scope=self.scope)
        return (
            write_count(places.size)
            + write_floats(values[places], _DTYPES[self.values])
            + write_positions(places, values.size)
        )

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float32]:
        """Return the vector."""
        n = sum(spec.n_elements for spec in schema.level_tensors)
        n_sent = reader.count(n, "number of values")
        sent = reader.floats(n_sent, "values", _DTYPES[self.values])
        values = np.zeros(n, np.float32)
        values[read_positions(reader, n_sent, n)] = sent
        return values


@dataclass(frozen=True, kw_only=True)
class SparseTernary(FloatMethod):
    """Sparse ternary compression: the largest values, each as their mean size and its sign [2]_.

    Upstream only; the paper compresses the aggregate in the same way.

    Parameters
    ----------
    density : float
        Part of the weights that is sent, p of the paper, in [1e-6, 1].
    scope : {"update", "tensor"}
        Whether that part, and the mean, are taken of the update or of each tensor.
    """

    name: ClassVar[str] = "stc"
    error_feedback: bool = True
    density: float = 0.01
    scope: str = "update"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self, "density", MIN_DENSITY, 1.0)
        require_name(self, "scope", ("update", "tensor"))

    def pack(self, carried: Carried) -> bytes:
        """Return the number of values, means, signs, and positions in Golomb code."""
        values = carried.values
        places = find_largest(values, carried.schema, density=self.density, scope=self.scope)
        size = np.abs(values[places].astype(np.float64))
        groups = self._groups(carried.schema, places)
        means = [size[group].mean() if group.stop > group.start else 0.0 for group in groups]
        signs = BitWriter()
        signs.flags(values[places] < 0)
        head = write_count(places.size) + write_floats(np.array(means, np.float64))
        return head + signs.to_bytes() + write_golomb(places, values.size)

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float32]:
        """Return the vector."""
        n = sum(spec.n_elements for spec in schema.level_tensors)
        n_sent = reader.count(n, "number of values")
        means = reader.floats(self._n_groups(schema), "means")
        bits = BitReader(reader.take(-(-n_sent // 8), "signs"), "signs")
        signs = 1 - 2 * bits.flags(n_sent).astype(np.float32)
        bits.finish()
        places = read_golomb(reader, n_sent, n)
        for group, mean in zip(self._groups(schema, places), means, strict=True):
            signs[group] *= mean
        values = np.zeros(n, np.float32)
        values[places] = signs
        return values

    def _n_groups(self, schema: Schema) -> int:
        return len(list(tensor_slices(schema))) if self.scope == "tensor" else 1

    def _groups(self, schema: Schema, places: NDArray[np.int64]) -> list[slice]:
        """Return which of the places share a mean."""
        if self.scope == "update":
            return [slice(0, places.size)]
        edges = [(place.start, place.stop) for _, place in tensor_slices(schema)]
        return [slice(*np.searchsorted(places, edge)) for edge in edges]
