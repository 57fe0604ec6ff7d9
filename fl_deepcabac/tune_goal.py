# SPDX-License-Identifier: Apache-2.0
"""What is asked of a step, and the search for the step that does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fl_deepcabac.errors import ConfigError
from fl_deepcabac.tune_points import TunePoint

__all__ = ["COARSEST_STEP", "FINEST_STEP", "Goal", "find_step"]

# Where a goal lies outside the steps of the table, it is looked for between these.
FINEST_STEP, COARSEST_STEP = 0.004, 64.0
# Steps closer together have much the same packets, as they are rounded to three bits of mantissa.
RESOLUTION = 1.03


@dataclass(frozen=True, slots=True)
class Goal:
    """What is asked of a step.

    Parameters
    ----------
    name : {"ratio", "bits", "max_error"}
        The finest step with at least this ratio, or with at most so many bits per weight; or the
        coarsest with at most this relative squared error.
    value : float
        Positive.

    Raises
    ------
    ConfigError
        If the name is another, or the value no positive number.
    """

    name: Literal["ratio", "bits", "max_error"]
    value: float

    def __post_init__(self) -> None:
        if self.name not in ("ratio", "bits", "max_error"):
            raise ConfigError("goal", expected="one of ratio, bits, max_error", found=self.name)
        if not (math.isfinite(self.value) and self.value > 0):
            raise ConfigError(self.name, expected="a positive number", found=self.value)

    def is_met(self, point: TunePoint) -> bool:
        """Return whether a step does what is asked."""
        if self.name == "ratio":
            return point.ratio >= self.value
        if self.name == "bits":
            return point.bits_per_weight <= self.value
        return point.relative_squared_error <= self.value


def find_step(
    meets: Callable[[float], bool],
    steps: Sequence[float],
    *,
    wants_finest: bool,
    stride: float = 2.0,
) -> float | None:
    """Return the finest or the coarsest step that meets a goal, to within some per cent.

    Parameters
    ----------
    meets : callable
        Whether a step does. From some step on, all coarser ones do, where the finest is wanted;
        where the coarsest is, all finer ones.
    steps : sequence of float
        To begin with; bisection follows between two neighbours.
    wants_finest : bool
    stride : float
        Where the goal lies beyond these steps, the next is so many times finer or coarser.

    Returns
    -------
    float or None
        None if no step from `FINEST_STEP` to `COARSEST_STEP` does.
    """

    def is_beyond(step: float) -> bool:
        return meets(step) is wants_finest

    beyond = next((step for step in sorted(steps) if is_beyond(step)), math.inf)
    below = max((step for step in steps if step < beyond), default=0.0)
    while (below == 0 and beyond > FINEST_STEP) or (beyond == math.inf and below < COARSEST_STEP):
        step = _round(
            min(below * stride, COARSEST_STEP) if below else max(beyond / stride, FINEST_STEP)
        )
        below, beyond = (below, step) if is_beyond(step) else (step, beyond)
    while 0 < RESOLUTION * below < beyond < math.inf:
        middle = _round(math.sqrt(below * beyond))
        if not below < middle < beyond:
            break
        below, beyond = (below, middle) if is_beyond(middle) else (middle, beyond)
    found = beyond if wants_finest else below
    return found if 0 < found < math.inf else None


def _round(step: float) -> float:
    """Keep three digits: as many as anybody wants to type."""
    return float(f"{step:.3g}")
