# SPDX-License-Identifier: Apache-2.0
"""BD-rate: the average difference in rate at equal error between two rate-distortion curves.

Each curve is the lower convex hull of its points in the plane of mean squared error and bits per
weight, interpolated linearly there. The figure is exp(mean over log RMSE of log(ours / theirs)) - 1
on the range that both cover.

References
----------
.. [1] G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001.
"""

from __future__ import annotations

import numpy as np

# Rates outside are neither near-lossless nor worth sending: the curves are compared between them.
MIN_RATE, MAX_RATE = 0.04, 2.2
N_SAMPLES = 1000
MIN_POINTS = 6

Points = list[tuple[float, float]]


def lower_hull(points: Points) -> Points:
    """Return the lower convex hull of (mean squared error, rate) points, by growing error."""
    hull: Points = []
    for point in sorted(points):
        while len(hull) > 1 and not _turns_left(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    # Past the least rate the hull climbs again: more error for more bits is no trade-off.
    lowest = min(range(len(hull)), key=lambda i: hull[i][1])
    return hull[: lowest + 1]


def _turns_left(
    first: tuple[float, float], second: tuple[float, float], third: tuple[float, float]
) -> bool:
    rise = (second[0] - first[0]) * (third[1] - first[1])
    fall = (second[1] - first[1]) * (third[0] - first[0])
    return rise - fall > 0


def bd_rate(ours: Points, theirs: Points) -> float:
    """Return our rate relative to theirs at equal error, minus 1: below zero is better.

    Parameters
    ----------
    ours, theirs : list of (float, float)
        RMSE and bits per weight of each point.

    Raises
    ------
    ValueError
        If a curve has too few points between the rates compared, or the curves do not overlap.
    """
    curves = []
    for points in (ours, theirs):
        kept = [(rmse**2, rate) for rmse, rate in points if MIN_RATE <= rate <= MAX_RATE]
        if len(kept) < MIN_POINTS:
            raise ValueError(
                f"expected at least {MIN_POINTS} points between {MIN_RATE} and {MAX_RATE} "
                f"bit/weight, found {len(kept)}"
            )
        curves.append(np.array(lower_hull(kept)))
    low = max(curve[0, 0] for curve in curves)
    high = min(curve[-1, 0] for curve in curves)
    if low >= high:
        raise ValueError("expected curves that overlap in error, found none in common")
    errors = np.exp(np.linspace(np.log(low), np.log(high), N_SAMPLES))
    ours_rate, theirs_rate = (np.interp(errors, curve[:, 0], curve[:, 1]) for curve in curves)
    return float(np.exp(np.mean(np.log(ours_rate / theirs_rate))) - 1)
