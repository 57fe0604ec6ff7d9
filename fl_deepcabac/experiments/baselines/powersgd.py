# SPDX-License-Identifier: Apache-2.0
"""PowerSGD: each matrix as a product of two thin ones, found by one step of power iteration.

References
----------
.. [1] T. Vogels et al., "PowerSGD: Practical Low-Rank Gradient Compression for Distributed
   Optimization", NeurIPS 2019, algorithms 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.experiments.baselines.checks import require_integer, require_name
from fl_deepcabac.experiments.baselines.method import (
    Carried,
    FloatMethod,
    Memory,
    Update,
    read_exact,
    tensor_slices,
)
from fl_deepcabac.experiments.baselines.payload import PayloadReader, write_floats
from fl_deepcabac.schema import Schema

__all__ = ["PowerSgd"]

_DTYPES: Final = {"float32": "<f4", "float16": "<f2"}
_MEMORY_PREFIX: Final = "right factor of "


class _Factored(NamedTuple):
    """A tensor that is sent as factors: rows by rank, and columns by rank."""

    name: str
    place: slice
    n_rows: int
    n_columns: int


@dataclass(frozen=True, kw_only=True)
class PowerSgd(FloatMethod):
    """Low rank, warm-started, with error feedback [1]_.

    In data-parallel training the left factors are averaged before they are made orthogonal, and all
    workers share them. Clients that train apart cannot do so: each sends both factors. Tensors of
    one axis, and those that factors would not make smaller, travel as they are.

    Parameters
    ----------
    rank : int
        In [1, 1024].
    values : {"float32", "float16"}
        How factors are sent; the left one has unit columns, so that half precision suits it.
    """

    name: ClassVar[str] = "powersgd"
    error_feedback: bool = True
    rank: int = 2
    values: str = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer(self, "rank", 1, 1024)
        require_name(self, "values", tuple(_DTYPES))

    def encode(
        self, update: Update, schema: Schema, memory: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[bytes, Memory]:
        """Return an update as bytes; the right factors start the next one."""
        payload, after = super().encode(update, schema, memory, rng)
        reader = PayloadReader(payload)
        read_exact(reader, schema)
        for part in self._parts(schema):
            _, right = self._read_factors(reader, part)
            after[_MEMORY_PREFIX + part.name] = right
        return payload, after

    def pack(self, carried: Carried) -> bytes:
        """Return left and right factors, then what travels as it is."""
        is_plain = np.ones(carried.values.size, bool)
        written = []
        for part in self._parts(carried.schema):
            is_plain[part.place] = False
            matrix = carried.values[part.place].astype(np.float64)
            left, right = self._factor(matrix.reshape(part.n_rows, part.n_columns), part, carried)
            written += [write_floats(factor, _DTYPES[self.values]) for factor in (left, right)]
        return b"".join(written) + write_floats(carried.values[is_plain])

    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.float64]:
        """Return the vector."""
        n = sum(spec.n_elements for spec in schema.level_tensors)
        values, is_plain = np.zeros(n), np.ones(n, bool)
        for part in self._parts(schema):
            is_plain[part.place] = False
            left, right = self._read_factors(reader, part)
            product = left.astype(np.float64) @ right.astype(np.float64).T
            values[part.place] = product.reshape(-1)
        values[is_plain] = reader.floats(int(is_plain.sum()), "plain tensors")
        return values

    def _factor(
        self, matrix: NDArray[np.float64], part: _Factored, carried: Carried
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Take one step of power iteration from the right factor of the update before."""
        start = carried.memory.get(_MEMORY_PREFIX + part.name)
        if start is None or start.shape != (part.n_columns, self.rank) or not start.any():
            start = carried.rng.standard_normal((part.n_columns, self.rank))
        # To a largest value of 1, so that products of large values stay numbers.
        largest = float(np.abs(matrix).max()) or 1.0
        left, _ = np.linalg.qr(matrix / largest @ (start / np.abs(start).max()))
        dtype = _DTYPES[self.values]
        # The right factor makes up for how the left one is rounded.
        rounded = left.astype(dtype).astype(np.float64)
        return rounded, (matrix / largest).T @ rounded * largest

    def _read_factors(
        self, reader: PayloadReader, part: _Factored
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        dtype = _DTYPES[self.values]
        left = reader.floats(part.n_rows * self.rank, "left factor", dtype)
        right = reader.floats(part.n_columns * self.rank, "right factor", dtype)
        return left.reshape(-1, self.rank), right.reshape(-1, self.rank)

    def _parts(self, schema: Schema) -> Iterator[_Factored]:
        """Yield the tensors that factors make smaller."""
        for spec, place in tensor_slices(schema):
            n_rows, n_columns = spec.matrix_shape
            is_tall_enough = min(n_rows, n_columns) > self.rank
            if is_tall_enough and self.rank * (n_rows + n_columns) < n_rows * n_columns:
                yield _Factored(spec.name, place, n_rows, n_columns)
