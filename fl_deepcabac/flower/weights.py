# SPDX-License-Identifier: Apache-2.0
"""Arithmetic between weights and updates, tensor by tensor, and the dtypes it must keep.

Invariant: an update has the dtypes and shapes of the reference (the weights that the client
received this round); floats are a difference, computed in float32, or in float64 for float64; exact
tensors (integers, booleans, 0-d) carry the new value itself. What comes of each dtype in a round is
in docs/dtypes.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from fl_deepcabac.flower.records import NUMPY_STYPE
from fl_deepcabac.schema import Schema, TensorSpec

__all__ = ["DtypeMemory", "add_reference", "schema_of", "subtract_reference", "tensor_mismatch"]

Tensor = NDArray[Any]


def schema_of(record: Mapping[str, Array]) -> Schema:
    """Describe the weights of a record, one tensor in memory at a time.

    Raises
    ------
    SchemaMismatchError
        If the codec has no rule for a dtype.
    TypeError
        If an Array is not serialised by NumPy.
    """
    # Legacy apps leave dtype and shape of an Array empty: only its data is to be trusted.
    return Schema(tuple(_spec_of(name, array.numpy()) for name, array in record.items()))


def _spec_of(name: str, tensor: Tensor) -> TensorSpec:
    return TensorSpec(name, tuple(tensor.shape), tensor.dtype.name)


def tensor_mismatch(spec: TensorSpec, local: Tensor) -> str | None:
    """Say why a local tensor cannot be coded as an update of the reference; None if it can.

    A float of another width is cast; anything else must be as the reference is.
    """
    both_float = local.dtype.kind == "f" and np.dtype(spec.dtype).kind == "f"
    if local.shape == spec.shape and (both_float or local.dtype.name == spec.dtype):
        return None
    return (
        f"tensor {spec.name!r}: expected {spec.dtype} {spec.shape} as received, "
        f"found {local.dtype} {local.shape}"
    )


def subtract_reference(spec: TensorSpec, local: Tensor, reference: Tensor) -> Tensor:
    """Compute the update of one tensor.

    Parameters
    ----------
    spec : TensorSpec
        Of the reference.
    local, reference : ndarray
        Trained and received weights, of one shape.

    Returns
    -------
    ndarray
        In the dtype and shape of the reference. Infinite where a difference exceeds that dtype: the
        encoder names the tensor and the index. An infinity that has stayed, as in a mask, is a
        difference of 0.
    """
    if spec.is_exact:
        return local.astype(reference.dtype)
    width = _arithmetic_dtype(reference.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        difference = local.astype(width, copy=False) - reference.astype(width, copy=False)
    if np.isnan(difference).any():
        difference[local == reference] = 0
    with np.errstate(over="ignore"):
        return difference.astype(reference.dtype, copy=False)


def add_reference(spec: TensorSpec, update: Tensor, reference: Tensor) -> Tensor:
    """Compute the weights of one tensor: the inverse of `subtract_reference`.

    Returns
    -------
    ndarray
        A new, writable array in the dtype and shape of the reference. Where quantisation has
        carried a sum beyond that dtype, its largest value.
    """
    if spec.is_exact:
        return update.copy()
    width = _arithmetic_dtype(reference.dtype)
    with np.errstate(over="ignore"):
        wide = reference.astype(width, copy=False) + update.astype(width, copy=False)
        weights = wide.astype(reference.dtype, copy=False)
    return _held_in_range(weights, reference)


def _held_in_range(cast: Tensor, origin: Tensor) -> Tensor:
    """Return the largest value of the dtype, with its sign, where a finite one became infinite."""
    is_beyond = np.isinf(cast)
    if not is_beyond.any():
        return cast
    largest = np.copysign(np.finfo(cast.dtype).max, cast)
    return np.where(is_beyond & np.isfinite(origin), largest, cast)


def _arithmetic_dtype(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """Return the width to subtract and add in."""
    return np.float64 if dtype == np.float64 else np.float32


class DtypeMemory:
    """The dtypes that the global weights started with, in native byte order.

    Under NumPy 2, FedAdam and QFedAvg return float64 for float32 weights, and every averaging
    strategy returns floats for integer counters. Sent on as they are, they would double the
    downlink and no longer fit the model. Arrays in foreign byte order fit no torch tensor.
    """

    def __init__(self) -> None:
        self._dtypes: dict[str, np.dtype[Any]] = {}

    def to_plain(self) -> dict[str, str]:
        """Return the dtypes by name, for a checkpoint."""
        return {name: dtype.str for name, dtype in self._dtypes.items()}

    @classmethod
    def from_plain(cls, dtypes: dict[str, str]) -> DtypeMemory:
        """Return the memory that `to_plain` described."""
        memory = cls()
        memory._dtypes = {name: np.dtype(text) for name, text in dtypes.items()}
        return memory

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been remembered yet."""
        return not self._dtypes

    def remember(self, arrays: ArrayRecord) -> None:
        """Take the dtypes of `arrays` for those that `restore` puts back."""
        self._dtypes = {
            name: _dtype_of(array).newbyteorder("=")
            for name, array in arrays.items()
            if array.stype == NUMPY_STYPE
        }

    def restore(self, arrays: ArrayRecord) -> ArrayRecord:
        """Return the same weights in the dtypes remembered; unknown names stay as they are.

        Parameters
        ----------
        arrays : ArrayRecord
            Left as it is: the strategy that made it may keep it.

        Returns
        -------
        ArrayRecord
            `arrays` itself where nothing has to change. Floats become the nearest integer, or True
            above 0.5; what is beyond a dtype becomes its least or largest value. A tensor that
            holds NaN or infinity where integers should be stays as it is: no integer says so.
        """
        restored = {name: self._restore_one(name, array) for name, array in arrays.items()}
        if all(restored[name] is array for name, array in arrays.items()):
            return arrays
        return ArrayRecord(restored)

    def _restore_one(self, name: str, array: Array) -> Array:
        dtype = self._dtypes.get(name)
        if dtype is None or array.stype != NUMPY_STYPE or _dtype_of(array) == dtype:
            return array
        tensor = array.numpy()
        if dtype.kind in "iub" and not np.isfinite(tensor).all():
            return array
        return Array(_cast(tensor, dtype))


def _cast(tensor: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Return a tensor in another dtype; what is beyond that becomes its least or largest value."""
    if dtype.kind in "iu":
        return _to_integers(tensor, dtype)
    whole = np.rint(tensor) if dtype.kind == "b" and tensor.dtype.kind == "f" else tensor
    with np.errstate(over="ignore"):
        # NumPy makes scalars of 0-d arrays on the way; an Array takes arrays only.
        cast = np.asarray(whole, dtype)
    return _held_in_range(cast, whole) if dtype.kind == "f" else cast


def _to_integers(tensor: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Round to the nearest integers of a dtype; to even ones where two are as near."""
    bounds = np.iinfo(dtype)
    whole = np.rint(tensor, dtype=np.float64) if tensor.dtype.kind == "f" else tensor
    with np.errstate(invalid="ignore"):
        cast = np.array(whole, dtype)
    # Compared, not clipped: float64 has no 2**63 - 1, and rounds it up.
    cast[whole >= bounds.max] = bounds.max
    cast[whole <= bounds.min] = bounds.min
    return cast


def _dtype_of(array: Array) -> np.dtype[Any]:
    """Return the dtype of an Array, which legacy apps leave to its data.

    So it is where NumPy does not know the name, as that of bfloat16.
    """
    try:
        return np.dtype(array.dtype) if array.dtype else array.numpy().dtype
    except TypeError:
        return array.numpy().dtype
