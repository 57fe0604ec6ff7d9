# SPDX-License-Identifier: Apache-2.0
"""What a search has tried and found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fl_deepcabac.errors import DeepCabacError
from fl_deepcabac.models.compressed import CompressedModel

__all__ = ["SearchError", "SearchPoint", "SearchResult", "pareto_front"]


class SearchError(DeepCabacError, ValueError):
    """A search cannot begin, go on, or find anything within the tolerance."""


@dataclass(frozen=True, slots=True)
class SearchPoint:
    """One pair of settings, and what came of it.

    Parameters
    ----------
    coarseness : float
        The step of matrices, or S of DC-v1, of which smaller is coarser.
    rd_lambda : float
        Price of a bit: in squared steps, or in units of importance x squared error for DC-v1.
    n_bytes : int
        Of the file.
    accuracy : float
        What `evaluate` said. Unit: per cent.
    seconds : float
        That coding and evaluating took; little where an equal model had been evaluated before.
    """

    coarseness: float
    rd_lambda: float
    n_bytes: int
    accuracy: float
    seconds: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The smallest model within the tolerance, and everything else that was tried.

    Parameters
    ----------
    model : CompressedModel
    point : SearchPoint
        Of the model.
    accuracy_before : float
        Of the weights as they were given. Unit: per cent.
    tolerance : float
        Unit: points of a per cent.
    points : tuple of SearchPoint
        All that were evaluated, in the order of the schedule.
    """

    model: CompressedModel
    point: SearchPoint
    accuracy_before: float
    tolerance: float
    points: tuple[SearchPoint, ...]

    @property
    def front(self) -> tuple[SearchPoint, ...]:
        """The points that no other beats in both bytes and accuracy, smallest first."""
        return pareto_front(self.points)


def pareto_front(points: Iterable[SearchPoint]) -> tuple[SearchPoint, ...]:
    """Return the points that no other beats in both bytes and accuracy.

    Parameters
    ----------
    points : iterable of SearchPoint

    Returns
    -------
    tuple of SearchPoint
        Bytes and accuracy both ascending.
    """
    front: list[SearchPoint] = []
    for point in sorted(points, key=lambda point: (point.n_bytes, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return tuple(front)
