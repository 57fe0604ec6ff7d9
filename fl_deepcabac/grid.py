# SPDX-License-Identifier: Apache-2.0
"""Weights on a grid: whole multiples of a power of two, one for each tensor.

Two ends that add up decoded updates hold equal weights only if sums are exact. Those of multiples
of a power of two are, as long as they fit the 24 bits of a float32; so updates are coded with such
steps (`encode_update` with ``on_grid``), and weights on a grid can be coded exactly at any time, as
levels, for an end that holds nothing yet.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.allocation import MAX_STEP, MIN_STEP, own_factor, round_mantissa
from fl_deepcabac.arrays import flatten_values, join_exact, level_slices, unflatten_values
from fl_deepcabac.codec import MAX_LEVEL
from fl_deepcabac.config import Profile
from fl_deepcabac.content_digest import content_digest
from fl_deepcabac.entropy import encode_levels
from fl_deepcabac.packet import write_packet
from fl_deepcabac.schema import Schema
from fl_deepcabac.stream import StreamState

__all__ = ["encode_exactly", "grid_of", "round_to_grid"]

# Vectors of positive weights, scales and variances, get a step below the least of them, down to
# this part of their root mean square: levels have 24 bits, and later differences want some.
FINEST_POSITIVE_STEP = 2.0**-16

Arrays = dict[str, NDArray[np.generic]]


def round_to_grid(
    arrays: Mapping[str, NDArray[np.generic]], schema: Schema, *, relative_step: float
) -> Arrays:
    """Round every tensor that is coded as levels to the nearest multiples of a power of two.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The tensors of the schema; floats finite.
    schema : Schema
    relative_step : float
        The power of two, in units of the root mean square of each tensor, about; finer for running
        statistics, as `own_factor` says, and where a positive weight of a vector would become zero.

    Returns
    -------
    dict of str to ndarray
        In the dtypes of the schema; exact tensors are those of `arrays`.
    """
    values = flatten_values(arrays, schema)
    rounded = dict(arrays)
    for spec, place in level_slices(schema):
        own = values[place]
        scale = np.sqrt(np.mean(np.square(own, dtype=np.float64))) if own.size else 0.0
        if scale == 0:
            # Adding zero leaves no negative one, which no level stands for.
            rounded[spec.name] = arrays[spec.name] + np.zeros((), spec.dtype)
            continue
        if not scale < np.inf:
            continue
        wanted = relative_step * own_factor(spec.name) * scale
        if len(spec.shape) == 1 and (least := float(own.min())) > 0:
            wanted = min(wanted, max(least, FINEST_POSITIVE_STEP * scale))
        step = round_mantissa(np.array([np.clip(wanted, MIN_STEP, MAX_STEP)], np.float32), 0)
        rounded[spec.name] = unflatten_values(np.rint(own / step) * step + np.float32(0), spec)
    return rounded


def grid_of(values: NDArray[np.float32]) -> float:
    """Return the largest power of two of which all values are multiples; 1 where all are zero."""
    nonzero = values[values != 0]
    if not nonzero.size:
        return 1.0
    fractions, exponents = np.frexp(nonzero)
    whole = (fractions * np.float32(2**24)).astype(np.int64)
    lowest = np.log2((whole & -whole).astype(np.float64))
    return float(2.0 ** float((exponents - 24 + lowest).min()))


def encode_exactly(
    arrays: Mapping[str, NDArray[np.generic]],
    *,
    schema: Schema,
    profile: Profile,
    threads: int = 1,
) -> bytes | None:
    """Code weights on a grid as a packet that decodes to exactly them, against a fresh state.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The tensors of the schema.
    schema : Schema
    profile : {"fast", "max"}
    threads : int

    Returns
    -------
    bytes or None
        None where a tensor is on no grid of at most 2**24 steps, or holds what float32 does not.
    """
    values = flatten_values(arrays, schema)
    levels = np.empty(values.size, np.int32)
    steps = np.ones(len(schema.level_tensors), np.float32)
    for i, (spec, place) in enumerate(level_slices(schema)):
        own = values[place]
        if not np.isfinite(own).all():
            return None
        step = grid_of(own)
        if not MIN_STEP <= step <= MAX_STEP or np.abs(own).max(initial=0) > MAX_LEVEL * step:
            return None
        levels[place] = own / np.float32(step)
        restored = unflatten_values(levels[place].astype(np.float32) * np.float32(step), spec)
        if restored.tobytes() != np.asarray(arrays[spec.name], spec.dtype).tobytes():
            return None
        steps[i] = step
    state = StreamState.fresh(schema, profile)
    coded = encode_levels(state.levels, levels, steps, rd_lambda=0.0, threads=threads)
    exact = join_exact(arrays, schema)
    return write_packet(
        schema=schema,
        profile=profile,
        base_state_digest=state.digest,
        sequence_number=0,
        is_fresh=True,
        content_digest=content_digest(coded.values, exact),
        exact=exact,
        payload=coded.payload,
    )
