# SPDX-License-Identifier: Apache-2.0
"""Values to levels without looking at any context.

References
----------
.. [1] D. Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and
   Encoding", NeurIPS 2017: levels by chance, right on average.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac import _native
from fl_deepcabac.arrays import level_slices
from fl_deepcabac.config import CodecConfig
from fl_deepcabac.errors import LevelCoderError
from fl_deepcabac.schema import Schema

__all__ = ["choose_levels", "draws_for", "quantize", "quantize_by_chance"]

# Beyond it the core refuses a level, with this status.
_MAX_LEVEL, _OUT_OF_RANGE = 2**24, 11


def choose_levels(
    values: NDArray[np.float32],
    steps: NDArray[np.float32],
    *,
    schema: Schema,
    config: CodecConfig,
    salt: bytes,
) -> NDArray[np.int32]:
    """Choose the levels of all tensors by a quantiser that looks at no context.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
        All level-coded tensors end to end.
    steps : ndarray, float32
        One a tensor.
    schema : Schema
    config : CodecConfig
        ``"deadzone"``, ``"uniform"`` or ``"stochastic"``.
    salt : bytes
        For the latter, as in `draws_for`; steps have no part in the draws, so that all trials of a
        budget have the same.

    Returns
    -------
    ndarray, int32, shape (n,)

    Raises
    ------
    LevelCoderError
        At the position among all values.
    """
    levels = np.empty(values.size, np.int32)
    dead_zone = config.dead_zone if config.quantizer == "deadzone" else 0.5
    draws = draws_for(values, salt) if config.quantizer == "stochastic" else None
    for (_, place), step in zip(level_slices(schema), steps, strict=True):
        own = values[place]
        try:
            levels[place] = (
                quantize(own, float(step), dead_zone=dead_zone)
                if draws is None
                else quantize_by_chance(own, float(step), draws[place])
            )
        except LevelCoderError as error:
            raise LevelCoderError(error.code, place.start + error.position) from None
    return levels


def quantize(
    values: NDArray[np.float32], step: float, *, dead_zone: float = 0.5
) -> NDArray[np.int32]:
    """Quantise uniformly, with a dead zone round zero and every other level.

    Parameters
    ----------
    values : ndarray, float32, shape (n,), C-contiguous
    step : float
        Unit: that of the values.
    dead_zone : float
        A fraction of a step below this rounds towards zero; 0.5 takes the nearest level.

    Returns
    -------
    ndarray, int32, shape (n,)
        ``sign(v) * floor(|v| / step + 1 - dead_zone)``.

    Raises
    ------
    LevelCoderError
        If a value is not finite or more than ``2**24`` steps away from zero.

    Examples
    --------
    >>> quantize(np.array([0.2, -0.9], np.float32), 0.5)
    array([ 0, -2], dtype=int32)
    """
    try:
        return _native.quantize_uniform(values, step, dead_zone)
    except _native.StatusError as error:
        raise LevelCoderError(*error.args) from None


def quantize_by_chance(
    values: NDArray[np.float32], step: float, draws: NDArray[np.float32]
) -> NDArray[np.int32]:
    """Round to one of the two nearest levels, to the farther one the more rarely [1]_.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
    step : float
        Unit: that of the values.
    draws : ndarray, float32, shape (n,)
        In [0, 1), one a value: from `draws_for`.

    Returns
    -------
    ndarray, int32, shape (n,)
        ``sign(v) * floor(|v| / step + draw)``, whose mean over draws is ``v / step``.

    Raises
    ------
    LevelCoderError
        If a value is not finite or more than ``2**24`` steps away from zero.

    Examples
    --------
    >>> quantize_by_chance(np.array([0.2, -0.9], np.float32), 0.5, np.array([0.6, 0.1], np.float32))
    array([ 1, -1], dtype=int32)
    """
    sizes = np.floor(np.abs(values) / np.float64(step) + draws)
    # NaN is within no bounds.
    if not (is_within := sizes <= _MAX_LEVEL).all():
        raise LevelCoderError(_OUT_OF_RANGE, int(np.argmin(is_within)))
    return np.where(np.signbit(values), -sizes, sizes).astype(np.int32)


def draws_for(values: NDArray[np.float32], salt: bytes) -> NDArray[np.float32]:
    """Return numbers by chance for an update, the same for the same values and salt.

    Parameters
    ----------
    values : ndarray, float32, shape (n,)
        All that is quantised: those of another client or round give other draws.
    salt : bytes
        What else tells updates apart.

    Returns
    -------
    ndarray, float32, shape (n,)
        Uniform in [0, 1), in steps of 2**-24.
    """
    digest = hashlib.blake2b(salt, digest_size=16)
    digest.update(np.ascontiguousarray(values).data)
    generator = np.random.Generator(np.random.Philox(int.from_bytes(digest.digest(), "little")))
    return generator.random(values.size, dtype=np.float32)
