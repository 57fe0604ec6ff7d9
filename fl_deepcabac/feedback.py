# SPDX-License-Identifier: Apache-2.0
"""Error feedback: what quantisation left out is added to the next update.

Pure functions on updates; who keeps the residual, and until when, is the protocol's matter. Only
float tensors that are coded as levels have a residual: exact tensors lose nothing.

References
----------
.. [1] F. Seide et al., "1-Bit Stochastic Gradient Descent and Its Application to Data-Parallel
   Distributed Training of Speech DNNs", Interspeech 2014.
.. [2] S. P. Karimireddy et al., "Error Feedback Fixes SignSGD and Other Gradient Compression
   Schemes", ICML 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.schema import Schema

__all__ = ["carry_residual", "find_residual"]

Update = Mapping[str, NDArray[Any]]
Residual = dict[str, NDArray[np.float32]]


def carry_residual(
    update: Update, residual: Mapping[str, NDArray[np.float32]], schema: Schema
) -> dict[str, NDArray[Any]]:
    """Add to an update what earlier packets left out.

    Parameters
    ----------
    update : mapping of str to ndarray
        The tensors of the schema.
    residual : mapping of str to ndarray
        From `find_residual`; empty before the first packet.
    schema : Schema

    Returns
    -------
    dict of str to ndarray
        In the dtypes of the schema; exact tensors are those of `update`.
    """
    carried = {name: np.asarray(array) for name, array in update.items()}
    for spec in schema.level_tensors:
        if spec.name in residual:
            total = carried[spec.name] + residual[spec.name]
            if spec.dtype == "float16":
                # A sum beyond float16 is held at its largest value, as the decoder would (spec 8).
                bound = np.float32(np.finfo(np.float16).max)
                is_finite = np.isfinite(carried[spec.name])
                total = np.where(is_finite, np.clip(total, -bound, bound), total)
            carried[spec.name] = total.astype(spec.dtype, copy=False)
    return carried


def find_residual(carried: Update, decoded: Update, schema: Schema) -> Residual:
    """Return what a packet left out of the update it was made from.

    Parameters
    ----------
    carried : mapping of str to ndarray
        What was encoded.
    decoded : mapping of str to ndarray
        What the decoder sees.
    schema : Schema

    Returns
    -------
    dict of str to ndarray, float32
        One array for each tensor that is coded as levels, in its shape.
    """
    return {
        spec.name: (carried[spec.name] - decoded[spec.name]).astype(np.float32)
        for spec in schema.level_tensors
    }
