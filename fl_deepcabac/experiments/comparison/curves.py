# SPDX-License-Identifier: Apache-2.0
"""What charts show of codecs: quantities over rounds, layers of packets, and how far to look.

Pure numbers. Invariant: where one seed has no value, the mean has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fl_deepcabac.experiments.comparison.grouping import CodecRuns
from fl_deepcabac.experiments.rows import HEADER_LAYER, RoundRow

__all__ = ["Curve", "curve_of", "layer_shares", "least_on_scale"]

Floats = npt.NDArray[np.float64]

# A codec is off the scale if it is this many times further below the best than three quarters of
# all are, and by this part of one at least.
_OFF_SCALE, _OFF_SCALE_GAP = 3.0, 0.1


@dataclass(frozen=True)
class Curve:
    """A quantity over rounds, over all seeds; NaN where a seed has no value.

    Parameters
    ----------
    x, mean, low, high : ndarray
        One entry a round.
    """

    x: Floats
    mean: Floats
    low: Floats
    high: Floats


def curve_of(
    runs: CodecRuns,
    value: Callable[[RoundRow], float | None],
    *,
    cost: Callable[[RoundRow], float] | None = None,
) -> Curve:
    """Return a quantity over rounds, or over what had been spent by then.

    Parameters
    ----------
    runs : CodecRuns
    value : callable
        From a row to the quantity.
    cost : callable, optional
        From a row to what the round cost; the curve is over its running sum, mean over seeds.

    Returns
    -------
    Curve
    """
    rows = list(runs.runs.values())
    values = np.array(
        [[np.nan if (y := value(row)) is None else y for row in run] for run in rows], np.float64
    )
    if cost is None:
        x = np.array([row.round for row in rows[0]], np.float64)
    else:
        x = np.cumsum([[cost(row) for row in run] for run in rows], axis=1).mean(axis=0)
    return Curve(x, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def layer_shares(runs: CodecRuns) -> dict[str, float]:
    """Return the part of the uplink that each layer takes, summed over seeds, rounds and clients.

    Parameters
    ----------
    runs : CodecRuns

    Returns
    -------
    dict of str to float
        Empty for a codec that cannot tell layers apart; else sums to 1.
    """
    sums: dict[str, int] = {}
    for rows in runs.runs.values():
        for row in rows:
            for name, n_bytes in row.layer_bytes.items():
                sums[name] = sums.get(name, 0) + n_bytes
    whole = sum(sums.values())
    if not whole or sums.get(HEADER_LAYER) == whole:
        return {}
    return {name: n_bytes / whole for name, n_bytes in sums.items()}


def least_on_scale(accuracies: Sequence[float]) -> float:
    """Return the least accuracy that a chart has room for.

    Parameters
    ----------
    accuracies : sequence of float
        At least one.

    Returns
    -------
    float
        A codec below it has diverged, and would press all others together.
    """
    best = max(accuracies)
    gaps = sorted(best - accuracy for accuracy in accuracies)
    farthest = max(_OFF_SCALE * gaps[3 * (len(gaps) - 1) // 4], _OFF_SCALE_GAP)
    return min(accuracy for accuracy in accuracies if best - accuracy <= farthest)
