# SPDX-License-Identifier: Apache-2.0
"""Which settings suit a model: recorded updates coded at many steps, and what comes of each.

The updates of one client, in order, are coded as a run would code them: the state is kept, and
where there is more than one, error feedback is on. Invariant: every figure was measured, none
interpolated; those of recommendations on whole updates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from numpy.typing import NDArray

from fl_deepcabac.config import CodecConfig, Profile, Quality
from fl_deepcabac.errors import SchemaMismatchError
from fl_deepcabac.tune_goal import Goal, find_step
from fl_deepcabac.tune_points import TunePoint, TuneStream, take_part

__all__ = ["MAX_WEIGHTS", "RELATIVE_STEPS", "Recommendation", "Tuning", "tune"]

Update = Mapping[str, NDArray[Any]]

# Half octaves, from what training hardly notices to where hardly a level is left.
RELATIVE_STEPS = tuple(float(f"{0.25 * 2 ** (k / 2):.3g}") for k in range(13))
# Of larger updates a part makes the table: so many are coded and read back in a tenth of a second.
MAX_WEIGHTS = 2_000_000
# From a step found on a part of the weights, that of whole updates is looked for in such strides.
WHOLE_STRIDE = 1.1
# Below, the header and contexts that have yet to learn are no small part of a packet.
FEW_WEIGHTS = 10_000
# Until then, what coarse steps leave for later still piles up from packet to packet.
FEW_UPDATES = 8
# Above this relative squared error, most of a single update is gone.
LOST = 0.64


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Settings, and what they come to.

    Parameters
    ----------
    name : str
        Quality; with a goal, the profile.
    config : CodecConfig
    point : TunePoint
        Of whole updates.
    """

    name: str
    config: CodecConfig
    point: TunePoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was measured, and what follows.

    Parameters
    ----------
    points : tuple of TunePoint
        By profile and step; those on the way to a goal included.
    recommendations : tuple of Recommendation
        With a goal, one for each profile that reaches it; else one for each quality.
    n_updates, n_counted : int
        Updates coded, and how many of them, the last ones, the figures are of.
    n_weights, n_table_weights : int
        Elements of an update, and how many of them `points` are of.
    error_feedback : bool
        Whether what a packet left out was added to the next update.
    cautions : tuple of str
        Why figures may not hold for a run; a clause each.
    """

    points: tuple[TunePoint, ...]
    recommendations: tuple[Recommendation, ...]
    n_updates: int
    n_counted: int
    n_weights: int
    n_table_weights: int
    error_feedback: bool
    cautions: tuple[str, ...]


def tune(
    updates: Sequence[Update],
    *,
    goal: Goal | None = None,
    profiles: Sequence[Profile] = get_args(Profile),
    relative_steps: Sequence[float] = RELATIVE_STEPS,
    error_feedback: bool = True,
    max_weights: int | None = MAX_WEIGHTS,
    on_point: Callable[[TunePoint], None] = lambda _: None,
) -> Tuning:
    """Measure what steps cost on updates, and recommend some.

    Parameters
    ----------
    updates : sequence of mapping of str to ndarray
        Of one client, in order, each with the same tensors.
    goal : Goal, optional
        If not given, the three qualities of `CodecConfig.auto` are measured.
    profiles : sequence of {"fast", "max"}
        For the table, and for the goal.
    relative_steps : sequence of float
        For the table; at least one.
    error_feedback : bool
        Of no matter where there is one update.
    max_weights : int, optional
        Of larger updates, about so many weights make the table: runs of rows of every tensor. None
        codes them all.
    on_point : callable
        Called with each point when it has been measured.

    Returns
    -------
    Tuning

    Raises
    ------
    SchemaMismatchError
        If there are no updates, or no floating-point tensors in them, or not the same in all.
    NonFiniteError, LevelRangeError, ConfigError
        As `encode_update` and `CodecConfig`.

    Notes
    -----
    Time O(n) a point. There are as many as profiles times steps, and three more for the qualities,
    or some five a profile for a goal.
    """
    _check(updates)
    bench = _Bench(updates, max_weights, error_feedback and len(updates) > 1, on_point)
    for profile in profiles:
        for step in relative_steps:
            bench.measure(profile, step)
    if goal is None:
        recommendations = [bench.recommend_quality(quality) for quality in get_args(Quality)]
    else:
        found = [bench.reach(goal, profile, relative_steps) for profile in profiles]
        recommendations = [row for row in found if row is not None]
    return Tuning(
        points=tuple(bench.points[key] for key in sorted(bench.points)),
        recommendations=tuple(recommendations),
        n_updates=bench.whole.n_updates,
        n_counted=bench.whole.n_counted,
        n_weights=bench.whole.schema.n_elements,
        n_table_weights=bench.part.schema.n_elements,
        error_feedback=bench.error_feedback,
        cautions=tuple(_cautions(bench, recommendations)),
    )


class _Bench:
    """Measures each point once: those of the table on a part of the weights, if they are many."""

    def __init__(
        self,
        updates: Sequence[Update],
        max_weights: int | None,
        error_feedback: bool,
        on_point: Callable[[TunePoint], None],
    ) -> None:
        self.whole = self.part = TuneStream(updates)
        if max_weights is not None and self.whole.schema.n_elements > max_weights:
            self.part = TuneStream(take_part(updates, max_weights))
        self.error_feedback = error_feedback
        self.points: dict[tuple[Profile, float], TunePoint] = {}
        self._whole_points = self.points if self.part is self.whole else {}
        self._on_point = on_point

    def config(self, profile: Profile, step: float) -> CodecConfig:
        """Return the settings of a point."""
        return CodecConfig(relative_step=step, profile=profile, error_feedback=self.error_feedback)

    def measure(self, profile: Profile, step: float, *, is_whole: bool = False) -> TunePoint:
        """Measure a point, or remember it."""
        points = self._whole_points if is_whole else self.points
        if (profile, step) not in points:
            stream = self.whole if is_whole else self.part
            points[profile, step] = stream.measure(self.config(profile, step))
            self._on_point(points[profile, step])
        return points[profile, step]

    def recommend_quality(self, quality: Quality) -> Recommendation:
        """Measure a quality on whole updates."""
        config = CodecConfig.auto(quality, error_feedback=self.error_feedback)
        step = float(config.relative_step or 0.0)
        return Recommendation(quality, config, self.measure(config.profile, step, is_whole=True))

    def reach(self, goal: Goal, profile: Profile, steps: Sequence[float]) -> Recommendation | None:
        """Find the step that a goal asks for, on the table's weights first, then on all."""
        finest = goal.name != "max_error"
        found = find_step(
            lambda step: goal.is_met(self.measure(profile, step)), steps, wants_finest=finest
        )
        if found is not None and self.part is not self.whole:
            found = find_step(
                lambda step: goal.is_met(self.measure(profile, step, is_whole=True)),
                [found],
                wants_finest=finest,
                stride=WHOLE_STRIDE,
            )
        if found is None:
            return None
        point = self.measure(profile, found, is_whole=True)
        return Recommendation(profile, self.config(profile, found), point)


def _check(updates: Sequence[Update]) -> None:
    """Raise unless there is something to measure."""
    if not updates:
        raise SchemaMismatchError("updates: expected at least one, found none")
    if not TuneStream(updates[:1]).schema.level_tensors:
        raise SchemaMismatchError("updates: expected floating-point tensors, found none")


def _cautions(bench: _Bench, recommendations: Sequence[Recommendation]) -> Iterator[str]:
    """Yield why the figures may not be those of a run."""
    n_updates, n_weights = bench.whole.n_updates, bench.whole.schema.n_elements
    if n_updates == 1:
        yield (
            "one update: coded without a kept state and without error feedback, and judged as a "
            "single file; for a run, give several updates of one client in order"
        )
    elif n_updates < FEW_UPDATES:
        yield (
            f"{n_updates} updates: the state is still learning, and what coarse steps leave for "
            f"later still piles up; {FEW_UPDATES} and more say what a run will cost"
        )
    if n_weights < FEW_WEIGHTS:
        yield (
            f"{n_weights:,} weights: the header of a packet and contexts that learn weigh much; "
            "figures are those of this model only"
        )
    if bench.part is not bench.whole:
        yield (
            f"the table is of {bench.part.schema.n_elements:,} of {n_weights:,} weights and may be "
            "off by 5 to 10 %; what is recommended was measured on all"
        )
    if not bench.error_feedback and any(
        row.point.relative_squared_error > LOST for row in recommendations
    ):
        yield "most of an update is lost where the relative squared error is above 0.64"
