# SPDX-License-Identifier: Apache-2.0
"""Which step each tensor gets: how the bits are shared out (docs/decisions/0004).

An encoder's matter only: steps travel in the packet. Relative steps are rounded to three bits of
mantissa, so that a step that hardly moves costs one bin a packet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.arrays import Sensitivity, level_slices, log_sensitivities
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import ConfigError
from fl_deepcabac.schema import Schema

__all__ = [
    "GivenSteps",
    "allocate_steps",
    "move_by_sensitivity",
    "own_factor",
    "round_mantissa",
    "share_by_size",
    "unit_steps",
]

# Steps outside are no steps of the format (spec 9).
MIN_STEP, MAX_STEP = 2.0**-100, 2.0**100
# Of a bit, in squared steps, as for `CodecConfig.rd_lambda`.
MAX_PRICE = 100.0
# Of the dearest of several prices: below, a price is as good as this part.
LEAST_PART = 2.0**-20
# Small tensors get steps down to this part of the largest tensor's.
FINEST_SHARE = 0.2
# A step is measured against at least this part of what is to be coded: a residual far larger than
# the update, as after training has settled, would otherwise take many steps to count. Small enough
# that values without a tail still reach a whole step at the coarsest defaults: then they are coded.
LEAST_CARRIED_PART = 0.125
# Sensitivity makes a step at most so many times finer or coarser than it would be without.
MOST_FINER, MOST_COARSER = 16.0, 4.0
# Running statistics of normalisation layers, as torch, Keras and Flax name them: no later gradient
# makes up for what they lose, and they are few. Part of the relative step that they get
# (docs/decisions/0015).
STATISTICS = re.compile(
    r"(^|[./])(running_(mean|var)|moving_(mean|variance)(:0)?)$|(^|[./])batch_stats[./]"
)
STATISTICS_FACTOR = 0.02
# Halvings of the interval that holds the offset of all steps; more than float64 can tell.
OFFSET_HALVINGS = 64
# A relative step keeps this many bits of its float32 mantissa, the most significant of 23.
MANTISSA_BITS = 3


@dataclass(frozen=True, slots=True)
class GivenSteps:
    """Steps and prices that are given, tensor by tensor, instead of a rule for them.

    Parameters
    ----------
    steps : mapping of str to float
        Of every level-coded tensor. In the units of the update.
    prices : mapping of str to float, optional
        What a bit costs in squared steps, for every level-coded tensor, instead of ``rd_lambda``;
        for the quantiser ``"rdoq"``.
    """

    steps: Mapping[str, float]
    prices: Mapping[str, float] | None = None

    def of(self, schema: Schema) -> NDArray[np.float32]:
        """Return the steps as the level coder takes them.

        Parameters
        ----------
        schema : Schema

        Returns
        -------
        ndarray, float32, shape (n_level_tensors,)

        Raises
        ------
        ConfigError
            If a name is missing or unknown, or a step is not within the bounds of the format.
        """
        steps = _by_name("steps", self.steps, schema, low=MIN_STEP, high=MAX_STEP)
        return steps.astype(np.float32)

    def price_errors(
        self, weights: NDArray[np.float32] | None, schema: Schema
    ) -> tuple[NDArray[np.float32] | None, float | None]:
        """Turn prices into what errors count, at one price for all.

        Parameters
        ----------
        weights : ndarray, float32, shape (n,), or None
            What the squared error of each value counts, of mean 1 in each tensor.
        schema : Schema

        Returns
        -------
        tuple of (ndarray, float32, shape (n,), or None; float or None)
            Weights, and one of the smallest prices, for which they stand; None without prices. At a
            larger one the encoder would take values for zeros that are dear where they count more.

        Raises
        ------
        ConfigError
            If a name is missing or unknown, or a price is not in [0, 100].
        """
        if self.prices is None:
            return weights, None
        prices = _by_name("prices", self.prices, schema, low=0.0, high=MAX_PRICE)
        base = max(float(prices.min(initial=MAX_PRICE)), float(prices.max(initial=0)) * LEAST_PART)
        if weights is None:
            weights = np.ones(sum(spec.n_elements for spec in schema.level_tensors), np.float32)
        for (_, place), price in zip(level_slices(schema), prices, strict=True):
            if price > base:
                weights[place] *= np.float32(base / price)
        return weights, base


def _by_name(
    what: str, given: Mapping[str, float], schema: Schema, *, low: float, high: float
) -> NDArray[np.float64]:
    """Return one number for each level-coded tensor, checked."""
    names = [spec.name for spec in schema.level_tensors]
    if odd := sorted(given.keys() ^ set(names)):
        raise ConfigError(what, expected="one for each level-coded tensor", found=odd)
    for name in names:
        if not low <= given[name] <= high:
            expected = f"a number in [{low:g}, {high:g}] for {name!r}"
            raise ConfigError(what, expected=expected, found=given[name])
    return np.array([given[name] for name in names], np.float64)


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


def move_by_sensitivity(
    steps: NDArray[np.float64],
    log_sensitivity: NDArray[np.float64],
    n_elements: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Make steps proportional to the inverse square root of the tensors' sensitivity.

    Parameters
    ----------
    steps : ndarray, float64, shape (n_tensors,)
        Without sensitivity; positive.
    log_sensitivity : ndarray, float64, shape (n_tensors,)
        Natural logarithm of the mean squared gradient.
    n_elements : ndarray, int64, shape (n_tensors,)
        At least 1.

    Returns
    -------
    ndarray, float64, shape (n_tensors,)
        Each within `MOST_FINER` and `MOST_COARSER` of what it was; their geometric mean over all
        weights is unchanged.

    Notes
    -----
    A weight quantised with a step adds sensitivity * step^2 to the loss and -log2(step) to the
    bits, each up to a constant. The least loss at equal bits has sensitivity * step^2 alike in all
    tensors: moving bits between two of them gains nothing any more.
    """
    if not steps.size:
        return steps
    logs, wanted = np.log(steps), -0.5 * log_sensitivity
    low, high = logs - np.log(MOST_FINER), logs + np.log(MOST_COARSER)
    below, above = float((low - wanted).min()), float((high - wanted).max())
    for _ in range(OFFSET_HALVINGS):
        offset = (below + above) / 2
        excess = float(n_elements @ (np.clip(wanted + offset, low, high) - logs))
        below, above = (below, offset) if excess > 0 else (offset, above)
    moved: NDArray[np.float64] = np.exp(np.clip(wanted + above, low, high))
    return moved


def unit_steps(
    values: NDArray[np.float32],
    *,
    schema: Schema,
    config: CodecConfig,
    own_values: NDArray[np.float32] | None = None,
    sensitivity: Sensitivity | None = None,
) -> NDArray[np.float64]:
    """Return the step of every level-coded tensor at a step or relative step of 1.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
        All level-coded tensors of the update end to end, as they are to be coded.
    schema : Schema
    config : CodecConfig
    own_values : ndarray, float32, shape (n,), optional
        The update without the residual of error feedback, where `values` hold one.
    sensitivity : mapping of str to float or ndarray, optional
        Mean squared gradients of some or all level-coded tensors, as for `log_sensitivities`. Those
        named share out among themselves what they would have had without.

    Returns
    -------
    ndarray, float64, shape (n_level_tensors,)
        Positive, not rounded. A tensor of zeros is coded without a step and gets 1.

    Raises
    ------
    ConfigError
        If a pattern of `step_overrides` matches no tensor of the schema, or sensitivity is given
        with an absolute step, which leaves nothing to share out.
    SchemaMismatchError, SensitivityError
        As `log_sensitivities`.
    """
    factors = _override_factors(schema, config)
    if config.step is not None:
        if sensitivity is not None:
            expected = "a relative step or a target, with sensitivity"
            raise ConfigError("step", expected=expected, found=config.step)
        return factors
    specs = schema.level_tensors
    n_elements = np.array([spec.n_elements for spec in specs], np.int64)
    shares = share_by_size(n_elements) if config.allocation == "size" else np.ones(len(specs))
    scales = _scales(values, schema)
    if own_values is not None:
        # Measured with the residual, steps would grow with what they leave out, and the values of
        # a tensor without heavy tails would never reach a step.
        scales = np.maximum(_scales(own_values, schema), LEAST_CARRIED_PART * scales)
    units = shares * scales
    if sensitivity:
        known = log_sensitivities(sensitivity, schema)
        logs = np.array([known.get(spec.name, np.nan) for spec in specs])
        moved = np.flatnonzero((units > 0) & np.isfinite(units) & ~np.isnan(logs))
        units[moved] = move_by_sensitivity(units[moved], logs[moved], n_elements[moved])
    return np.where(scales > 0, factors * units, 1.0)


def allocate_steps(units: NDArray[np.float64], *, config: CodecConfig) -> NDArray[np.float32]:
    """Choose the step of every level-coded tensor where the config gives a step.

    Parameters
    ----------
    units : ndarray, float64, shape (n_level_tensors,)
        From `unit_steps`.
    config : CodecConfig
        With a step or a relative step.

    Returns
    -------
    ndarray, float32, shape (n_level_tensors,)
        In the units of the update, within the bounds of the format; relative ones are rounded.
    """
    if config.step is not None:
        return np.clip(config.step * units, MIN_STEP, MAX_STEP).astype(np.float32)
    wanted = float(config.relative_step or 0.0) * units
    return round_mantissa(np.clip(wanted, MIN_STEP, MAX_STEP).astype(np.float32))


def own_factor(name: str) -> float:
    """Return the part of a relative step that a tensor gets by its name.

    Parameters
    ----------
    name : str

    Returns
    -------
    float
        0.02 for running statistics of normalisation layers, 1 for all others.
    """
    return STATISTICS_FACTOR if STATISTICS.search(name) else 1.0


def _override_factors(schema: Schema, config: CodecConfig) -> NDArray[np.float64]:
    """Return the factor of the first pattern that matches each level-coded tensor, or its own.

    An absolute step is for every tensor alike.
    """
    overrides = dict(config.step_overrides)
    for pattern in overrides:
        if not any(fnmatchcase(spec.name, pattern) for spec in schema.tensors):
            raise ConfigError(
                "step_overrides", expected="patterns that match a tensor", found=pattern
            )
    factors = [
        next(
            (overrides[pattern] for pattern in overrides if fnmatchcase(spec.name, pattern)),
            1.0 if config.step is not None else own_factor(spec.name),
        )
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


def round_mantissa(steps: NDArray[np.float32], n_bits: int = MANTISSA_BITS) -> NDArray[np.float32]:
    """Round positive normal float32 numbers to so many bits of mantissa; 0 for powers of two."""
    dropped = 23 - n_bits
    bits = steps.view(np.uint32) + np.uint32(1 << (dropped - 1))
    rounded = (bits >> np.uint32(dropped)) << np.uint32(dropped)
    return np.minimum(rounded.view(np.float32), np.float32(MAX_STEP))
