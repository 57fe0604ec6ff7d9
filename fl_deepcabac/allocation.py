# SPDX-License-Identifier: Apache-2.0
"""Which step each tensor gets: how the bits are shared out (docs/decisions/0004).

An encoder's matter only: steps travel in the packet. Relative steps are rounded to three bits of
mantissa, so that a step that hardly moves costs one bin a packet.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.arrays import level_slices
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import ConfigError
from fl_deepcabac.schema import Schema

__all__ = ["allocate_steps", "round_mantissa", "share_by_size", "unit_steps"]

# Steps outside are no steps of the format (spec 9).
MIN_STEP, MAX_STEP = 2.0**-100, 2.0**100
# Small tensors get steps down to this part of the largest tensor's.
FINEST_SHARE = 0.2
# A step is measured against at least this part of what is to be coded: a residual far larger than
# the update, as after training has settled, would otherwise take many steps to count.
LEAST_CARRIED_PART = 0.25
# A relative step keeps this many bits of its float32 mantissa, the most significant of 23.
MANTISSA_BITS = 3


def share_by_size(n_elements: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each tensor's part of the relative step.

    Parameters
    ----------
    n_elements : ndarray, int64, shape (n_tensors,)

    Returns
    -------
    ndarray, float64, shape (n_tensors,)
        ``sqrt(n / max(n))``, at least 0.2: where the relative error of every tensor matters alike,
        bits are best spent in this ratio, because a step half as wide costs ``n`` bits more.
    """
    largest = max(1, int(n_elements.max(initial=1)))
    return np.maximum(np.sqrt(n_elements / largest), FINEST_SHARE)


def allocate_steps(
    values: NDArray[np.float32],
    *,
    schema: Schema,
    config: CodecConfig,
    own_values: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Choose the step of every level-coded tensor.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
        All level-coded tensors of the update end to end, as they are to be coded.
    schema : Schema
    config : CodecConfig
    own_values : ndarray, float32, shape (n,), optional
        The update without the residual of error feedback, where `values` hold one.

    Returns
    -------
    ndarray, float32, shape (n_level_tensors,)
        In the units of the update, within the bounds of the format.

    Raises
    ------
    ConfigError
        If a pattern of `step_overrides` matches no tensor of the schema.
    """
    if config.step is not None:
        wanted = config.step * _override_factors(schema, config)
        return np.clip(wanted, MIN_STEP, MAX_STEP).astype(np.float32)
    units = unit_steps(values, schema=schema, config=config, own_values=own_values)
    wanted = float(config.relative_step or 0.0) * units
    return round_mantissa(np.clip(wanted, MIN_STEP, MAX_STEP).astype(np.float32))


def unit_steps(
    values: NDArray[np.float32],
    *,
    schema: Schema,
    config: CodecConfig,
    own_values: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """Return the step of every level-coded tensor at a relative step of 1, not rounded.

    Parameters
    ----------
    values, schema, config, own_values
        As for `allocate_steps`, whose exceptions it raises.

    Returns
    -------
    ndarray, float64, shape (n_level_tensors,)
        Positive. A tensor of zeros is coded without a step and gets 1.
    """
    specs = schema.level_tensors
    n_elements = np.array([spec.n_elements for spec in specs], np.int64)
    shares = share_by_size(n_elements) if config.allocation == "size" else np.ones(len(specs))
    scales = _scales(values, schema)
    if own_values is not None:
        # Measured with the residual, steps would grow with what they leave out, and the values of
        # a tensor without heavy tails would never reach a step.
        scales = np.maximum(_scales(own_values, schema), LEAST_CARRIED_PART * scales)
    units = _override_factors(schema, config) * shares * scales
    return np.where(scales > 0, units, 1.0)


def _override_factors(schema: Schema, config: CodecConfig) -> NDArray[np.float64]:
    """Return the factor of the first pattern that matches each level-coded tensor, 1 for none."""
    overrides = dict(config.step_overrides)
    for pattern in overrides:
        if not any(fnmatchcase(spec.name, pattern) for spec in schema.tensors):
            raise ConfigError(
                "step_overrides", expected="patterns that match a tensor", found=pattern
            )
    factors = [
        next((overrides[pattern] for pattern in overrides if fnmatchcase(spec.name, pattern)), 1.0)
        for spec in schema.level_tensors
    ]
    return np.array(factors, np.float64)


def _scales(values: NDArray[np.float32], schema: Schema) -> NDArray[np.float64]:
    """Return the root mean square of every level-coded tensor."""
    return np.array([_root_mean_square(values[place]) for _, place in level_slices(schema)])


def _root_mean_square(values: NDArray[np.float32]) -> float:
    """Root of the mean square, summed in float64; 0 for an empty tensor."""
    if values.size == 0:
        return 0.0
    wide = values.astype(np.float64)
    return float(np.sqrt(np.mean(wide * wide)))


def round_mantissa(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round positive normal float32 numbers to `MANTISSA_BITS` bits of mantissa."""
    dropped = 23 - MANTISSA_BITS
    bits = steps.view(np.uint32) + np.uint32(1 << (dropped - 1))
    rounded = (bits >> np.uint32(dropped)) << np.uint32(dropped)
    return np.minimum(rounded.view(np.float32), np.float32(MAX_STEP))
