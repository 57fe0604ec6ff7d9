# SPDX-License-Identifier: Apache-2.0
"""Checks at the boundary: what the caller's arrays become before any coding.

After `flatten_values` and `join_exact` only contiguous vectors are left: one of float32 values for
all tensors that are coded as levels, one of bytes for all tensors that travel exactly.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.errors import (
    ImportanceError,
    NonFiniteError,
    SchemaMismatchError,
    SensitivityError,
)
from fl_deepcabac.schema import Schema, TensorSpec

__all__ = [
    "Sensitivity",
    "check_finite",
    "check_update",
    "flatten_importance",
    "flatten_values",
    "join_exact",
    "level_slices",
    "log_sensitivities",
    "split_exact",
    "unflatten_values",
]

Update = Mapping[str, NDArray[np.generic]]
Sensitivity = Mapping[str, float | NDArray[np.generic]]


def check_update(update: Update, schema: Schema) -> dict[str, NDArray[np.generic]]:
    """Return the arrays in schema order.

    Parameters
    ----------
    update : mapping of str to ndarray
    schema : Schema

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    SchemaMismatchError
        If names, shapes or dtypes differ from the schema.
    """
    expected = {spec.name for spec in schema.tensors}
    if missing := sorted(expected - update.keys()):
        raise SchemaMismatchError(f"update: expected the tensors of the schema, missing {missing}")
    if surplus := sorted(update.keys() - expected):
        raise SchemaMismatchError(
            f"update: expected the tensors of the schema only, found {surplus} as well"
        )
    arrays = {spec.name: np.asarray(update[spec.name]) for spec in schema.tensors}
    for spec in schema.tensors:
        array = arrays[spec.name]
        is_as_expected = array.shape == spec.shape and array.dtype == spec.dtype
        # Names do not tell byte orders apart, but take NumPy longer than dtypes.
        if not is_as_expected and (array.dtype.name, array.shape) != (spec.dtype, spec.shape):
            raise SchemaMismatchError(
                f"tensor {spec.name!r}: expected {spec.dtype} of shape {spec.shape}, "
                f"found {array.dtype.name} of shape {array.shape}"
            )
    return arrays


def check_finite(arrays: Update, values: NDArray[np.float32], schema: Schema) -> None:
    """Refuse NaN and infinity in tensors that are coded as levels.

    Parameters
    ----------
    arrays : mapping of str to ndarray
    values : ndarray, float32, shape (n,)
        The same, joined by `flatten_values`.
    schema : Schema

    Raises
    ------
    NonFiniteError
        At the first one.
    """
    if np.isfinite(values).all():
        return
    for spec in schema.level_tensors:
        # A float64 value may be finite and beyond float32.
        is_finite = np.isfinite(arrays[spec.name])
        if not is_finite.all():
            index = tuple(int(i) for i in np.argwhere(~is_finite)[0])
            raise NonFiniteError(spec.name, index, float(arrays[spec.name][index]))


def level_slices(schema: Schema) -> Iterator[tuple[TensorSpec, slice]]:
    """Yield each level-coded tensor with its place in the flat vectors."""
    begin = 0
    for spec in schema.level_tensors:
        yield spec, slice(begin, begin + spec.n_elements)
        begin += spec.n_elements


def flatten_values(arrays: Update, schema: Schema) -> NDArray[np.float32]:
    """Join the level-coded tensors, row-major, into one float32 vector.

    A float64 value beyond float32 becomes infinity here and is reported by the quantiser as too
    many steps away from zero.
    """
    values = np.empty(sum(spec.n_elements for spec in schema.level_tensors), np.float32)
    with np.errstate(over="ignore"):
        for spec, place in level_slices(schema):
            values[place] = arrays[spec.name].reshape(-1)
    return values


def flatten_importance(importance: Update, schema: Schema) -> NDArray[np.float32]:
    """Join the importance of level-coded tensors into one vector, of mean 1 in each tensor.

    Parameters
    ----------
    importance : mapping of str to ndarray
        Of some or all level-coded tensors: their names and shapes, any float dtype. Only ratios
        within a tensor count, because each is divided by its mean.
    schema : Schema

    Returns
    -------
    ndarray, float32, shape (n,)
        1 throughout a tensor that is not named, or whose importance is 0 throughout.

    Raises
    ------
    SchemaMismatchError
        If a name, a shape or a kind of dtype is not that of a level-coded tensor.
    ImportanceError
        If a value is negative, NaN or infinite.
    """
    _check_names("importance", importance, schema)
    weights = np.ones(sum(spec.n_elements for spec in schema.level_tensors), np.float32)
    for spec, place in level_slices(schema):
        if spec.name not in importance:
            continue
        wide = _checked_floats(importance[spec.name], spec, what="importance", shapes=(spec.shape,))
        if (index := _first_bad(wide)) is not None:
            raise ImportanceError(spec.name, index, float(wide[index]))
        if (largest := wide.max(initial=0.0)) > 0:
            wide /= largest  # so that no mean overflows
            weights[place] = wide.reshape(-1) / wide.mean()
    return weights


def log_sensitivities(sensitivity: Sensitivity, schema: Schema) -> dict[str, float]:
    """Return the natural logarithm of the mean sensitivity of each tensor that is named.

    Parameters
    ----------
    sensitivity : mapping of str to float or ndarray
        Of some or all level-coded tensors: one number, or floats in the tensor's shape.
    schema : Schema

    Returns
    -------
    dict of str to float
        Finite. A tensor without elements is left out.

    Raises
    ------
    SchemaMismatchError
        If a name, a shape or a kind of dtype is not that of a level-coded tensor.
    SensitivityError
        If a value is negative, NaN or infinite, or all values of a tensor are 0.
    """
    _check_names("sensitivity", sensitivity, schema)
    logarithms = {}
    for spec in schema.level_tensors:
        if spec.name not in sensitivity or not spec.n_elements:
            continue
        given = sensitivity[spec.name]
        if isinstance(given, numbers.Real) and not isinstance(given, bool):
            given = float(given)
        wide = _checked_floats(given, spec, what="sensitivity", shapes=((), spec.shape))
        if (index := _first_bad(wide)) is not None:
            raise SensitivityError(spec.name, index, float(wide[index]))
        if (largest := float(wide.max())) == 0.0:
            raise SensitivityError(spec.name, (), 0.0)
        # Relative to the largest, so that no mean overflows or vanishes.
        logarithms[spec.name] = math.log(largest) + math.log(float((wide / largest).mean()))
    return logarithms


def _check_names(what: str, given: Mapping[str, object], schema: Schema) -> None:
    """Refuse names of no level-coded tensor."""
    if surplus := sorted(given.keys() - {spec.name for spec in schema.level_tensors}):
        raise SchemaMismatchError(f"{what}: expected names of level-coded tensors, found {surplus}")


def _checked_floats(
    given: object, spec: TensorSpec, *, what: str, shapes: tuple[tuple[int, ...], ...]
) -> NDArray[np.float64]:
    """Return what the errors of a tensor count as an array of one of the shapes."""
    array = np.asarray(given)
    if array.dtype.kind != "f" or array.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise SchemaMismatchError(
            f"{what} of tensor {spec.name!r}: expected floats of shape {expected}, "
            f"found {array.dtype.name} of shape {array.shape}"
        )
    return array.astype(np.float64)


def _first_bad(wide: NDArray[np.float64]) -> tuple[int, ...] | None:
    """Return where the first value is that is negative or not finite; None if there is none."""
    is_good = np.isfinite(wide) & (wide >= 0)
    return None if is_good.all() else tuple(int(i) for i in np.argwhere(~is_good)[0])


def unflatten_values(values: NDArray[np.float32], spec: TensorSpec) -> NDArray[np.generic]:
    """Give one tensor's values their shape and dtype; float16 saturates at its largest value."""
    if spec.dtype == "float16":
        bound = np.float32(np.finfo(np.float16).max)
        values = np.clip(values, -bound, bound)
    return values.reshape(spec.shape).astype(spec.dtype, copy=False)


def join_exact(arrays: Update, schema: Schema) -> bytes:
    """Join the exact tensors, row-major and little-endian."""
    return b"".join(
        np.ascontiguousarray(arrays[spec.name]).astype(_little_endian(spec), copy=False).tobytes()
        for spec in schema.exact_tensors
    )


def split_exact(joined: bytes, schema: Schema) -> dict[str, NDArray[np.generic]]:
    """Take apart what `join_exact` joined; `joined` holds exactly the bytes of the schema."""
    arrays: dict[str, NDArray[np.generic]] = {}
    begin = 0
    for spec in schema.exact_tensors:
        flat = np.frombuffer(joined, _little_endian(spec), spec.n_elements, offset=begin)
        arrays[spec.name] = flat.reshape(spec.shape).astype(spec.dtype)
        begin += spec.raw_bytes
    return arrays


def _little_endian(spec: TensorSpec) -> np.dtype[np.generic]:
    return np.dtype(spec.dtype).newbyteorder("<")
