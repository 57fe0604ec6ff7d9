# SPDX-License-Identifier: Apache-2.0
"""Values to levels without looking at any context."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac import _native
from fl_deepcabac.errors import LevelCoderError

__all__ = ["quantize"]


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
