# SPDX-License-Identifier: Apache-2.0
"""The search of rate control for one number: where a packet is just within its budget."""

from __future__ import annotations

import math
from collections.abc import Callable

from fl_deepcabac.entropy import CodedLevels

__all__ = ["RateSearch"]

# A packet with this part of its budget is good enough; a trial aims between here and the whole.
ENOUGH, AIM = 0.973, 0.987
# From the fifth trial on, every other one halves the bracket.
SLOW_FROM = 5
# Least part of a halving of the bytes that a stride is made for while there is no bracket.
LEAST_EXCESS = 0.02
# A bracket narrower than this, in log2 of the step, holds no packet that is better.
RESOLUTION = 2.0**-14


class RateSearch:
    """Where a packet is just below its budget: interpolation in log2 of the bytes, in a bracket.

    Parameters
    ----------
    budget, other_bytes : int
        As for `code_within`.
    finest, coarsest : float
        Bounds of the position. Bytes fall as it grows, apart from noise.
    slope : float
        By how much log2 of the bytes usually falls when the position grows by 1.
    resolution : float
        A bracket narrower than this holds no packet that is better.

    Attributes
    ----------
    best : CodedLevels or None
        Largest trial within the budget, made at the position `best_at`.
    finest : float
    too_large : CodedLevels or None
        Smallest trial above it, made at the position `too_large_at`.
    n_trials : int
    """

    def __init__(
        self,
        budget: int,
        other_bytes: int,
        finest: float,
        coarsest: float,
        *,
        slope: float,
        resolution: float = RESOLUTION,
    ) -> None:
        self._budget, self._other_bytes = budget, other_bytes
        self.best: CodedLevels | None = None
        self.best_at = coarsest
        self.too_large: CodedLevels | None = None
        self.too_large_at = finest
        self._most = budget - other_bytes
        self._enough = ENOUGH * budget - other_bytes
        self._aim = math.log2(max(AIM * budget - other_bytes, 0.6 * self._most, 1.0))
        self._slope = slope
        self._resolution = resolution
        self.finest = finest
        self._ends = [finest, coarsest]  # too large a packet at the first, none at the second
        self._is_end_tried = [False, False]
        self._notes: list[tuple[float, float]] = []  # excess of log2 of the bytes, position

    @property
    def n_trials(self) -> int:
        """Trials so far."""
        return len(self._notes)

    @property
    def is_enough(self) -> bool:
        """Whether the best trial uses enough of the budget."""
        return self.best is not None and len(self.best.payload) >= self._enough

    @property
    def is_over(self) -> bool:
        """Whether nothing better is to be found."""
        finest, coarsest = self._ends
        return self.n_trials > 0 and (self.is_enough or not coarsest - finest >= self._resolution)

    def note(self, position: float, coded: CodedLevels) -> None:
        """Learn from a trial."""
        n_bytes = len(coded.payload)
        fits = n_bytes <= self._most
        if fits and (self.best is None or n_bytes > len(self.best.payload)):
            self.best, self.best_at = coded, position
        if not fits and (self.too_large is None or n_bytes < len(self.too_large.payload)):
            self.too_large, self.too_large_at = coded, position
        self._ends[fits], self._is_end_tried[fits] = position, True
        self._notes.append((math.log2(max(n_bytes, 1)) - self._aim, position))
        self._notes.sort(key=lambda note: abs(note[0]))

    def anew(
        self, finest: float, coarsest: float, *, slope: float, resolution: float = RESOLUTION
    ) -> RateSearch:
        """Return a search of another number for the same budget."""
        return RateSearch(
            self._budget,
            self._other_bytes,
            finest,
            coarsest,
            slope=slope,
            resolution=resolution,
        )

    def run(self, code_at: Callable[[float], CodedLevels], n_trials: int) -> None:
        """Make so many more trials at most."""
        for _ in range(n_trials):
            if self.is_over:
                break
            position = self.next_position()
            self.note(position, code_at(position))

    def next_position(self) -> float:
        """Return where to try next."""
        finest, coarsest = self._ends
        if not all(self._is_end_tried):
            # Ever longer strides from the end that is known.
            end = coarsest if self._is_end_tried[1] else finest
            excess = next(excess for excess, position in self._notes if position == end)
            stride = max(abs(excess), LEAST_EXCESS) / self._slope * 2.0 ** (self.n_trials - 1)
            return max(end - stride, finest) if end == coarsest else min(end + stride, coarsest)
        guess = self._interpolated()
        is_slow = self.n_trials >= SLOW_FROM and self.n_trials % 2 == SLOW_FROM % 2
        return guess if finest < guess < coarsest and not is_slow else (finest + coarsest) / 2

    def _interpolated(self) -> float:
        """Return where the excess is 0: the polynomial through the nearest trials, up to three."""
        notes = list(dict(self._notes).items())[:3]
        return sum(
            position * math.prod(other / (other - excess) for other, _ in notes if other != excess)
            for excess, position in notes
        )
