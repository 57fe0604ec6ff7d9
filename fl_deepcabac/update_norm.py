# SPDX-License-Identifier: Apache-2.0
"""How long an update is, and whether that is too long to be one.

A packet of 40 bytes can mean 1e37, and one such update is enough to spoil an average.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.errors import ConfigError, UpdateNormError

__all__ = ["check_max_update_norm", "check_update_norm", "update_norm"]

# Elements turned into float64 at a time.
CHUNK = 1 << 20


def update_norm(arrays: Iterable[NDArray[np.generic]]) -> float:
    """Return the Euclidean norm of all floating-point arrays together.

    Parameters
    ----------
    arrays : iterable of ndarray
        Others than floats do not count.

    Returns
    -------
    float
        Summed in float64; infinite or NaN where an element is, or where the sum is too large.
    """
    total = 0.0
    for array in arrays:
        if array.dtype.kind != "f":
            continue
        flat = array.reshape(-1)
        for begin in range(0, flat.size, CHUNK):
            part = flat[begin : begin + CHUNK].astype(np.float64)
            # Squares of the largest float64 overflow, which is what an infinite norm means.
            with np.errstate(over="ignore"):
                total += float(part @ part)
    return math.sqrt(total)


def check_update_norm(arrays: Iterable[NDArray[np.generic]], limit: float | None) -> None:
    """Refuse an update that is longer than the limit, or not finite; None is no limit.

    Raises
    ------
    UpdateNormError
    """
    if limit is None:
        return
    norm = update_norm(arrays)
    # Written so that NaN fails too.
    if not norm <= limit:
        raise UpdateNormError(norm=norm, limit=limit)


def check_max_update_norm(limit: object) -> float | None:
    """Return a setting as it is, or raise `ConfigError` where it is no positive number."""
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0:
        raise ConfigError("max_update_norm", expected="a number above 0 or None", found=limit)
    return float(limit)
