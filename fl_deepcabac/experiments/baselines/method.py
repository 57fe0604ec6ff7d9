# SPDX-License-Identifier: Apache-2.0
"""What a method of compression is, and what nearly all of them share.

`Method` is the interface: pure functions between an update and bytes, with a memory on each side
that the caller keeps. `FloatMethod` is all of it but the coding of one float32 vector. Invariant:
exact tensors travel as they are, and decoded floats are finite, whatever the bytes.

References
----------
.. [1] F. Seide et al., "1-Bit Stochastic Gradient Descent and Its Application to Data-Parallel
   Distributed Training of Speech DNNs", Interspeech 2014: error feedback.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.arrays import (
    check_finite,
    check_update,
    flatten_values,
    join_exact,
    level_slices,
    split_exact,
    unflatten_values,
)
from fl_deepcabac.errors import EncodeError
from fl_deepcabac.exact_section import check_bools
from fl_deepcabac.experiments.baselines.checks import require_bool
from fl_deepcabac.experiments.baselines.payload import PayloadReader
from fl_deepcabac.schema import Schema, TensorSpec

__all__ = [
    "RESIDUAL",
    "Carried",
    "FloatMethod",
    "Memory",
    "Method",
    "Update",
    "add_residual",
    "check_values",
    "find_left_out",
    "join_tensors",
    "read_exact",
    "tensor_slices",
]

Update = Mapping[str, NDArray[Any]]
# What one side keeps from one update to the next, by names of the method's own.
Memory = dict[str, NDArray[Any]]
Values = NDArray[np.float32]

RESIDUAL: Final = "residual"
_LARGEST: Final = float(np.finfo(np.float32).max)


class Method(Protocol):
    """A way to make an update small.

    Frozen, and the same on both sides: what is in its settings need not travel.
    """

    @property
    def name(self) -> str:
        """Name in the catalogue."""

    def encode(
        self, update: Update, schema: Schema, memory: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[bytes, Memory]:
        """Return an update as bytes, and what to remember for the next one.

        Parameters
        ----------
        update : mapping of str to ndarray
        schema : Schema
            Of the update.
        memory : mapping of str to ndarray
            As the last call returned it; empty at first. Left as it is.
        rng : Generator
            Where chance comes from.

        Raises
        ------
        SchemaMismatchError
            If the update does not fit the schema.
        NonFiniteError
            If it holds NaN or infinity.
        EncodeError
            If it cannot be coded otherwise.
        """

    def decode(
        self, payload: bytes, schema: Schema, memory: Mapping[str, Any]
    ) -> tuple[dict[str, NDArray[Any]], Memory]:
        """Return the update that bytes stand for, and what to remember of this sender.

        Raises
        ------
        DecodeError
            If the bytes are damaged.
        """

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""


@dataclass(frozen=True)
class Carried:
    """What there is to code: the update plus what earlier ones left out.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
        All tensors that are not exact, end to end.
    schema : Schema
    memory : mapping of str to ndarray
        From the update before.
    rng : Generator
    """

    values: Values
    schema: Schema
    memory: Mapping[str, NDArray[Any]]
    rng: np.random.Generator


@dataclass(frozen=True, kw_only=True)
class FloatMethod(ABC):
    """A method that codes one float32 vector, and keeps a residual if it is told to.

    Parameters
    ----------
    error_feedback : bool
        Whether what is lost of an update is added to the next [1]_. The encoder then decodes, too.

    Raises
    ------
    SettingsError
        If a setting is out of range.
    """

    name: ClassVar[str]
    error_feedback: bool = False

    def __post_init__(self) -> None:
        require_bool(self, "error_feedback")

    @abstractmethod
    def pack(self, carried: Carried) -> bytes:
        """Return the bytes of a vector of any length, 0 included."""

    @abstractmethod
    def unpack(self, reader: PayloadReader, schema: Schema) -> NDArray[np.floating[Any]]:
        """Return the vector; anything but NaN."""

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    def encode(
        self, update: Update, schema: Schema, memory: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[bytes, Memory]:
        """Return an update as bytes and the residual; see `Method.encode`."""
        arrays = check_update(update, schema)
        values = check_values(arrays, schema)
        if self.error_feedback:
            values = add_residual(values, memory)
        body = self.pack(Carried(values, schema, memory, rng))
        payload = join_exact(arrays, schema) + body
        if not self.error_feedback:
            return payload, {}
        decoded, _ = self.decode(payload, schema, {})
        return payload, {RESIDUAL: find_left_out(values, decoded, schema)}

    def decode(
        self, payload: bytes, schema: Schema, memory: Mapping[str, Any]
    ) -> tuple[dict[str, NDArray[Any]], Memory]:
        """Return the update that bytes stand for, and no memory; see `Method.decode`."""
        del memory
        reader = PayloadReader(payload)
        exact = read_exact(reader, schema)
        values = np.clip(self.unpack(reader, schema), -_LARGEST, _LARGEST).astype(np.float32)
        reader.finish()
        return join_tensors(schema, exact, values), {}


def check_values(arrays: Update, schema: Schema) -> Values:
    """Return all tensors that are not exact as one vector.

    Raises
    ------
    NonFiniteError
        If one holds NaN or infinity.
    EncodeError
        If one of float64 holds a number beyond float32.
    """
    values = flatten_values(arrays, schema)
    check_finite(arrays, values, schema)
    for spec, place in level_slices(schema):
        if not np.isfinite(values[place]).all():
            raise EncodeError(f"tensor {spec.name!r}: expected numbers within float32")
    return values


def add_residual(values: Values, memory: Mapping[str, NDArray[Any]]) -> Values:
    """Return the values with what earlier updates left out, held within float32."""
    residual = memory.get(RESIDUAL)
    if residual is None or residual.shape != values.shape:
        return values
    return _held(values.astype(np.float64) + residual)


def find_left_out(carried: Values, decoded: Update, schema: Schema) -> Values:
    """Return what the receiver does not see of the carried values."""
    return _held(carried.astype(np.float64) - flatten_values(decoded, schema))


def _held(wide: NDArray[np.float64]) -> Values:
    """Return numbers as float32; beyond it, its largest."""
    return np.clip(wide, -_LARGEST, _LARGEST).astype(np.float32)


def tensor_slices(schema: Schema) -> Iterator[tuple[TensorSpec, slice]]:
    """Yield those tensors that are not exact and not empty, with their places in the vector."""
    for spec, place in level_slices(schema):
        if spec.n_elements:
            yield spec, place


def read_exact(reader: PayloadReader, schema: Schema) -> dict[str, NDArray[Any]]:
    """Return the exact tensors, which stand first in every payload."""
    n_bytes = sum(spec.raw_bytes for spec in schema.exact_tensors)
    joined = reader.take(n_bytes, "exact tensors")
    check_bools(joined, schema, offset=0)
    return dict(split_exact(joined, schema))


def join_tensors(
    schema: Schema, exact: Mapping[str, NDArray[Any]], values: Values
) -> dict[str, NDArray[Any]]:
    """Return all tensors of the schema, in its order."""
    floats = {
        spec.name: unflatten_values(values[place], spec) for spec, place in level_slices(schema)
    }
    return {
        spec.name: exact[spec.name] if spec.is_exact else floats[spec.name]
        for spec in schema.tensors
    }
