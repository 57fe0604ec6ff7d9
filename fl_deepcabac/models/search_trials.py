# SPDX-License-Identifier: Apache-2.0
"""What a search has asked for: points by rung and price, and which of them are good."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fl_deepcabac.models.search_log import SearchLog
from fl_deepcabac.models.search_result import SearchPoint

__all__ = ["Arrays", "PointCoder", "Trials"]

Arrays = dict[str, NDArray[np.generic]]

# Rungs of the first strides towards a boundary.
FIRST_STRIDE: Final = 8


class PointCoder(Protocol):
    """Codes a model at any point of a search.

    Attributes
    ----------
    rungs : tuple of float
        Coarsenesses, from fine to coarse.
    """

    @property
    def rungs(self) -> tuple[float, ...]:
        """From fine to coarse."""

    def name(self) -> str:
        """Return what decides what a point is, as text."""

    def code(self, coarseness: float, price: float) -> tuple[Any, Arrays]:
        """Return the model at a point, which has `n_bytes`, and what it decodes to."""


class Trials:
    """The points of one search, evaluated when asked for.

    Parameters
    ----------
    coder : PointCoder
    judge : callable
        From weights to accuracy in per cent.
    log : SearchLog
    on_point : callable
        Told of each point that is evaluated now.
    tolerance : float
        Unit: points of a per cent.
    """

    def __init__(
        self,
        coder: PointCoder,
        judge: Callable[[Arrays], float],
        log: SearchLog,
        on_point: Callable[[SearchPoint], None],
        tolerance: float,
    ) -> None:
        self._coder, self._judge, self._log, self._on_point = coder, judge, log, on_point
        self._least_accuracy = log.accuracy_before - tolerance
        # A log may hold points that this search never asks for, so these are apart.
        self._asked: dict[tuple[float, float], SearchPoint] = {}
        # By what a packet decodes to: at coarse steps, several points decode alike.
        self._accuracies: dict[bytes, float] = {}
        # What the first evaluation raised that did not end well: no other begins after it.
        self.failure: BaseException | None = None

    @property
    def n_rungs(self) -> int:
        """Length of the ladder."""
        return len(self._coder.rungs)

    def rung_of(self, point: SearchPoint) -> int:
        """Return the place of a point on the ladder."""
        return self._coder.rungs.index(point.coarseness)

    def is_good(self, point: SearchPoint) -> bool:
        """Whether the point is within the tolerance."""
        return point.accuracy >= self._least_accuracy

    def at(self, rung: int, price: float) -> SearchPoint:
        """Return a point, evaluated now or before."""
        coarseness = self._coder.rungs[rung]
        point = self._log.get(coarseness, price)
        if point is None:
            if self.failure is not None:
                raise CancelledError
            started = time.perf_counter()
            model, decoded = self._coder.code(coarseness, price)
            try:
                accuracy = self._accuracy_of(decoded)
            except BaseException as error:
                if self.failure is None:
                    self.failure = error
                raise
            seconds = time.perf_counter() - started
            point = SearchPoint(coarseness, price, model.n_bytes, accuracy, seconds)
            self._log.add(point)
            self._on_point(point)
        self._asked[coarseness, price] = point
        return point

    def boundary(self, price: float, start: int) -> None:
        """Approach the coarsest good rung at a price, from a rung near it, by halved strides."""
        rung, stride = start, FIRST_STRIDE
        was_good = self.is_good(self.at(rung, price))
        # Whole strides as long as nothing changes; then halves, across the boundary.
        while True:
            following = rung + (stride if was_good else -stride)
            if not 0 <= following < self.n_rungs:
                if stride == 1:
                    return
                stride //= 2
                continue
            is_good = self.is_good(self.at(following, price))
            if is_good != was_good:
                break
            rung = following
        good, bad = (following, rung) if is_good else (rung, following)
        while bad - good > 1:
            middle = (good + bad) // 2
            if self.is_good(self.at(middle, price)):
                good = middle
            else:
                bad = middle

    def tried(self) -> tuple[SearchPoint, ...]:
        """Return what this search asked for, by coarseness and price."""
        return tuple(self._asked[key] for key in sorted(self._asked))

    def best(self, *, is_priced: bool = False) -> SearchPoint | None:
        """Return the smallest point within the tolerance; among equals the most accurate.

        Parameters
        ----------
        is_priced : bool
            Of those alone whose bits have a price.
        """
        good = [
            point
            for point in self.tried()
            if self.is_good(point) and (point.rd_lambda > 0 or not is_priced)
        ]
        return min(good, key=lambda point: (point.n_bytes, -point.accuracy), default=None)

    def _accuracy_of(self, decoded: Arrays) -> float:
        """Evaluate weights, unless equal ones have been."""
        digest = hashlib.blake2b(digest_size=16)
        for array in decoded.values():
            digest.update(np.ascontiguousarray(array).tobytes())
        key = digest.digest()
        if key not in self._accuracies:
            self._accuracies[key] = self._judge(decoded)
        return self._accuracies[key]
