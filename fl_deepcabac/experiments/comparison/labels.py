# SPDX-License-Identifier: Apache-2.0
"""Where labels go so that none covers another: numbers in, numbers out.

Libraries that move labels about draw random numbers or iterate until a limit; equal charts must be
equal bytes here, and these few arrangements are enough. Lengths are in points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

__all__ = ["Box", "beside_points", "shorten", "spread_out", "text_width"]

# Of the height of a line, what is left between two labels.
_AIR = 0.1


@dataclass(frozen=True)
class Box:
    """A rectangle that something covers."""

    left: float
    bottom: float
    width: float
    height: float

    def overlap(self, other: Box) -> float:
        """Return the area that both cover."""
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        high = min(self.bottom + self.height, other.bottom + other.height) - max(
            self.bottom, other.bottom
        )
        return max(wide, 0.0) * max(high, 0.0)


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Return how wide a text is in the font of the charts."""
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width)


def shorten(text: str, size: float, width: float, weight: str = "normal") -> str:
    """Cut a text that is wider than its place, and mark the cut."""
    if text_width(text, size, weight) <= width:
        return text
    while text and text_width(f"{text}…", size, weight) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def spread_out(targets: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move positions apart, none further than need be.

    Parameters
    ----------
    targets : sequence of float
        Where the labels would be best.
    gap : float
        Least distance between two; less if there is no room.
    low, high : float
        Ends of the range.

    Returns
    -------
    list of float
        Positions in the same order as the targets, ascending with them. Their squared distances
        from the targets, before the ends of the range are minded, are as small as can be.
    """
    if not targets:
        return []
    gap = min(gap, (high - low) / max(1, len(targets) - 1))
    order = np.argsort(np.asarray(targets), kind="stable")
    shifts = gap * np.arange(len(targets))
    # With the gaps taken out, positions must not descend: pool those that do (isotonic regression).
    pools: list[tuple[float, int]] = []
    for value in np.asarray(targets)[order] - shifts:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            left_mean, left_count = pools.pop()
            mean = (mean * count + left_mean * left_count) / (count + left_count)
            count += left_count
        pools.append((mean, count))
    flat = np.repeat([mean for mean, _ in pools], [count for _, count in pools])
    placed = np.clip(flat, low, high - shifts[-1]) + shifts
    positions = np.empty(len(targets))
    positions[order] = placed
    return [float(position) for position in positions]


def beside_points(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    area: Box,
    *,
    obstacles: Sequence[Box] = (),
    radius: float = 4.0,
) -> list[Box]:
    """Find places for labels beside points.

    Parameters
    ----------
    points : sequence of (float, float)
        What is labelled, the most important first.
    sizes : sequence of (float, float)
        Width and height of each label.
    area : Box
        Where labels may be.
    obstacles : sequence of Box
        What else they must not cover.
    radius : float
        Of the markers.

    Returns
    -------
    list of Box
        One each, the nearest that covers nothing; where there is no such place, the one that
        covers least.
    """
    markers = [Box(x - radius, y - radius, 2 * radius, 2 * radius) for x, y in points]
    placed: list[Box] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        best, least = None, np.inf
        for distance, candidate in _around(x, y, width, height * (1 + _AIR), radius):
            covered = sum(candidate.overlap(other) for other in (*markers, *obstacles, *placed))
            outside = candidate.width * candidate.height - candidate.overlap(area)
            cost = distance + 100 * covered + 1000 * outside
            if cost < least:
                best, least = candidate, cost
        assert best is not None
        placed.append(best)
    return placed


def _around(
    x: float, y: float, width: float, height: float, radius: float
) -> list[tuple[float, Box]]:
    """List places around a point, and how far away each is."""
    found = []
    for rise in np.arange(-9, 9.5, 0.5):
        for away in (0.0, 12.0, 30.0):
            reach = radius + 1.5 + away
            middle = y + rise * height
            found += [
                (abs(rise) * height + away, Box(left, middle - height / 2, width, height))
                for left in (x + reach, x - reach - width)
            ]
        if abs(rise) >= 1:
            over = Box(x - width / 2, y + rise * height - height / 2, width, height)
            found.append((abs(rise) * height + 1.0, over))
    return found
