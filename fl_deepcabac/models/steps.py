# SPDX-License-Identifier: Apache-2.0
"""The step of each tensor of a model: coarse ones for matrices, fine ones for vectors.

Biases, scales and running statistics are one weight in hundred and reach every output, so they get
steps of their own, in units of their own root mean square, and a low price of bits, whatever the
matrices have. Invariant: every step is one of the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.allocation import (
    MAX_PRICE,
    MAX_STEP,
    MIN_STEP,
    GivenSteps,
    allocate_steps,
    own_factor,
    unit_steps,
)
from fl_deepcabac.arrays import flatten_values, level_slices
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import ConfigError
from fl_deepcabac.schema import Schema, TensorSpec

__all__ = ["VECTOR_STEP", "coarseness_steps", "is_vector", "model_steps"]

# Of vectors, in units of their root mean square: about seven bits a value.
VECTOR_STEP: Final = 1 / 32
FINEST_VECTOR_STEP, COARSEST_VECTOR_STEP = 2.0**-16, 16.0
# Price of a bit in squared steps: nearly none, so that values are those nearest.
VECTOR_PRICE: Final = 0.01
# Positive values, as scales and variances are, stay positive: no step is wider than the least of
# them, but for such as are this part of the root mean square and less.
_LEAST_POSITIVE: Final = 2.0**-16
MAX_COARSENESS: Final = 256

Weights = Mapping[str, NDArray[np.generic]]


def is_vector(spec: TensorSpec) -> bool:
    """Say whether a tensor is treated as biases are: of one dimension, or running statistics."""
    return len(spec.shape) <= 1 or own_factor(spec.name) < 1


def model_steps(
    weights: Weights, schema: Schema, config: CodecConfig, *, vector_step: float = VECTOR_STEP
) -> GivenSteps:
    """Return the step of each level-coded tensor, and the price of its bits.

    Parameters
    ----------
    weights : mapping of str to ndarray
        The tensors of the schema.
    schema : Schema
    config : CodecConfig
        With a step or a relative step, for matrices; factors of `step_overrides` are for vectors,
        too.
    vector_step : float
        For vectors (`is_vector`), in units of each one's root mean square.

    Returns
    -------
    GivenSteps

    Raises
    ------
    ConfigError
        If the config names a target instead, a pattern of `step_overrides` matches no tensor, or
        the vectors' step is out of range.
    """
    _check_vector_step(vector_step)
    if config.step is None and config.relative_step is None:
        expected = "a step or a relative step for models"
        raise ConfigError("target_bytes", expected=expected, found=config.target_bytes)
    values = flatten_values(weights, schema)
    of_matrices = allocate_steps(unit_steps(values, schema=schema, config=config), config=config)
    factors = _factors(values, schema, config.step_overrides)
    steps, prices = {}, {}
    for i, (spec, place) in enumerate(level_slices(schema)):
        if is_vector(spec):
            steps[spec.name] = _vector_step(values[place], vector_step * factors[i])
            prices[spec.name] = min(VECTOR_PRICE, config.rd_lambda)
        else:
            steps[spec.name], prices[spec.name] = float(of_matrices[i]), config.rd_lambda
    return GivenSteps(steps, prices if config.quantizer == "rdoq" else None)


def coarseness_steps(
    weights: Weights,
    schema: Schema,
    *,
    coarseness: float,
    price: float,
    importance: Weights,
    vector_step: float = VECTOR_STEP,
    step_overrides: Mapping[str, float] | Iterable[tuple[str, float]] = (),
) -> GivenSteps:
    """Return the steps of DC-v1: by the largest weight and the least deviation of each tensor.

    Parameters
    ----------
    weights : mapping of str to ndarray
        The tensors of the schema.
    schema : Schema
    coarseness : float
        S, from 0, the coarsest, to 256.
    price : float
        What a bit costs in importance times squared error: the paper's lambda.
    importance : mapping of str to ndarray
        Of the matrices: 1 / variance of each weight, as the paper's F.
    vector_step : float
        As for `model_steps`.
    step_overrides : mapping of str to float, or iterable of pairs
        As in `CodecConfig`.

    Returns
    -------
    GivenSteps
        ``2 m / (2 m / sigma + S)`` for a matrix, where m is its largest absolute weight and sigma
        the least deviation of its weights, at most m. The quantiser divides importance by its
        mean, and so do prices here.

    Raises
    ------
    ConfigError
        If the coarseness or the vectors' step is out of range, a matrix has no importance, or a
        pattern matches no tensor.
    """
    _check_vector_step(vector_step)
    if not 0 <= coarseness <= MAX_COARSENESS:
        expected = f"a number in [0, {MAX_COARSENESS}]"
        raise ConfigError("coarseness", expected=expected, found=coarseness)
    values = flatten_values(weights, schema)
    factors = _factors(values, schema, step_overrides)
    steps, prices = {}, {}
    for (spec, place), factor in zip(level_slices(schema), factors, strict=True):
        own, name = values[place], spec.name
        if is_vector(spec):
            steps[name], prices[name] = _vector_step(own, vector_step * factor), VECTOR_PRICE
            continue
        if name not in importance:
            expected = f"importance of {name!r}, as of every matrix"
            raise ConfigError("importance", expected=expected, found=None)
        step, in_squared_steps = _coarse_step(own, importance[name], coarseness, price)
        steps[name] = _within(step * factor)
        prices[name] = min(in_squared_steps / factor**2, MAX_PRICE)
    return GivenSteps(steps, prices)


def _coarse_step(
    own: NDArray[np.float32], importance: NDArray[np.generic], coarseness: float, price: float
) -> tuple[float, float]:
    """Return the step of one matrix, and its price in squared steps."""
    largest = float(np.abs(own).max(initial=0.0))
    if largest == 0:
        return 1.0, 0.0
    known = importance.astype(np.float64)
    most, mean = float(known.max(initial=0.0)), float(known.mean()) if known.size else 0.0
    sigma = min(most**-0.5, largest) if most > 0 else largest
    step = _within(2 * largest / (2 * largest / sigma + coarseness))
    in_squared_steps = price / (mean * step**2) if mean > 0 else MAX_PRICE
    return step, min(in_squared_steps, MAX_PRICE)


def _check_vector_step(vector_step: float) -> None:
    if not FINEST_VECTOR_STEP <= vector_step <= COARSEST_VECTOR_STEP:
        expected = f"a number in [{FINEST_VECTOR_STEP:g}, {COARSEST_VECTOR_STEP:g}]"
        raise ConfigError("vector_step", expected=expected, found=vector_step)


def _factors(
    values: NDArray[np.float32],
    schema: Schema,
    step_overrides: Mapping[str, float] | Iterable[tuple[str, float]],
) -> list[float]:
    """Return the factor on the step of each level-coded tensor."""
    absolute = CodecConfig(step=1.0, step_overrides=step_overrides)
    return [float(factor) for factor in unit_steps(values, schema=schema, config=absolute)]


def _vector_step(own: NDArray[np.float32], part: float) -> float:
    """Return the step of one vector, `part` in units of its root mean square."""
    if not own.size or not own.any():
        return 1.0
    scale = float(np.sqrt(np.mean(np.square(own, dtype=np.float64))))
    step = part * scale
    if (least := float(own.min())) > 0:
        step = min(step, max(least, _LEAST_POSITIVE * scale))
    return _within(step)


def _within(step: float) -> float:
    """Return the nearest step of the format."""
    return float(np.clip(np.float32(step), MIN_STEP, MAX_STEP))
